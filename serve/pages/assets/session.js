// A session that ended is noticed by a page's own requests: loaded anew, the page leads to the
// sign-in page, and from there back here. Not while its person signs out, which leads elsewhere.
(() => {
  const ask = window.fetch;
  let isLeaving = false;
  addEventListener("submit", (event) => {
    isLeaving ||= event.target.getAttribute("action") === "sign-out";
  }, true);
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    if (answer.status === 401 && !isLeaving) location.reload();
    return answer;
  };
})();
