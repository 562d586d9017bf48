// The people page: what asks whether something is to be done takes the focus (No is first), and what
// became of it has it after.
(() => {
  addEventListener("keydown", (event) => {
    const no = document.querySelector("#people-no");
    if (event.key === "Escape" && no?.offsetParent) no.click();
  });
  let open = null;
  const look = () => {
    const no = document.querySelector("#people-no");
    const now = no?.offsetParent ? document.querySelector("#people-question")?.textContent : null;
    if (now !== open) (now === null ? document.querySelector("#people-status") : no)?.focus();
    open = now;
  };
  new MutationObserver(() => requestAnimationFrame(look)).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["class", "style"] });
})();
