// What is pressed under two answers goes to the server as JSON in #pawl-sides-command.
(() => {
  addEventListener("click", (event) => {
    const button = event.target.closest?.("#pawl-chat .pawl-choices button");
    if (!button) return;
    const after = (element, begin) =>
      [...element.classList].find((one) => one.startsWith(begin))?.slice(begin.length) ?? "";
    const side = after(button, "pawl-side-"), of = after(button.parentElement, "pawl-of-");
    pawlSend("#pawl-sides-command", { side, of });
    document.querySelector("#pawl-question :is(input, textarea)")?.focus();
  });
})();
