// Gradio's own words, in the page's language. What they are in English stays in data-own, by which
// style sheets and scripts find the parts that have no other name.
(() => {
  const NAMED = ["aria-label", "title"];
  const words = (place) => {
    if (place.matches("input[type=checkbox][title]")) place.removeAttribute("title");  // its value
    for (const name of NAMED) {
      const own = place.getAttribute(name);
      if (!Object.hasOwn(pawlTexts.gradio, own)) continue;
      if (name === "aria-label") place.dataset.own = own;
      const said = pawlTexts.gradio[own];
      if (said !== own) place.setAttribute(name, said);
    }
  };
  const notices = () => {
    for (const place of document.querySelectorAll(".toast-title, [data-testid=toast-text]")) {
      const said = pawlTexts.gradio[place.textContent.trim()];
      if (said && said !== place.textContent.trim()) place.textContent = said;
    }
  };
  const all = NAMED.map((name) => `[${name}]`).join();
  for (const place of document.querySelectorAll(all)) words(place);
  new MutationObserver((changes) => {
    let isAdded = false;
    for (const { type, target, addedNodes } of changes) {
      if (type === "attributes") words(target);
      for (const added of addedNodes) {
        if (!added.querySelectorAll) continue;
        isAdded = true;
        if (added.matches(all)) words(added);
        for (const place of added.querySelectorAll(all)) words(place);
      }
    }
    if (isAdded) notices();
  }).observe(document.documentElement,
    { childList: true, subtree: true, attributes: true, attributeFilter: NAMED });
})();
