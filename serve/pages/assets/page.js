// What must live in the browser: which conversation is shown, what is typed, and the list's buttons.
// It is put into the page's head (Gradio's js= arguments would need unsafe-eval).
//
//   the address  /?chat=chat-<32 hex digits> names the conversation, from the first load on. "New
//                chat" puts another name there before Gradio sends the click; so does a choice in
//                the list, or the browser's back and forward, after which #pawl-go is clicked: the
//                server shows what the address names
//   the draft    what is typed and not sent or saved, in this tab's session storage under that
//                name, whenever the conversation or the page is left. A form that was open is named
//                in the address (&form=) until it is open again, with the text that was in it.
//                A message is a draft until the server says in #pawl-taken that it is asked, and
//                comes back where the server was killed before the answer was over
//   commands     what is pressed in the list goes to the server as JSON in #pawl-command; the reply
//                stands in #pawl-reply. The other scripts have boxes of their own (pawlSend)
//
// Gradio comes back from a lost connection by loading the page anew. Over 400 lines because which
// conversation is shown, what is typed in it and the list change together.
(() => {
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
  const fill = window.pawlFill = (place, text) => {
    box(place).value = text;
    box(place).dispatchEvent(new Event("input", { bubbles: true }));
  };
  // Whose it is, where people sign in; the next one may sit at this browser.
  const person = () => find(".pawl-who a")?.textContent ?? null;
  const typist = () => person() ?? draft?.who ?? null;
  let sent = null;  // the message that was sent last; the server may not have heard of it
  for (const kind of ["keydown", "click"])
    addEventListener(kind, (event) => {
      const place = kind === "click" ? "#pawl-question button" : "#pawl-question";
      if (event.target.closest?.(place) && (kind === "click" || event.key === "Enter"))
        sent = box("#pawl-question").value;
    }, true);
  let left = new Map(), draft = null;  // what is to be put back, but not yet; of which draft
  const keepDraft = (isAlong) => {
    const typed = places.map((place) => left.get(place) ?? box(place)?.value ?? "");
    if (isAlong) typed[0] = "";
    const of = form() ?? (left.has("#pawl-correction") ? draft.form : null);
    if (!of) typed[1] = typed[2] = "";  // saved, or discarded on purpose
    const isSent = typed[0] === sent || (typed[0] === draft?.typed[0] && draft.isSent);
    if (typed.some(Boolean) || of)
      sessionStorage.setItem(key(shown), JSON.stringify({ typed, form: of, isSent, who: typist() }));
    else sessionStorage.removeItem(key(shown));
  };
  // Gradio puts the stored value there as well, on a busy machine seconds later: the draft is put
  // there again, until somebody touches the page.
  let touched = false;
  for (const kind of ["keydown", "pointerdown", "input"])
    addEventListener(kind, (event) => { touched ||= event.isTrusted; }, true);
  const keep = (of, place, text, until) => {
    if (of !== draft || touched || performance.now() > until) return;
    if (draft.typed[places.indexOf(place)] !== text) return;  // asked by now
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
    if (draft?.who && draft.who !== person()) {
      if (person()) left = new Map(), draft = null, put("form", null);
      return;
    }
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
  let along = null;  // the conversation from which what is typed came along to a new one
  const question = places[0];
  // Until its answer is over, a message that was asked is kept too: a server that was killed meanwhile
  // does not know of it.
  const waitFor = ({ taken: text, of, again, over }) => {
    const at = "pawl-asked-" + of, asked = JSON.parse(sessionStorage.getItem(at));
    const isToldBefore = asked?.text === text;
    if (asked && (over || !isToldBefore)) sessionStorage.removeItem(at);
    if (asked && again && !isToldBefore && of === shown && asked.who === person()) {
      draft ??= { typed: ["", "", ""], form: null, isSent: false, who: person() };
      const typed = left.get(question) ?? box(question)?.value;
      draft.typed[0] = [asked.text, typed].filter(Boolean).join("\n\n");
      left.set(question, draft.typed[0]);
      fillWhatIsThere();
    }
    if (!again && !over) sessionStorage.setItem(at, JSON.stringify({ text, who: person() }));
    return isToldBefore && over && !again;
  };
  const taken = (reply) => {
    const { taken: text, of, again } = reply;
    if (waitFor(reply) || (again && !draft?.isSent)) return;  // perhaps the same is typed once more
    const stored = JSON.parse(sessionStorage.getItem(key(of)));
    if (stored?.typed[0] === text) {
      stored.typed[0] = "";
      sessionStorage.setItem(key(of), JSON.stringify(stored));
    }
    if (sent === text) sent = null;
    if (of !== shown && of !== along) return;
    if (draft?.typed[0] === text) draft.typed[0] = "";
    if (left.get(question) === text) left.delete(question);
    if (box(question)?.value === text) fill(question, "");  // else the next one is typed already
  };
  let signedOut = false;  // then nothing is kept: the next person may sit at this browser
  addEventListener("submit", (event) => {
    signedOut = event.target.getAttribute("action") === "sign-out";
  }, true);
  addEventListener("pagehide", () => signedOut ? sessionStorage.clear() : keepDraft());
  document.addEventListener("visibilitychange", () => {  // phones end a page without a word
    if (document.hidden && !signedOut) keepDraft();
  });
  takeDraft();

  // -- which conversation is shown

  const isBegun = () => find("#pawl-chat [data-testid=user]") || form();
  const changeShown = () => { shown = chat(), dispatchEvent(new Event("pawl-shown")); };
  const show = () => {  // what the address names by now
    changeShown(), along = null;
    takeDraft();
    if (box("#pawl-question")?.value && !left.get("#pawl-question")) fill("#pawl-question", "");
    fillWhatIsThere();
    find("#pawl-go")?.click();  // else the page is being loaded, and asks by itself
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
    rename(isBegun() || sent !== null);  // a message may be on its way
    put("form", null);
    along = isAlong ? shown : null;
    changeShown();
    draft = null, left = new Map();
    clearSearch();
    toggleSide(false);
  };

  // -- the list

  const clearSearch = () => {
    const search = find("#pawl-search :is(input, textarea)");
    if (!search?.value) return search;
    search.value = "";
    search.dispatchEvent(new Event("input", { bubbles: true }));
    return search;
  };
  const toggleSide = (isOpen) => {
    document.body.classList.toggle("pawl-side-open", isOpen);
    find("#pawl-chats")?.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) find("#pawl-search input, #pawl-search textarea")?.focus();
  };
  window.pawlSend = (place, command) =>
    fill(place, JSON.stringify({ ...command, n: Math.random() }));  // the same is heard again
  const send = (command) => pawlSend("#pawl-command", command);
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
    typed?.setAttribute("aria-label", pawlText("scripts.type_word", { word }));
    const row = add("div", "");
    const no = add("button", pawlText("scripts.cancel"), row), go = add("button", yes, row);
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
  // Marking another answer, asking again or showing another variant takes the form away: what is typed there is asked about.
  let isAgreed = false;
  addEventListener("click", async (event) => {
    const button = event.target.closest?.(`#pawl-chat :is(.message-buttons-left,
      .message-buttons-right, .pawl-variants) button`);
    if (!button || isAgreed || !document.body.classList.contains("pawl-typed") || !form()
      || /copy|edit|cancel/i.test(button.dataset.own ?? "")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!await confirmed(pawlText("scripts.not_saved"), pawlText("scripts.discard"))) return;
    document.body.classList.remove("pawl-typed");  // the same form may be filled anew
    isAgreed = true;
    button.click();
    isAgreed = false;
  }, true);
  let focused = null;  // the conversation whose button had the focus, before the list is drawn anew
  const titleOf = (item) => item.querySelector("a").textContent;
  let naming = null;  // the title that is being typed, of which conversation
  const retitle = (item, _, typed) => {
    const link = item.querySelector("a"), input = document.createElement("input");
    const title = titleOf(item);
    input.value = typed ?? title;
    input.maxLength = 10000;
    input.setAttribute("aria-label", pawlText("scripts.title"));
    const end = (isKept) => {
      if (naming?.input === input) naming = null;
      input.onblur = null;
      if (isKept && input.value.trim() !== title)
        send({ do: "rename", id: item.dataset.id, title: input.value });
      input.replaceWith(link);
    };
    input.onkeydown = (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.stopPropagation();
      event.preventDefault();
      end(event.key === "Enter");
      (item.querySelector("summary") ?? link).focus();
    };
    input.onblur = () => setTimeout(() => {  // not where the list is drawn anew under it
      if (input.onblur && input.isConnected && document.activeElement !== input) end(true);
    });
    link.replaceWith(input);
    naming = { id: item.dataset.id, input };
    input.focus();
    if (typed !== undefined) return;
    input.setSelectionRange(0, title.length, "backward");
    requestAnimationFrame(() => { input.scrollLeft = 0; });  // its beginning shows
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
      if (await confirmed(pawlText("scripts.delete_this", { title }), pawlText("scripts.delete")))
        send({ do: "delete", id: item.dataset.id });
    },
  };
  const erase = async () => {
    const count = find(".pawl-chats:not([data-search])")?.dataset.found;
    const word = pawlText("scripts.delete_word");
    const what = `scripts.${count ? "delete_all_of_them" : "delete_everything"}`;
    if (await confirmed(pawlText(what, { count }), pawlText("scripts.go_on")) &&
        await confirmed(pawlText("scripts.cant_be_undone", { word }), pawlText("scripts.delete_all"), word))
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
    if (target.closest("#pawl-search-clear")) return clearSearch()?.focus();
    if (target.closest("#pawl-side-close")) {
      toggleSide(false);
      return find("#pawl-chats").focus();
    }
    if (target.closest("#pawl-erase")) return erase();
    const suggestion = target.closest("#pawl-suggestions button");
    if (suggestion) {
      fill(question, suggestion.dataset.text);
      return box(question).focus();
    }
    if (!target.closest("#pawl-side, dialog")) toggleSide(false);
    const link = target.closest("#pawl-list a");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      const id = link.closest("li").dataset.id;
      if (id === shown) return clearSearch(), toggleSide(false);
      keepDraft();
      put("form", null);
      put("chat", id, true);
      clearSearch();
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
    if (item.dataset.pinned === "1") return pawlText("scripts.pinned");
    const at = new Date(item.dataset.at), today = new Date();
    today.setHours(0, 0, 0, 0);
    const days = Math.ceil((today - at) / 86_400_000);
    if (days <= 0) return pawlText("scripts.today");
    if (days === 1) return pawlText("scripts.yesterday");
    if (days <= 7) return pawlText("scripts.last_7_days");
    if (days <= 30) return pawlText("scripts.last_30_days");
    return at.toLocaleDateString(pawlTexts.language, { month: "long", year: "numeric" });
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
    const named = naming && list.querySelector(`li[data-id="${naming.id}"]`);
    if (named && !naming.input.isConnected) retitle(named, null, naming.input.value);
    list.dataset.done = "1";
  };
  let titled = null;  // the conversation that the document's title names
  const mark = (list) => {
    for (const link of list.querySelectorAll("a")) {
      const isShown = link.closest("li").dataset.id === shown;
      if (isShown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (isShown) document.title = `${link.textContent} · Pawl`, titled = shown;
    }
    if (titled !== shown) document.title = "Pawl";  // it is new, or a search leaves it out
    list.dataset.shown = shown;
  };
  const download = (reply) => {
    const isText = reply.format === "markdown";
    const file = new Blob([reply.file], { type: isText ? "text/markdown" : "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    const name = reply.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60);
    link.download = (name || pawlText("scripts.file_name")) + (isText ? ".md" : ".json");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  const read = new Map();  // by place, the last reply
  const answered = (place, then) => {
    const text = find(`${place} [data-reply]`)?.dataset.reply;
    if (!text || read.get(place) === text) return;
    read.set(place, text);
    then(JSON.parse(text));
  };
  const done = (reply) => {
    if ("file" in reply) return download(reply);
    if (!("deleted" in reply)) return;
    if (reply.deleted === null) sessionStorage.clear();
    else for (const kind of ["draft", "edit", "asked"])
      sessionStorage.removeItem(`pawl-${kind}-${reply.deleted}`);
    if (reply.deleted !== null && reply.deleted !== shown) return;
    const text = reply.deleted && box(question)?.value;  // not sent: it is no part of what goes
    rename();
    show();
    if (text) fill(question, text);
  };
  const watch = new MutationObserver(() => {
    if (left.size) fillWhatIsThere();
    const list = find("#pawl-list .pawl-chats");
    if (list && !list.dataset.done) decorate(list);
    if (list && list.dataset.shown !== shown) mark(list);
    answered("#pawl-reply", done);
    answered("#pawl-taken", taken);
    const button = find("#pawl-chats"), side = find("#pawl-side");
    if (!button || !side || button.hasAttribute("aria-controls")) return;
    button.setAttribute("aria-controls", "pawl-side");
    button.setAttribute("aria-expanded", "false");
    side.setAttribute("role", "navigation");
    side.setAttribute("aria-label", pawlText("scripts.conversations"));
  });
  watch.observe(document.documentElement, { childList: true, subtree: true });
})();
