// The operator's pages: a question takes the focus, so that a screen reader reads it out; Escape says
// no; then the button that asked has the focus again.
(() => {
  const visible = (selector) => {
    const found = document.querySelector(selector);
    return found?.offsetParent ? found : null;
  };
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
    const no = visible("#op-no");
    if (!no) return;
    event.preventDefault();
    no.click();
  });
  let opener = null, isOpen = false;
  addEventListener("click", (event) => {
    opener = event.target.closest?.(".op-action") ?? opener;
  }, true);
  const look = () => {
    const question = visible(".op-asked");
    if (question && !isOpen) question.focus();
    if (!question && isOpen) (opener?.offsetParent ? opener : visible(".op-action"))?.focus();
    isOpen = question !== null;
  };
  new MutationObserver(() => requestAnimationFrame(look)).observe(document.documentElement,
    { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "style"] });
})();
