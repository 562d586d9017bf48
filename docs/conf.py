"""How Sphinx makes the site; docs/build.py calls it and says what is in it."""

from pawl import __version__

project = "Pawl"
author = "the makers of Pawl"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["attrs_inline"]  # ids of settings in tables
myst_heading_anchors = 4
nitpicky = True
smartquotes = False  # "--set" stays what is typed
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]  # "..." in JSON stands for what is left out
html_title = f"Pawl {version}"
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": False,
    "navigation_with_keys": False,
    "use_edit_page_button": False,
}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
