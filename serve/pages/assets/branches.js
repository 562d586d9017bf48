// Between the variants of an answer (chat.html, variants): a pressed button's value goes to the server
// in #pawl-variant, and the focus to the button that is drawn in its place, or where that one leads
// no further to the other one.
(() => {
  const all = "#pawl-chat .pawl-variants button";
  let pressed = null;
  addEventListener("click", (event) => {  // page.js asks first about what is typed in the form
    const button = event.target.closest?.(all);
    if (!button) return;
    pressed = button;
    pawlFill("#pawl-variant", `${button.value} ${Math.random()}`);
  });
  new MutationObserver(() => {
    if (!pressed || pressed.isConnected) return;
    const at = pressed.value.split(" ")[0];
    const drawn = [...document.querySelectorAll(all)].filter((one) => one.value.startsWith(at + " "));
    if (!drawn.length) return;
    const place = document.activeElement;
    const same = drawn.find((one) => one.className === pressed.className);
    if (!place || place === document.body) (same.disabled ? drawn.find((one) => !one.disabled) : same)?.focus();
    pressed = null;
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
