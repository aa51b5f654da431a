"""Configure the documentation site.

    sphinx-build -W --keep-going -c docs . build/site

The source folder is the whole repository, so that pages outside docs/ (recipes, benchmarks, engine, changelog) are part
of the site and every link between pages is checked. The build makes no network request.
"""

import re

import peephole

project = "peephole"
author = "the peephole authors"
project_copyright = "2026 the peephole authors"
version = release = peephole.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**",
    "engine/README.md",
    "examples/README.md",
    "benchmarks/*.md",
    "recipes/README.md",
    "recipes/*/README.md",
]
exclude_patterns = ["build", "quickstart", ".*"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
default_role = "code"  # docstrings write names in single backticks
highlight_language = "none"

html_theme = "furo"
html_title = f"peephole {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_show_sphinx = False

INDENTED_BLOCK = re.compile(r"^([^\s-].*)\n\n(?= {4}\S)", re.MULTILINE)
NOTE = re.compile(r"^(Source|Differs): ", re.MULTILINE)
SECTION_DEFAULT = re.compile(r"(?<= = )\w+Config\([^()]*\)")


def convert_docstring(app, what, name, obj, options, lines):
    """Write a docstring's indented blocks as literal blocks and its "Source:" and "Differs:" notes as fields."""
    text = INDENTED_BLOCK.sub(r"\1\n\n::\n\n", "\n".join(lines))
    lines[:] = NOTE.sub(r":\1: ", text).split("\n")


def shorten_signature(app, what, name, obj, options, signature, return_annotation):
    """Leave the settings out of the defaults of `Config`, whose page is settings.md."""
    return (SECTION_DEFAULT.sub("…", signature), return_annotation) if signature else None


def setup(app):
    """Connect the event handlers."""
    app.connect("autodoc-process-docstring", convert_docstring, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-signature", shorten_signature)
