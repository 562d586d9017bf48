// What must live in the browser to outlive a cut and a restart. It is put into the page's head
// (Gradio's js= arguments would need unsafe-eval).
//
// Gradio comes back from a lost connection by loading the page anew. Two things survive that here:
//   the address  /?chat=chat-<32 hex digits> names the conversation, from the first load on;
//                "New chat" puts another name there before Gradio sends the click
//   the draft    what is typed and not sent or saved, in this tab's session storage under that
//                name. A form that was open is named in the address (&form=) until it is open
//                again, with the text that was in it
// A session that ended is noticed by the page's own requests: loaded anew, it leads to the sign-in
// page, and from there back here.
(() => {
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    if (answer.status === 401) location.reload();
    return answer;
  };
  const chat = () => new URL(location.href).searchParams.get("chat");
  const put = (name, value) => {
    const url = new URL(location.href);
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
    history.replaceState(history.state, "", url);
  };
  const rename = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    put("chat", "chat-" + hex);
  };
  if (!/^chat-[0-9a-f]{32}$/.test(chat() ?? "")) rename();
  addEventListener("click", (event) => {
    if (event.target.closest?.("#pawl-new, #pawl-new-with")) rename();
  }, true);

  const places = ["#pawl-question", "#pawl-correction", "#pawl-comment"];
  const box = (place) => document.querySelector(place + " textarea");
  const form = () => document.querySelector("#pawl-form [class*=pawl-about-]")
    ?.className.match(/pawl-about-(\S+)/)?.[1] ?? null;
  const key = () => "pawl-draft-" + chat();
  let signedOut = false;  // then nothing is kept: the next person may sit at this browser
  addEventListener("submit", (event) => {
    signedOut = event.target.getAttribute("action") === "sign-out";
  }, true);
  addEventListener("pagehide", () => {
    if (signedOut) return sessionStorage.clear();
    const typed = places.map((place) => box(place)?.value ?? "");
    if (typed.some(Boolean) || form())
      sessionStorage.setItem(key(), JSON.stringify({ typed, form: form() }));
    else sessionStorage.removeItem(key());
  });
  const draft = JSON.parse(sessionStorage.getItem(key()));
  sessionStorage.removeItem(key());
  put("form", draft?.form ?? null);
  if (!draft) return;
  const left = new Map(places.map((place, at) => [place, draft.typed[at]]));
  if (!draft.form) left.delete("#pawl-correction"), left.delete("#pawl-comment");
  const fill = (place, text) => {
    box(place).value = text;
    box(place).dispatchEvent(new Event("input", { bubbles: true }));
  };
  // Gradio puts the stored value there as well, on a busy machine seconds later: the draft is put
  // there again, until somebody touches the page.
  let touched = false;
  for (const kind of ["keydown", "pointerdown", "input"])
    addEventListener(kind, (event) => { touched ||= event.isTrusted; }, true);
  const keep = (place, text, until) => {
    if (touched || performance.now() > until) return;
    const isItsForm = place === "#pawl-question" || form() === draft.form;
    if (isItsForm && box(place) && box(place).value !== text) fill(place, text);
    setTimeout(keep, 100, place, text, until);
  };
  const watch = new MutationObserver(() => {
    for (const [place, text] of left) {
      if (!box(place)) continue;
      left.delete(place);
      requestAnimationFrame(() => {
        fill(place, text);
        setTimeout(keep, 100, place, text, performance.now() + 10_000);
        if (place === "#pawl-correction") put("form", null);
      });
    }
    if (!left.size) watch.disconnect();
  });
  watch.observe(document.documentElement, { childList: true, subtree: true });
})();
