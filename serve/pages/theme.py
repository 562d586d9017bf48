"""How the pages look: a theme of system fonts, a style sheet, and the small starting page."""

from __future__ import annotations

from typing import Any

FAVICON_LINK = (
    "<link rel='icon' href=\"data:image/svg+xml,"
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='7' fill='%230f766e'/%3E"
    "%3Cpath d='M8 22 L20 8 L20 16 L25 16' fill='none' stroke='white' stroke-width='3.4' "
    "stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E\">"
)

STARTING_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Pawl</title>{icon}{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font-family: system-ui, sans-serif; margin: 20vh auto 0; max-width: 30rem; padding: 1rem;
        color: #1f2937; background: #fff }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e5e7eb; background: #0b0f19 }} }}
</style></head>
<body><h1>Pawl</h1><p role="status">{what}</p></body></html>
"""


def theme() -> Any:
    """Gradio's base theme on fonts that every system has."""
    import gradio as gr

    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=fonts,
        font_mono=mono,
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
    )


CSS = """
/* The page fills the window; only the conversation scrolls. */
html, body { height: 100dvh; overflow: hidden; }
gradio-app, .gradio-container, .gradio-container > .main, .gradio-container .main > .wrap,
main.contain, main.contain > .column { min-height: 0 !important; flex: 1 1 0 !important; }
.gradio-container { max-width: none !important; }
.gradio-container > .main { max-width: 56rem; width: 100%; margin: 0 auto; padding: .75rem 1rem; }
main.contain > .column { gap: .6rem; overflow-y: auto; flex-wrap: nowrap; }
main.contain > .column > * { flex: none; }
#pawl-chat { flex: 1 1 0 !important; min-height: 9rem !important; }
#pawl-chat .placeholder-content { height: 100%; }
#pawl-chat .placeholder { text-align: center; max-width: 28rem; margin: auto; }

#pawl-head { align-items: center; flex-wrap: nowrap; gap: .6rem; }
#pawl-title { flex: 1 0 4rem; width: auto; white-space: nowrap; }
#pawl-title h1 { margin: 0; font-size: 1.35rem; letter-spacing: -.01em; }
#pawl-version { flex: 0 0 14rem; }
#pawl-version input { padding-right: 1.2rem; text-overflow: ellipsis; }
#pawl-new { flex: none; }
#pawl-question { border: 1px solid var(--border-color-primary); border-radius: .8rem;
  padding: .35rem .4rem .35rem .6rem; background: var(--input-background-fill); }
#pawl-question:focus-within { border-color: var(--primary-600); }
#pawl-question textarea { border: none; box-shadow: none; background: none; }
#pawl-question button { background: var(--button-primary-background-fill); color: white;
  border-radius: .6rem; padding: .35rem .9rem; }
#pawl-about p { text-align: center; color: var(--body-text-color-subdued); font-size: .75rem;
  line-height: 1.35; }

.pawl-notice { border-radius: .6rem; padding: .6rem 1rem; background: #fef3c7; color: #713f12;
  display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: center; }
.pawl-notice *, .pawl-error * { color: inherit !important; }
.pawl-notice progress { flex: 1 1 10rem; height: .5rem; appearance: none; border: none;
  border-radius: .25rem; background: #fde68a; color: #b45309; overflow: hidden; }
.pawl-notice progress::-webkit-progress-bar { background: #fde68a; }
.pawl-notice progress::-webkit-progress-value { background: #b45309; }
.pawl-notice progress::-moz-progress-bar { background: #b45309; }
.pawl-detail { overflow-wrap: anywhere; }
.pawl-notice.pawl-failed, .pawl-notice.pawl-unreachable, .pawl-error {
  background: #fee2e2; color: #7f1d1d !important; opacity: 1; }
.pawl-error { border-radius: .5rem; padding: .5rem .75rem; overflow-wrap: anywhere; }

/* What stands under an answer is a message of its own to Gradio: no bubble, no buttons. */
#pawl-chat button[aria-label="Clear"] { display: none; }
#pawl-chat .message-row:has(.pawl-under) + .message-buttons-left { display: none; }
#pawl-chat .message-row:has(.pawl-under) { margin-top: .35rem; }
#pawl-chat .message:has(.pawl-under) { background: none; border: none; box-shadow: none;
  padding: 0 .25rem; }
/* Notices come above the input, not over the header. */
.toast-wrap { top: auto !important; bottom: 8.5rem !important; }
#pawl-chat .message:has(.pawl-never) { background: none; border: none; box-shadow: none;
  padding: 0; }
/* An error in an answer's place can be regenerated, not marked. */
#pawl-chat .message-row:has(.pawl-never) + .message-buttons-left
  :is(button[aria-label="Like"], button[aria-label="Dislike"]) { display: none; }
.pawl-under { font-size: .8rem; line-height: 1.45; }
.pawl-facts { color: var(--body-text-color-subdued); }
.pawl-saved { border-left: 3px solid var(--primary-600); padding-left: .6rem; margin-top: .3rem;
  overflow-wrap: anywhere; }

#pawl-form { flex: none !important; border: 1px solid var(--border-color-primary);
  border-radius: .8rem; gap: .5rem;
  padding: .75rem; max-height: 58dvh; overflow-y: auto; flex-wrap: nowrap; }
#pawl-form > * { flex: none; }
#pawl-why { gap: .5rem; }
#pawl-buttons { flex-wrap: wrap; gap: .5rem; } #pawl-buttons button { flex: 0 1 auto; }
#pawl-form summary { cursor: pointer; font-size: .85rem; }
#pawl-form dl { font-size: .85rem; } #pawl-form dt { font-weight: 600; }
#pawl-form dd { margin: 0 0 .3rem 1rem; }
@media (max-width: 40rem), (max-height: 45rem) {
  main.contain > .column:has(#pawl-form) #pawl-about { display: none; }
  #pawl-chat { min-height: 6rem !important; }
}
@media (max-width: 40rem) {
  .gradio-container > .main { padding: .5rem; }
  #pawl-version { flex: 0 1 11rem; }
  #pawl-about p { font-size: .65rem; }
}
"""
