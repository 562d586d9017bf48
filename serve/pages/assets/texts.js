// What the scripts say, in the page's language (serve/pages/texts): pawlText(key, { name }). Gradio
// says that the page is in its own language.
window.pawlTexts = %TEXTS%;
window.pawlText = (key, values = {}) =>
  pawlTexts.texts[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
(() => {
  const root = document.documentElement;
  const name = () => { if (root.lang !== pawlTexts.language) root.lang = pawlTexts.language; };
  name();
  new MutationObserver(name).observe(root, { attributeFilter: ["lang"] });
})();
