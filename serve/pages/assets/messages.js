// What the server draws of messages (serve/pages/markdown.py) is HTML, and Gradio takes a message's
// HTML for its text: when it is copied, edited or read aloud. Here it gets the text instead.
(() => {
  const all = "#pawl-chat";
  const begin = '<div class="pawl-own" dir="auto">';
  const escaped = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": "&#10;" };
  const own = (text) => begin + text.replace(/[&<>\n]/g, (one) => escaped[one]) + "</div>";
  // The text of a message's HTML; of anything else, itself.
  const source = (html) => {
    if (!/^<(div class="pawl-|details)|class="pawl-source"/.test(html)) return html;
    const parts = new DOMParser().parseFromString(html, "text/html");
    return parts.querySelector(".pawl-source")?.title
      ?? parts.querySelector(".pawl-own")?.textContent ?? parts.body.innerText;
  };
  const fill = (box, text) => {
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // Copied: by the clipboard's interface, or where there is none (no HTTPS) from a box that Gradio
  // puts into the body for it. A block of code is copied as it stands.
  let isCode = false;
  addEventListener("click", (event) => {
    isCode = Boolean(event.target.closest?.(".copy_code_button"));
  }, true);
  const copied = (text) => isCode ? text : source(text);
  if (navigator.clipboard) {
    const write = navigator.clipboard.writeText.bind(navigator.clipboard);
    navigator.clipboard.writeText = (text) => write(copied(text));
  }
  addEventListener("copy", (event) => {
    const { tagName, parentElement, value } = event.target;
    if (tagName !== "TEXTAREA" || parentElement !== document.body || copied(value) === value) return;
    event.clipboardData.setData("text/plain", copied(value));
    event.preventDefault();
  });

  // Edited: the box holds the text; it is handed over as HTML, which Gradio draws at once. What is
  // typed there is kept in this tab's session storage under the conversation's name until the edit is
  // cancelled or the server says (#pawl-taken) that it is answered. Where the server says that another
  // question was asked, the page was loaded anew or the edit was refused: the box is opened again.
  const edits = all + " textarea.edit-textarea";
  const chat = () => new URL(location.href).searchParams.get("chat");
  const rows = () => [...document.querySelectorAll(all + " .message-row.user-row")];
  const buttons = (row) => [...row?.nextElementSibling?.querySelectorAll("button") ?? []];
  const key = (of) => "pawl-edit-" + of;
  // Whose it is, where people sign in; the next one may sit at this browser.
  const person = () => document.querySelector(".pawl-who a")?.textContent ?? null;
  let heard = null, reopened = null, isLeaving = false;
  addEventListener("input", ({ target }) => {
    if (!target.matches?.(edits) || target.value.startsWith(begin)) return;
    const at = rows().indexOf(target.closest(".message-row"));
    const edit = { at, text: target.value, who: person() };
    sessionStorage.setItem(key(chat()), JSON.stringify(edit));
  }, true);
  addEventListener("click", ({ target }) => {
    const row = target.closest?.(".message-buttons")?.previousElementSibling;
    const box = row?.querySelector("textarea.edit-textarea");
    if (!box) return;
    if (buttons(row)[1]?.contains(target) && !isLeaving) sessionStorage.removeItem(key(chat()));
    fill(box, own(box.value));
  }, true);
  addEventListener("pawl-shown", () => {  // Gradio would show the box over another one's question
    reopened = null, isLeaving = true;
    buttons(document.querySelector(edits)?.closest(".message-row"))[1]?.click();
    isLeaving = false;
  });
  const showEdit = () => {
    const reply = document.querySelector("#pawl-taken [data-reply]")?.dataset.reply;
    if (reply && reply !== heard) {
      heard = reply;
      const { taken, of, over } = JSON.parse(reply);
      let edit = JSON.parse(sessionStorage.getItem(key(of)));
      if (edit && edit.who !== person()) sessionStorage.removeItem(key(of)), edit = null;
      if (edit?.text === taken) over && sessionStorage.removeItem(key(of));
      else if (of === chat() && !document.querySelector(edits)) reopened = edit;
    }
    if (reopened && !document.querySelector(edits)) buttons(rows()[reopened.at]).at(-1)?.click();
  };
  addEventListener("keydown", (event) => {
    const box = event.target.closest?.("textarea.edit-textarea");
    if (!box || event.isComposing) return;
    const isSent = event.key === "Enter" && !event.shiftKey;
    if (!isSent && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    buttons(box.closest(".message-row"))[isSent ? 0 : 1]?.click();
  }, true);

  // A thought that is opened while it comes is drawn anew with each word.
  let isOpen = false;
  addEventListener("click", (event) => {
    const thought = event.target.closest?.(".pawl-thought > summary")?.parentElement;
    if (thought) isOpen = !thought.open;
  }, true);
  new MutationObserver(() => {
    showEdit();
    for (const box of document.querySelectorAll(edits)) {
      if (!box.value.startsWith(begin)) continue;
      fill(box, reopened?.text ?? source(box.value));
      reopened = null;
      box.focus();
      box.setAttribute("aria-label", pawlText("scripts.edit_message"));
    }
    // On a small screen the empty page's text scrolls, and holds nothing to tab to.
    const log = document.querySelector(all + " [role=log]");
    if (log?.querySelector(".placeholder")) log.tabIndex = 0;
    else log?.removeAttribute("tabindex");
    for (const message of document.querySelectorAll(all + " [data-testid][aria-label]"))
      message.removeAttribute("aria-label");
    for (const thought of document.querySelectorAll(all + " .pawl-thought:not([data-seen])")) {
      thought.dataset.seen = "";
      if (isOpen) thought.open = true;
    }
  }).observe(document.documentElement,
    { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label"] });
})();
