"""Sphinx configuration."""

import re

from taildiff import __version__

project = "taildiff"
author = "the taildiff authors"
copyright = "2026, the taildiff authors; Apache-2.0"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"taildiff {__version__}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"
highlight_language = "text"  # of blocks without one: commands and what they print
smartquotes = False


def plain_formulas(app, what, name, obj, options, lines):
    """Docstrings are prose with indented formulas and tables: show those as they stand, and a bar as a bar."""
    lines[:] = attributes.pop(name, lines)
    shown, literal = [], False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not literal and (not shown or not shown[-1].strip()):
            shown += ["::", ""]
            literal = True
        elif line.strip() and not indented:
            literal = False
        shown.append(line if literal else re.sub(r"(`+[^`]*`+)|\|", lambda match: match[1] or r"\|", line))
    lines[:] = shown


attributes = {}


def keep_attributes(app, what, name, obj, options, lines):
    """The docstring of an attribute is text alone: Napoleon would take the words before its first colon for a type."""
    if what in ("attribute", "data", "property"):
        attributes[name] = list(lines)


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_attributes, priority=400)  # before Napoleon
    app.connect("autodoc-process-docstring", plain_formulas)
