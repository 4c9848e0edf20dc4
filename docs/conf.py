"""How Sphinx builds the documentation: no network, no theme of its own."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

_setup = configparser.ConfigParser(interpolation=None)
_setup.read(Path(__file__).parent.parent / "setup.cfg")

project = "cluster"
author = _setup["metadata"]["author"]
project_copyright = author
release = version = _setup["metadata"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_use_type_comments = False
napoleon_numpy_docstring = False

html_theme = "alabaster"
html_theme_options = {
    "description": "A queue of jobs for this machine, with the manners of a compute cluster.",
    "fixed_sidebar": True,
}
html_show_sphinx = False
html_copy_source = False


def _keep_drawings(
    app: Any, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Show what is indented in the docstring of a module as it stands: it is a drawing."""
    if what != "module":
        return
    kept: list[str] = []
    for line in lines:
        drawn = line.startswith("  ")
        if drawn and kept and not kept[-1].strip():
            last = next((text for text in reversed(kept) if text.strip()), "")
            if not last.startswith("  "):
                kept += ["::", ""]
        kept.append(line)
    lines[:] = kept


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _keep_drawings)
