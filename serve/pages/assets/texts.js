// What the scripts say, in the page's language (serve/pages/texts): pawlText(key, { name }).
window.pawlTexts = %TEXTS%;
window.pawlText = (key, values = {}) =>
  pawlTexts.texts[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
