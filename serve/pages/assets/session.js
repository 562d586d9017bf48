// A session that ended is noticed by a page's own requests: loaded anew, the page leads to the
// sign-in page, and from there back here. Not while its person signs out, which leads elsewhere.
// So is a server that was started anew: it does not know the page, and takes none of its events. And
// so is that somebody else signed in at this browser: the page is its first person's.
(() => {
  const ask = window.fetch;
  const start = "%START%";
  let isLeaving = false;
  addEventListener("submit", (event) => {
    isLeaving ||= event.target.getAttribute("action") === "sign-out";
  }, true);
  const FORBIDDEN = "pawl-forbidden";  // loaded anew for that, and no event was taken since
  const loadAgain = (status) => {  // not for ever where the page comes from a cache or another server
    const last = Number(sessionStorage.getItem("pawl-loaded-again"));
    if (Date.now() - last < 10_000 || (status === 403 && sessionStorage.getItem(FORBIDDEN))) return;
    if (status === 403) sessionStorage.setItem(FORBIDDEN, "1");
    sessionStorage.setItem("pawl-loaded-again", Date.now());
    location.reload();
  };
  window.fetch = async (...args) => {
    const [url, options] = args;
    const isEvent = String(url).includes("/queue/join") && options;
    if (isEvent) {
      const headers = new Headers(options.headers);
      headers.set("X-Pawl-Start", start);
      args[1] = {...options, headers};
    }
    const refused = () => dispatchEvent(new CustomEvent("pawl-refused", { detail: options.body }));
    const answer = await ask(...args).catch((error) => {  // as where a proxy ends the connection
      if (isEvent) refused();
      throw error;
    });
    if (isEvent && !answer.ok) refused();
    if (isLeaving) return answer;
    if (answer.status === 401) location.reload();
    if (isEvent && answer.ok) sessionStorage.removeItem(FORBIDDEN);
    if (isEvent && [403, 409].includes(answer.status)) loadAgain(answer.status);
    return answer;
  };
})();
