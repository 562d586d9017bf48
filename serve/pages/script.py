"""The page's own script: what must live in the browser to outlive a cut and a restart.

Gradio comes back from a lost connection by loading the page anew. Two things survive that here:

    the address   ``/?chat=chat-<32 hex digits>`` names the conversation, from the first load on;
                  "New chat" puts another name there before Gradio sends the click
    the draft     what is typed and not sent, in this tab's session storage under that name

It is put into the page's head. Gradio's ``js=`` arguments would need ``unsafe-eval``.
"""

from __future__ import annotations

import re

CHAT_PARAM = "chat"
CHAT_ID = re.compile(r"chat-[0-9a-f]{32}")

SCRIPT = """<script>
(() => {
  const param = "chat";
  const chat = () => new URL(location.href).searchParams.get(param);
  const rename = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const url = new URL(location.href);
    url.searchParams.set(param, "chat-" + id);
    history.replaceState(history.state, "", url);
  };
  if (!/^chat-[0-9a-f]{32}$/.test(chat() ?? "")) rename();
  addEventListener("click", (event) => {
    if (event.target.closest?.("#pawl-new")) rename();
  }, true);

  const box = () => document.querySelector("#pawl-question textarea");
  const key = () => "pawl-draft-" + chat();
  addEventListener("pagehide", () => {
    if (box()?.value) sessionStorage.setItem(key(), box().value);
    else sessionStorage.removeItem(key());
  });
  const draft = sessionStorage.getItem(key());
  if (draft === null) return;
  sessionStorage.removeItem(key());
  const watch = new MutationObserver(() => {
    if (!box()) return;
    watch.disconnect();
    box().value = draft;
    box().dispatchEvent(new Event("input", { bubbles: true }));
  });
  watch.observe(document.documentElement, { childList: true, subtree: true });
})();
</script>"""
