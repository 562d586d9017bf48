// Links between the pages that this person may open, above the page; none where there is one.
// ROOT is the server's, as the page's own address has it ("./", "../").
(() => {
  const root = new URL("%ROOT%", location.href.split("?")[0]);
  const draw = (pages) => {
    if (pages.length < 2) return;
    const nav = document.createElement("nav");
    nav.id = "pawl-nav";
    nav.ariaLabel = pawlText("scripts.pages");
    for (const page of pages) {
      const link = nav.appendChild(document.createElement("a"));
      link.href = new URL(page.path, root).pathname;
      link.textContent = page.label;
      if (new URL(link.href).pathname === location.pathname) link.ariaCurrent = "page";
    }
    document.body.prepend(nav);
  };
  const ask = async () => {
    const answer = await fetch(new URL("pages.json", root));
    if (answer.ok) draw(await answer.json());
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", ask);
  else ask();
})();
