// Keys of the review page: each presses the button whose class names it (review-key-a, ...). In a
// text box only Ctrl+Enter and Escape are keys, in the list of decisions those that don't decide.
// F and D unfold the filters and the list, and go there. What opens takes the focus, and the item has it
// again when a form closes or another item comes, so that a screen reader reads it out.
(() => {
  const find = (selector) => {
    const found = [...document.querySelectorAll(selector)];
    return found.find((element) => element.offsetParent !== null && !element.disabled);
  };
  const isText = (element) => element?.matches?.(
    "textarea, input:not([type=checkbox], [type=radio]), [contenteditable=true]");
  const PARTS = { f: "#review-filters", d: "#review-decided" };
  let going = "";  // the selector of what is to have the focus once it is there
  const goTo = (part) => {
    going = `${part} input`;
    const head = find(`${part} button.label-wrap`);
    head?.focus();
    if (!find(going)) head?.click();
    look();
  };
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.repeat) return;
    const control = event.ctrlKey || event.metaKey;
    let key = event.key.toLowerCase();
    if (control && key === "enter") key = "ctrl-enter";
    else if (control || event.altKey) return;
    if (isText(event.target) && !["ctrl-enter", "escape"].includes(key)) return;
    if (event.target.closest?.("#review-decided") && !["o", "u", "d", "f", "escape"].includes(key))
      return;
    if (PARTS[key]) {
      event.preventDefault();
      goTo(PARTS[key]);
      return;
    }
    const button = key === "t" ? find("#review-together input")
      : /^[a-z0-9-]+$/.test(key) && find(".review-key-" + key);
    if (!button) {
      if (key === "escape") document.querySelector(".review-item")?.focus();
      return;
    }
    event.preventDefault();
    button.click();
  });
  addEventListener("click", (event) => {  // in the notice of what was decided
    if (event.target.closest?.(".review-undo")) document.querySelector(".review-key-u")?.click();
  });
  let item = null, form = null;
  const look = () => {
    const wanted = going && find(going);
    if (wanted) {
      going = "";
      wanted.focus();
    }
    const shown = document.querySelector(".review-item");
    const box = find("#review-editor textarea");
    const open = box ?? find("#review-reasons button, #review-alternatives button");
    const now = shown?.dataset.item;
    if (open && open !== form) {
      open.focus();
      box?.setSelectionRange(box.value.length, box.value.length);
      // On a narrow screen its buttons are always in sight, and tell nothing of where it is.
      if (matchMedia("(max-width: 40rem)").matches)
        (box ?? find("#review-offered"))?.scrollIntoView({ block: "center" });
    } else if (shown && (now !== item || (form && !open))) {
      shown.focus({ preventScroll: now === item });
      if (now !== item) scrollTo(0, 0);
    }
    [item, form] = [now, open ?? null];
  };
  new MutationObserver(() => requestAnimationFrame(look)).observe(
    document.documentElement, { childList: true, subtree: true, attributes: true,
      attributeFilter: ["class", "style", "data-item"] });
})();
