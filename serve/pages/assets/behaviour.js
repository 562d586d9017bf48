// Keys, focus, and the language.
(() => {
  const find = (place) => document.querySelector(place);
  const form = () => find("#pawl-form [class*=pawl-about-]");

  find("link[rel=manifest]")?.setAttribute("href", "manifest.json");  // also below a path

  // The language: the server keeps a choice in a cookie and leads back here.
  addEventListener("click", (event) => {
    const link = event.target.closest?.(".pawl-languages a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const url = new URL(location.href);
    url.searchParams.set("lang", link.lang);
    location.assign(url);
  });
  // Chosen in another tab: what the server draws from now on is in that language.
  document.addEventListener("visibilitychange", () => {
    const lang = document.cookie.match(/(?:^|; )pawl_language=(\w+)/)?.[1];
    if (!document.hidden && lang !== pawlTexts.language && find(`.pawl-languages a[lang="${lang}"]`))
      location.reload();
  });

  // Escape stops an answer, else closes the form if nothing was typed there.
  const setTyped = (is) => document.body.classList.toggle("pawl-typed", is);
  addEventListener("input", (event) => {  // also by page.js: a draft
    if (event.target.closest?.("#pawl-form")) setTyped(true);
  }, true);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing
      || event.target.closest?.("#pawl-side, dialog")) return;
    const stop = find("#pawl-question [data-testid=stop-button]");
    if (stop) stop.click();
    else if (form() && !document.body.classList.contains("pawl-typed")) find("#pawl-close")?.click();
  });

  // The focus goes from a pressed thumb into the form that it opens, and back.
  const thumbs = ".message-buttons-left";
  let from = null;
  addEventListener("click", (event) => {
    const button = event.target.closest?.(`#pawl-chat ${thumbs} button`);
    const row = button?.closest(thumbs);
    if (!row || !row.querySelector("button[data-own*=ike]")) return;
    from = {
      row: [...document.querySelectorAll(`#pawl-chat ${thumbs}`)].indexOf(row),
      at: [...row.querySelectorAll("button")].indexOf(button),
    };
  }, true);
  const pressed = () => from && document.querySelectorAll(`#pawl-chat ${thumbs}`)[from.row]
    ?.querySelectorAll("button")[from.at];
  let shown = null;
  const follow = () => {
    const heading = form();
    const id = heading?.className ?? null;
    if (id === shown) return;
    shown = id;
    setTyped(false);
    const place = document.activeElement;
    const isLost = !place || place === document.body;
    if (heading) {
      heading.tabIndex = -1;
      if (from && (isLost || place === pressed())) heading.focus();
    } else if (from) {
      if (isLost) pressed()?.focus();
      from = null;
    }
  };
  const name = () => {
    find("#pawl-look")?.setAttribute("aria-label", pawlText("scripts.look"));
    find(`.pawl-languages a[lang=${pawlTexts.language}]:not([aria-current])`)?.setAttribute("aria-current", "true");
    follow();
  };
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
})();
