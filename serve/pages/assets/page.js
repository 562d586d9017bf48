// What must live in the browser: which conversation is shown, what is typed, and the list's buttons.
// It is put into the page's head (Gradio's js= arguments would need unsafe-eval).
//
//   the address  /?chat=chat-<32 hex digits> names the conversation, from the first load on. "New
//                chat" puts another name there before Gradio sends the click; so does a choice in
//                the list, or the browser's back and forward, after which #pawl-go is clicked: the
//                server shows what the address names
//   the draft    what is typed and not sent or saved, in this tab's session storage under that
//                name, whenever the conversation or the page is left. A form that was open is named
//                in the address (&form=) until it is open again, with the text that was in it
//   commands     what is pressed in the list goes to the server as JSON in #pawl-command; the reply
//                stands in #pawl-reply
//
// Gradio comes back from a lost connection by loading the page anew. A session that ended is
// noticed by the page's own requests: loaded anew, it leads to the sign-in page, and from there back
// here.
(() => {
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    if (answer.status === 401) location.reload();
    return answer;
  };
  const find = (place) => document.querySelector(place);
  const chat = () => new URL(location.href).searchParams.get("chat");
  const put = (name, value, isNew) => {
    const url = new URL(location.href);
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
    if (isNew) history.pushState(null, "", url);
    else history.replaceState(history.state, "", url);
  };
  const rename = (isNew) => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    put("chat", "chat-" + hex, isNew);
  };
  if (!/^chat-[0-9a-f]{32}$/.test(chat() ?? "")) rename();
  let shown = chat();

  // -- drafts

  const places = ["#pawl-question", "#pawl-correction", "#pawl-comment"];
  const box = (place) => find(place + " textarea");
  const form = () => find("#pawl-form [class*=pawl-about-]")
    ?.className.match(/pawl-about-(\S+)/)?.[1] ?? null;
  const key = (name) => "pawl-draft-" + name;
  const fill = (place, text) => {
    box(place).value = text;
    box(place).dispatchEvent(new Event("input", { bubbles: true }));
  };
  let left = new Map(), draft = null;  // what is to be put back, but not yet; of which draft
  const keepDraft = (isAlong) => {
    const typed = places.map((place) => left.get(place) ?? box(place)?.value ?? "");
    if (isAlong) typed[0] = "";
    const of = form() ?? (left.has("#pawl-correction") ? draft.form : null);
    if (!of) typed[1] = typed[2] = "";  // saved, or discarded on purpose
    if (typed.some(Boolean) || of)
      sessionStorage.setItem(key(shown), JSON.stringify({ typed, form: of }));
    else sessionStorage.removeItem(key(shown));
  };
  // Gradio puts the stored value there as well, on a busy machine seconds later: the draft is put
  // there again, until somebody touches the page.
  let touched = false;
  for (const kind of ["keydown", "pointerdown", "input"])
    addEventListener(kind, (event) => { touched ||= event.isTrusted; }, true);
  const keep = (of, place, text, until) => {
    if (of !== draft || touched || performance.now() > until) return;
    const isItsForm = place === "#pawl-question" || form() === draft.form;
    if (isItsForm && box(place) && box(place).value !== text) fill(place, text);
    setTimeout(keep, 100, of, place, text, until);
  };
  const takeDraft = () => {
    draft = JSON.parse(sessionStorage.getItem(key(shown)));
    sessionStorage.removeItem(key(shown));
    put("form", draft?.form ?? null);
    left = new Map(draft ? places.map((place, at) => [place, draft.typed[at]]) : []);
    if (!draft?.form) left.delete("#pawl-correction"), left.delete("#pawl-comment");
    touched = false;
  };
  const fillWhatIsThere = () => {
    for (const [place, text] of left) {
      if (!box(place) || (place !== "#pawl-question" && form() !== draft.form)) continue;
      left.delete(place);
      const of = draft;
      requestAnimationFrame(() => {
        if (of !== draft || !box(place)) return;
        fill(place, text);
        setTimeout(keep, 100, of, place, text, performance.now() + 10_000);
        if (place === "#pawl-correction") put("form", null);
      });
    }
  };
  let signedOut = false;  // then nothing is kept: the next person may sit at this browser
  addEventListener("submit", (event) => {
    signedOut = event.target.getAttribute("action") === "sign-out";
  }, true);
  addEventListener("pagehide", () => signedOut ? sessionStorage.clear() : keepDraft());
  takeDraft();

  // -- which conversation is shown

  const isBegun = () => find("#pawl-chat [data-testid=user]") || form();
  const show = () => {  // what the address names by now
    shown = chat();
    takeDraft();
    if (box("#pawl-question")?.value && !left.get("#pawl-question")) fill("#pawl-question", "");
    fillWhatIsThere();
    find("#pawl-go").click();
    toggleSide(false);
    if (matchMedia("(hover: hover)").matches) box("#pawl-question")?.focus();
  };
  addEventListener("popstate", () => {
    if (chat() === shown) return;
    keepDraft();
    show();
  });
  const newChat = (isAlong) => {  // whether a question that is typed comes along
    keepDraft(isAlong);
    rename(isBegun());
    put("form", null);
    shown = chat();
    draft = null, left = new Map();
    toggleSide(false);
  };

  // -- the list

  const toggleSide = (isOpen) => {
    document.body.classList.toggle("pawl-side-open", isOpen);
    find("#pawl-chats")?.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) find("#pawl-search input, #pawl-search textarea")?.focus();
  };
  const send = (command) => {
    box("#pawl-command").value = JSON.stringify({ ...command, n: Math.random() });
    box("#pawl-command").dispatchEvent(new Event("input", { bubbles: true }));
  };
  // Resolves to whether the button was pressed; with a word, only after it was typed.
  const confirmed = (text, yes, word) => new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    const add = (kind, words, parent = dialog) => {
      const one = document.createElement(kind);
      one.textContent = words;
      parent.append(one);
      return one;
    };
    dialog.className = "pawl-ask";
    const said = add("p", text);
    said.id = "pawl-ask-text";
    dialog.setAttribute("aria-labelledby", said.id);
    const typed = word ? add("input", "") : null;
    typed?.setAttribute("aria-label", `Type ${word} to go on`);
    const row = add("div", "");
    const no = add("button", "Cancel", row), go = add("button", yes, row);
    go.className = "pawl-danger";
    go.disabled = Boolean(word);
    typed?.addEventListener("input", () => { go.disabled = typed.value.trim() !== word; });
    no.onclick = () => dialog.close();
    go.onclick = () => dialog.close("yes");
    dialog.onclose = () => { dialog.remove(); resolve(dialog.returnValue === "yes"); };
    document.body.append(dialog);
    dialog.showModal();
    (typed ?? no).focus();
  });
  let focused = null;  // the conversation whose button had the focus, before the list is drawn anew
  const titleOf = (item) => item.querySelector("a").textContent;
  const retitle = (item) => {
    const link = item.querySelector("a"), input = document.createElement("input");
    const title = input.value = titleOf(item);
    input.maxLength = 10000;
    input.setAttribute("aria-label", "Title");
    const end = (isKept) => {
      input.onblur = null;
      if (isKept && input.value.trim() !== title)
        send({ do: "rename", id: item.dataset.id, title: input.value });
      input.replaceWith(link);
    };
    input.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.stopPropagation();
      event.preventDefault();
      end(event.key === "Enter");
      (item.querySelector("summary") ?? link).focus();
    };
    input.onblur = () => end(true);
    link.replaceWith(input);
    input.focus();
    input.select();
  };
  const does = {
    more: () => send({ do: "more" }),
    rename: retitle,
    pin: (item) => send({ do: "pin", id: item.dataset.id, pinned: item.dataset.pinned !== "1" }),
    export: (item, button) =>
      send({ do: "export", id: item.dataset.id, format: button.dataset.format }),
    delete: async (item) => {
      const marks = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;  // of direction
      const title = titleOf(item).replace(marks, "").slice(0, 80);
      if (await confirmed(`Delete “${title}”? What was asked in it, the answers and what was ` +
                          "said about them can't be brought back.", "Delete"))
        send({ do: "delete", id: item.dataset.id });
    },
  };
  const erase = async () => {
    const n = find(".pawl-chats:not([data-search])")?.dataset.found;
    const what = n ? `all of your conversations (${n})` : "all of your conversations";
    if (await confirmed(`Delete ${what}, and all that you said about answers?`, "Go on") &&
        await confirmed("This can't be undone. Type delete to go on.", "Delete all", "delete"))
      send({ do: "erase" });
  };
  const closeMenus = (but) => {
    for (const menu of document.querySelectorAll("#pawl-list details[open]"))
      if (menu !== but) menu.open = false;
  };
  addEventListener("click", (event) => {
    const target = event.target.closest ? event.target : null;
    closeMenus(target?.closest("#pawl-list details"));
    if (!target) return;
    if (target.closest("#pawl-new")) return newChat(true);
    if (target.closest("#pawl-new-with")) return newChat(false);
    if (target.closest("#pawl-chats"))
      return toggleSide(!document.body.classList.contains("pawl-side-open"));
    if (target.closest("#pawl-erase")) return erase();
    if (!target.closest("#pawl-side, dialog")) toggleSide(false);
    const link = target.closest("#pawl-list a");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      const id = link.closest("li").dataset.id;
      if (id === shown) return toggleSide(false);
      keepDraft();
      put("form", null);
      put("chat", id, true);
      return show();
    }
    const button = target.closest("#pawl-list button[data-do]"), item = button?.closest("li");
    if (!button) return;
    closeMenus();
    focused = item?.dataset.id ?? null;
    item?.querySelector("summary").focus();
    does[button.dataset.do](item, button);
  }, true);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || find("dialog[open]")) return;
    const menu = find("#pawl-list details[open]");
    const isSideOpen = document.body.classList.contains("pawl-side-open");
    if (menu || isSideOpen) event.preventDefault();  // behaviour.js stops no answer then
    if (menu) {
      closeMenus();
      menu.querySelector("summary").focus();
    } else if (isSideOpen) {
      toggleSide(false);
      find("#pawl-chats").focus();
    }
  });
  document.addEventListener("toggle", (event) => {
    const menu = event.target.open && event.target.querySelector?.(".pawl-menu");
    if (menu) menu.scrollIntoView({ block: "nearest" });
  }, true);
  // Another tab may have changed the list.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && box("#pawl-command")) send({ do: "refresh" });
  });

  // -- what the server drew

  const dayOf = (item) => {
    if (item.dataset.pinned === "1") return "Pinned";
    const at = new Date(item.dataset.at), today = new Date();
    today.setHours(0, 0, 0, 0);
    const days = Math.ceil((today - at) / 86_400_000);
    if (days <= 0) return "Today";
    if (days === 1) return "Yesterday";
    if (days <= 7) return "Previous 7 days";
    if (days <= 30) return "Previous 30 days";
    return at.toLocaleDateString("en", { month: "long", year: "numeric" });
  };
  const decorate = (list) => {
    let day = null;
    for (const item of list.querySelectorAll("li[data-id]")) {
      if (dayOf(item) !== day) {
        const head = document.createElement("li");
        head.className = "pawl-day";
        head.textContent = day = dayOf(item);
        item.before(head);
      }
    }
    if (focused && document.activeElement === document.body)
      (list.querySelector(`li[data-id="${focused}"] summary`) ??
       find("#pawl-search :is(input, textarea)"))?.focus();
    focused = null;
    list.dataset.done = "1";
  };
  const mark = (list) => {
    for (const link of list.querySelectorAll("a")) {
      const isShown = link.closest("li").dataset.id === shown;
      if (isShown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    list.dataset.shown = shown;
  };
  const download = (reply) => {
    const isText = reply.format === "markdown";
    const file = new Blob([reply.file], { type: isText ? "text/markdown" : "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    const name = reply.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60);
    link.download = (name || "conversation") + (isText ? ".md" : ".json");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  let read = null;  // of the replies, the last
  const answered = (text) => {
    const reply = JSON.parse(text);
    if (reply.n === read) return;
    read = reply.n;
    if ("file" in reply) return download(reply);
    if (!("deleted" in reply)) return;
    if (reply.deleted === null) sessionStorage.clear();
    else sessionStorage.removeItem(key(reply.deleted));
    if (reply.deleted !== null && reply.deleted !== shown) return;
    rename();
    show();
  };
  const watch = new MutationObserver(() => {
    if (left.size) fillWhatIsThere();
    const list = find("#pawl-list .pawl-chats");
    if (list && !list.dataset.done) decorate(list);
    if (list && list.dataset.shown !== shown) mark(list);
    const reply = find("#pawl-reply [data-reply]");
    if (reply) answered(reply.dataset.reply);
    const button = find("#pawl-chats"), side = find("#pawl-side");
    if (!button || !side || button.hasAttribute("aria-controls")) return;
    button.setAttribute("aria-controls", "pawl-side");
    button.setAttribute("aria-expanded", "false");
    side.setAttribute("role", "navigation");
    side.setAttribute("aria-label", "Conversations");
  });
  watch.observe(document.documentElement, { childList: true, subtree: true });
})();
