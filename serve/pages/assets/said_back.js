// What is pressed in what is said back goes to the server as JSON in #pawl-said-back-command.
(() => {
  const find = (place) => document.querySelector(place);
  let before = null, open = [];  // what was drawn when something was pressed
  addEventListener("click", (event) => {
    const button = event.target.closest?.("#pawl-said-back button[data-do]");
    if (!button) return;
    before = button.closest(".pawl-said-back");
    open = [...before.querySelectorAll("details[open] button[data-id]")].map((one) => one.dataset.id);
    const { do: what, id } = button.dataset;
    pawlSend("#pawl-said-back-command", { do: what, completion_id: id ?? "" });
  });
  new MutationObserver(() => {
    if (!before || before.isConnected) return;
    before = null;
    for (const button of document.querySelectorAll("#pawl-said-back button[data-id]"))
      if (open.includes(button.dataset.id)) button.closest("details").open = true;
    (find("#pawl-said-back summary") ?? find("#pawl-question :is(input, textarea)"))?.focus();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
