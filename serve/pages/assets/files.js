// Files for a message: chosen, dropped on the page or pasted. The server reads each and answers with
// what of it stands in the message (serve/pages/files.py), which is put before what is typed.
(() => {
  const find = (place) => document.querySelector(place);
  const box = (place) => find(place + " textarea");
  const waiting = [];  // files to be read
  let chat = null;  // the conversation in which the one that is being read was chosen
  let name = "";  // of that one
  const shown = () => new URL(location.href).searchParams.get("chat");
  const say = (text) => {
    const status = find(".pawl-attach [role=status]");
    if (status) status.textContent = text;
  };
  const giveUp = () => {
    chat = null;
    say(pawlText("scripts.not_read", { name }));
    next();
  };
  const next = () => {
    if (chat !== null || !waiting.length) return;
    const file = waiting.shift(), reader = new FileReader();
    chat = shown(), name = file.name;
    say(pawlText("scripts.reading", { name }));
    const give = (content) => pawlSend("#pawl-command", { do: "attach", name: file.name, content });
    reader.onload = () => give(reader.result.replace(/^[^,]*,/, ""));
    reader.onerror = giveUp;
    const most = Number(find(".pawl-attach").dataset.most);
    if (file.size > most) {  // else the server says so of a body that it doesn't read
      chat = null;
      const [count, bytes] = [file.size, most].map(
        (n) => n.toLocaleString(pawlTexts.language));
      say(pawlText("scripts.too_large", { name: file.name, count, most: bytes }));
      return next();
    }
    reader.readAsDataURL(file);
  };
  const take = (files) => {
    waiting.push(...files);
    next();
  };
  addEventListener("click", (event) => {
    if (event.target.closest?.(".pawl-attach button")) find(".pawl-attach input").click();
  });
  addEventListener("change", (event) => {
    if (!event.target.matches?.(".pawl-attach input")) return;
    take(event.target.files);
    event.target.value = "";
  }, true);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  }, true);
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer.files);
  }, true);
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    if (!files?.length || !event.target.closest?.("#pawl-question")) return;
    event.preventDefault();
    event.stopPropagation();
    take(files);
  }, true);
  addEventListener("input", (event) => {  // sent, or emptied
    if (event.target === box("#pawl-question") && !event.target.value && chat === null) say("");
  }, true);
  addEventListener("pawl-refused", (event) => {  // session.js: no reply comes, as from a proxy (413)
    if (chat !== null && /"do\\*":\\*"attach/.test(event.detail)) giveUp();
  });
  let read = null;
  new MutationObserver(() => {
    const text = find("#pawl-reply [data-reply]")?.dataset.reply;
    if (!text || text === read) return;
    read = text;
    const reply = JSON.parse(text);
    if (!("attached" in reply) || chat === null) return;
    const area = box("#pawl-question");
    if (reply.attached && chat !== shown())
      say(pawlText("scripts.other_chat"));
    else {
      say(reply.attached ? pawlText("scripts.attached") : "");
      if (reply.attached) {
        pawlFill("#pawl-question", `${reply.attached}\n\n${area.value}`);
        area.focus();
        area.setSelectionRange(area.value.length, area.value.length);
        area.scrollTop = area.scrollHeight;
      }
    }
    chat = null;
    next();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
