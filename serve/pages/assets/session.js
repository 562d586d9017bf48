// A session that ended is noticed by a page's own requests: loaded anew, the page leads to the
// sign-in page, and from there back here. Not while its person signs out, which leads elsewhere.
// So is a server that was started anew: it does not know the page, and takes none of its events.
(() => {
  const ask = window.fetch;
  const start = "%START%";
  let isLeaving = false;
  addEventListener("submit", (event) => {
    isLeaving ||= event.target.getAttribute("action") === "sign-out";
  }, true);
  window.fetch = async (...args) => {
    const [url, options] = args;
    const isEvent = String(url).includes("/queue/join") && options;
    if (isEvent) {
      const headers = new Headers(options.headers);
      headers.set("X-Pawl-Start", start);
      args[1] = {...options, headers};
    }
    const answer = await ask(...args);
    const isUnknown = answer.status === 401 || (isEvent && answer.status === 409);
    if (isUnknown && !isLeaving) location.reload();
    return answer;
  };
})();
