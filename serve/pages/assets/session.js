// A session that ended is noticed by a page's own requests: loaded anew, the page leads to the
// sign-in page, and from there back here.
(() => {
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    if (answer.status === 401) location.reload();
    return answer;
  };
})();
