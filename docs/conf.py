"""The site. ``python -m docs`` builds it.

Sphinx, and not MkDocs with mkdocstrings: most public names are made when the package is imported.
One template makes max_pool1d to 3d, and a layer gets its docstring and its signature when its class
is made. autodoc shows what ``help()`` shows. mkdocstrings reads source text, where the name
``jaxgroups.max_pool2d`` is an alias that it cannot resolve; told to import instead, it imports
every module, ``jaxgroups.__main__`` too, which is the command line.
"""

import importlib
import re
from collections import defaultdict
from typing import Any

import jax.numpy as jnp
from jax.lax import PrecisionLike
from jax.typing import DTypeLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

import jaxgroups as jg

project = "jaxgroups"
author = copyright = "The jaxgroups authors"
release = version = jg.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["__pycache__"]
nitpicky = True  # a reference that leads nowhere is a warning, and a warning is an error

default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape"]

myst_heading_anchors = 3
myst_links_external_new_tab = False

html_theme = "furo"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"
html_title = f"jaxgroups {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

_ARGUMENT = re.compile(r"[a-z_][a-z0-9_]*")  # in backquotes: an argument, not a name of the API
_MODULES = ("", *(f".{name}" for name in ("nnx", "linen", "convert", "port", "prove", "diagrams")))


def _homes() -> dict[str, str]:
    """The public module of each public name that only one module has."""
    homes = defaultdict(list)
    for module in (importlib.import_module(f"jaxgroups{name}") for name in _MODULES):
        for name in module.__all__:
            homes[name].append(module.__name__)
    return {name: modules[0] for name, modules in homes.items() if len(modules) == 1}


_HOMES = _homes()


def _literal_blocks(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list) -> None:
    """A paragraph that is indented by four or more spaces is code, as in Markdown."""
    for i in reversed(range(2, len(lines))):
        beside = lines[i - 2][:1]  # of the paragraph before it
        if lines[i].startswith("    ") and not lines[i - 1] and beside.strip():
            lines[i:i] = ["::", ""]


_LONG = {  # what a signature prints for these types, and their names
    stringify_annotation(DTypeLike, "smart", short_literals=True): "DTypeLike",
    stringify_annotation(PrecisionLike, "smart", short_literals=True): "PrecisionLike",
    repr(jnp.float32): "float32",
    "<factory>": "...",  # a field of a dataclass
}


def _readable(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: Any
) -> tuple[str | None, Any]:
    """A signature with the names of JAX's types, and without linen's `parent` and `name`."""
    if signature:
        for long, short in _LONG.items():
            signature = signature.replace(long, short)
        signature = re.sub(r", parent: .*, name: str \| None = None(?=\)$)", "", signature)
    return signature, returns


def _resolve(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """The link of a name that docstrings write without its module, or that a type names.

    An argument, and a type of another package, is shown without a link.
    """
    target = node["reftarget"]
    parts = target.split(".")
    # `convert.plan` and `Plan.problems` in docstrings, jaxgroups.convert._plan.plan.Plan in types
    names = [f"jaxgroups.{target}"]
    names += [".".join([_HOMES[p], *parts[i:]]) for i, p in enumerate(parts) if p in _HOMES]
    python = env.get_domain("py")
    for name in names:
        link = python.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
        if link is not None:
            return link
    if node["reftype"] != "obj" or _ARGUMENT.fullmatch(target):
        return content
    return None  # a warning


def _as_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Text that is written for files, as a page of the site.

    The README is the overview of the files, and the first page is that of the site. A line break
    between two Chinese characters is no space.
    """
    text = re.sub(r"\]\(\.\./README(\.zh-CN)?\.md\)", "](index.md)", source[0])
    source[0] = re.sub(r"(?<=[\u3001-\uff5e])\n *(?=[\u3001-\uff5e])", "", text)


def setup(app: Sphinx) -> None:
    app.connect("source-read", _as_page)
    app.connect("autodoc-process-docstring", _literal_blocks, priority=100)
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _resolve)
