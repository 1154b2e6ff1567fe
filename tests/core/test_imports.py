"""What imports what, what each name documents, and Flax's own layers on our convolution."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from support.command import python
from support.helpers import assert_same, whole

import jaxgroups as jg
from jaxgroups import cli
from jaxgroups._lowerings import dispatch

PACKAGE = Path(jg.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: each folder or file only what stands above it, and what is beside it within
# its folder, where `test_no_two_modules_import_each_other` forbids circles.
ORDER = [
    "_types",
    "_printable",
    "_console",
    "_wrap_calls",
    "_spec",
    "diagrams",
    "_problem",
    "_native",
    "_lowerings",
    "_op",
    "_functional",
    "_optimize",
    "convert/_files",
    "_explain",
    "__init__",
    "_keywords",
    "_layers",
    "nnx",
    "linen",
    "convert/_rules",
    "convert/_model",
    "convert/_plan",
    "convert/_order",
    "convert/_transfer",
    "convert/_propose",
    "convert",
    "prove",
    "port",
    "cli",
    "__main__",
]
WITHOUT_JAX = {
    "_types",
    "_printable",
    "_console",
    "_keywords",
    "_wrap_calls",
    "_spec",
    "diagrams",
    "convert/_files",
}
WITH_FLAX = {
    "_explain",
    "_optimize",
    "nnx",
    "linen",
    "convert",
    "convert/_model",
    "convert/_order",
    "convert/_plan",
    "convert/_propose",
    "convert/_rules",
    "convert/_transfer",
    "prove",
    "port",
    "cli",
}
# inside a function, and only to meet what the caller has in torch already or has installed
WITH_TORCH = {
    "cli.experiment",
    "convert._compare.trace",
    "convert._files.torch_load",
    "cli.port",
    "port._marks",
    "port._merged",
    "port._port",
    "port._ranges",
    "port._read",
    "port._trace",
    "port._training",
    "prove._checkpoint",
    "prove._torch_side",
}
ON_DEMAND = {"matplotlib", "rich"}  # loaded by the functions that draw and print


def module_name(file):
    """``convert/_kernel.py`` -> ``convert._kernel``; a package is named after its folder."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def place(module):
    """The line of ORDER that a module belongs to."""
    parts = module.split(".")
    inner = "/".join(parts[:2])
    return inner if inner in ORDER else parts[0]


MODULES = {module_name(file): file for file in FILES}


class _Imports(ast.NodeVisitor):
    """Every (module, at top level?) that a source imports; those for types only with `types`."""

    def __init__(self, types):
        self.found = []
        self.depth = 0
        self.types = types

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_Lambda = visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        if self.types or "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found += [(alias.name, self.depth == 0) for alias in node.names]

    def visit_ImportFrom(self, node):
        assert node.level == 0, "imports are written out in full here"
        for alias in node.names:  # `from a import b`: b may be a module or a name within a
            self.found.append((f"{node.module}.{alias.name}", self.depth == 0))

    def visit_Call(self, node):
        name = ast.unparse(node.func).split(".")[-1]
        if name in ("import_module", "__import__") and isinstance(node.args[0], ast.Constant):
            self.found.append((node.args[0].value, self.depth == 0))
        self.generic_visit(node)


def imports(source, types=False):
    visitor = _Imports(types)
    visitor.visit(ast.parse(source))
    return visitor.found


def top(name):
    return name.split(".")[0]


def ours(name):
    """The module of jaxgroups that an import names, or None: of ``a.b.c`` the longest module."""
    if top(name) != "jaxgroups":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def wrong_arrows(module, source):
    """Imports that ORDER does not allow a module."""
    mine = ORDER.index(place(module))
    found = (ours(name) for name, _ in imports(source))
    return [
        name
        for name in found
        if name is not None and place(name) != place(module) and ORDER.index(place(name)) >= mine
    ]


# --- arrows ---------------------------------------------------------------------------------------


def test_every_module_has_its_place():
    assert {place(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_one_below_it(module):
    assert wrong_arrows(module, MODULES[module].read_text()) == []


def test_the_check_of_arrows_can_fail():
    for source in (
        "from jaxgroups._op import functional as f",
        "import jaxgroups.nnx",
        "from jaxgroups.convert._kernel import KINDS",
        "def f():\n    from jaxgroups.cli import main",
        "import importlib\nimportlib.import_module('jaxgroups.linen')",
    ):
        assert len(wrong_arrows("_problem.problem", source)) == 1, source
    for source in (
        "from jaxgroups._spec.spec import ConvSpec",
        "from jaxgroups._spec import checks",
        "import math",
        "if TYPE_CHECKING:\n    from jaxgroups.cli import main",
    ):
        assert wrong_arrows("_problem.problem", source) == [], source


def test_no_two_modules_import_each_other():
    """Imports for types count as well: a module is understood without those that need it."""
    graph = {
        module: {ours(name) for name, _ in imports(file.read_text(), types=True)} - {None, module}
        for module, file in MODULES.items()
    }
    while leaves := [module for module, needs in graph.items() if not needs & set(graph)]:
        for module in leaves:
            del graph[module]
    assert graph == {}


def test_nobody_imports_the_command_line():
    importers = {
        module
        for module, file in MODULES.items()
        if any(ours(name) == "cli" for name, _ in imports(file.read_text()))
    }
    assert importers == {"__main__"}


def importers_of(library):
    return {
        module
        for module, file in MODULES.items()
        if any(top(name) == library for name, _ in imports(file.read_text()))
    }


def every_import():
    return [found for file in FILES for found in imports(file.read_text())]


def test_torch_is_imported_in_few_functions():
    assert importers_of("torch") <= WITH_TORCH
    for module in WITH_TORCH:
        for name, at_top in imports(MODULES[module].read_text()):
            assert not (at_top and top(name) == "torch"), module


def test_jax_and_flax_stay_where_they_belong():
    assert {place(m) for m in importers_of("jax")} & WITHOUT_JAX == set()
    assert {place(m) for m in importers_of("flax")} <= WITH_FLAX
    assert {place(m) for m in importers_of("jax")} >= {"_op", "_problem", "_lowerings"}
    assert importers_of("matplotlib") == {"diagrams._matplotlib"}
    assert all(not at_top for name, at_top in every_import() if top(name) in ON_DEMAND)


def test_source_files_are_short():
    lengths = {file.name: len(file.read_text().splitlines()) for file in FILES}
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n >= 400} == {}


# --- what an import loads -------------------------------------------------------------------------


def loaded(statement, *libraries):
    """Which of the libraries a statement loads, in a fresh interpreter."""
    end = f"print(*[m for m in {libraries!r} if m in sys.modules])"
    done = python("-c", f"import sys\n{statement}\n{end}")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HEAVY = ("flax", "torch", "matplotlib", "rich", "orbax")


def test_import_jaxgroups_is_light():
    assert loaded("import jaxgroups", "jax", "numpy", *HEAVY) == []
    assert loaded("import jaxgroups as jg; jg.conv2d", "jax", *HEAVY) == ["jax"]


def test_the_check_of_loaded_modules_can_fail():
    assert loaded("import jaxgroups, flax", "flax", "matplotlib") == ["flax"]
    fake = "import types; sys.modules['torch'] = types.ModuleType('torch')"
    assert loaded(fake, "flax", "torch", "matplotlib") == ["torch"]


def test_the_rest_loads_no_torch():
    everything = (
        "import jaxgroups.cli, jaxgroups.nnx, jaxgroups.linen, jaxgroups.convert, jaxgroups.prove, "
        "jaxgroups.port"
    )
    assert loaded(everything, "torch", "matplotlib", "flax") == ["flax"]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of torch raises
try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("torch is not blocked")

import numpy as np
from flax import nnx
import jax
import jaxgroups as jg
import jaxgroups.linen as jln
import jaxgroups.nnx as jnn
from jaxgroups import cli
from jaxgroups.convert import bias_from_torch, kernel_from_torch, kernel_to_torch

x = np.ones((2, 4, 5, 6), "float32")
w = np.arange(48, dtype="float32").reshape(6, 2, 2, 2)
y = jg.conv2d(x, w, groups=2)
layer = jnn.Conv2d(4, 6, 2, groups=2, rngs=nnx.Rngs(0))
layer.kernel[...] = kernel_from_torch(w, layer)
layer.bias[...] = bias_from_torch(np.zeros(6, "float32"))
last = x.transpose(0, 2, 3, 1)
np.testing.assert_array_equal(layer(last), y.transpose(0, 2, 3, 1))
assert kernel_to_torch(layer.kernel, layer).tobytes() == w.tobytes()
variables = jln.Conv2d(6, 2, groups=2).init(jax.random.key(0), last)
assert variables["params"]["kernel"].shape == (2, 2, 2, 6)
raise SystemExit(cli.main(["experiment"]))
"""


def test_everything_works_without_torch():
    done = python("-c", WITHOUT_TORCH)
    assert done.returncode == 0, done.stderr
    assert "ones become: 3, 7, 11, 15, 19, 23, 27, 31" in done.stdout
    assert "torch.nn.Conv2d" not in done.stdout
    assert "WRONG" not in done.stdout


# --- names and texts ------------------------------------------------------------------------------

PUBLIC = ["jaxgroups", "jaxgroups.nnx", "jaxgroups.linen", "jaxgroups.convert",
          "jaxgroups.port", "jaxgroups.prove"]  # fmt: skip


def public_names(module):
    """Functions and classes of jaxgroups that a module shows, by name."""
    shown = importlib.import_module(module)
    lazy = {name: getattr(shown, name) for name in getattr(shown, "__all__", ())}
    for name, value in (vars(shown) | lazy).items():
        if not name.startswith("_") and (inspect.isclass(value) or callable(value)):
            home = getattr(value, "__module__", None) or ""
            if home.split(".")[0] == "jaxgroups":
                yield name, value


def own_doc(value):
    """The docstring that somebody wrote: not one inherited, nor a dataclass's automatic one."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return None if doc is None or doc.startswith(f"{value.__name__}(") else doc


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module):
    names = dict(public_names(module))
    assert len(names) >= 3
    assert [name for name, value in names.items() if not (own_doc(value) or "").strip()] == []
    undocumented = [
        f"{name}.{method}"
        for name, value in names.items()
        if inspect.isclass(value)
        for method, function in vars(value).items()
        if inspect.isfunction(function) and (not method.startswith("_") or method == "__call__")
        # where the class itself says nothing, the one that it extends does
        if not any(vars(base)[method].__doc__ for base in value.__mro__ if method in vars(base))
    ]
    assert undocumented == []


def test_the_check_of_docstrings_can_fail():
    import dataclasses

    @dataclasses.dataclass
    class Automatic:
        field: int

    class Inherits(jg.ConvSpec):
        pass

    assert own_doc(Automatic) is None
    assert own_doc(Inherits) is None
    assert own_doc(jg.ConvSpec) is not None


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


def test_documentation_is_of_the_operation_it_stands_with():
    for name, value in public_names("jaxgroups"):
        if name.startswith("conv") and name != "conv_general_dilated":
            assert f"torch.nn.functional.{name}" in value.__doc__
            assert "{" not in value.__doc__
            assert value.__name__ == value.__qualname__ == name
    for module in ("jaxgroups.nnx", "jaxgroups.linen"):
        for name, value in public_names(module):
            if name.startswith("Conv") and name != "ConvSpec":
                assert f"torch.nn.{name}" in value.__doc__
                assert ("rngs" in value.__doc__) == module.endswith("nnx")


def test_implementations_are_those_of_the_command_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["explain", "--help"])
    choices = re.search(r"--implementation \{([^}]*)\}", capsys.readouterr().out)
    assert tuple(choices[1].split(",")) == dispatch.names()
    assert "xla" in dispatch.names()


# --- conv_general_dilated -------------------------------------------------------------------------


def test_conv_general_dilated_has_the_signature_of_lax():
    def of(function):
        return [
            (p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()
        ]

    assert of(jg.conv_general_dilated) == of(lax.conv_general_dilated)


GENERAL = {
    "plain": ((2, 3, 5, 6), (4, 3, 3, 2), {"window_strides": (1, 1), "padding": "VALID"}),
    "grouped": (
        (2, 4, 5, 6),
        (6, 2, 3, 2),
        {"window_strides": (2, 1), "padding": [(1, 0), (2, 1)], "feature_group_count": 2},
    ),
    "depthwise": (
        (2, 4, 5, 6),
        (8, 1, 3, 2),
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4},
    ),
    "batch-groups": (
        (4, 3, 5, 6),
        (6, 3, 3, 2),
        {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 2},
    ),
    "dilated-last": (
        (2, 5, 6, 4),
        (3, 2, 2, 6),
        {
            "window_strides": (1, 1),
            "padding": [(2, -1), (0, 3)],
            "lhs_dilation": (2, 3),
            "rhs_dilation": (1, 2),
            "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
            "feature_group_count": 2,
            "precision": "highest",
            "preferred_element_type": jnp.float64,
        },
    ),
}


@pytest.mark.parametrize("name", GENERAL)
def test_conv_general_dilated_gives_what_lax_gives(rng, name):
    lhs, rhs, kw = GENERAL[name]
    lhs, rhs = whole(rng, lhs, "float32"), whole(rng, rhs, "float32")
    assert_same(jg.conv_general_dilated(lhs, rhs, **kw), lax.conv_general_dilated(lhs, rhs, **kw))
    positional = list(inspect.signature(lax.conv_general_dilated).parameters.values())[2:]
    values = [kw.get(p.name, p.default) for p in positional]
    assert_same(
        jg.conv_general_dilated(lhs, rhs, *values), lax.conv_general_dilated(lhs, rhs, *values)
    )


def test_conv_general_dilated_refuses_what_lax_refuses():
    lhs, rhs = np.ones((1, 4, 5, 5), "float32"), np.ones((6, 4, 3, 3), "float32")
    messages = []
    for function in (jg.conv_general_dilated, lax.conv_general_dilated):
        with pytest.raises(ValueError, match="feature_group_count") as caught:
            function(lhs, rhs, (1, 1), "SAME", feature_group_count=3)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_names_of_test_files_are_unique():
    """pytest imports them by their names alone."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_flax_layers_take_conv_general_dilated(rng, library):
    """Flax's own Conv computes the same with ours as with lax's, and does call it."""
    x = whole(rng, (2, 5, 6, 4), "float32")
    calls = []

    def ours(*args, **kw):
        calls.append(kw["feature_group_count"])
        return jg.conv_general_dilated(*args, **kw)

    outputs = []
    for function in (lax.conv_general_dilated, jg.conv_general_dilated, ours):
        kw = {"strides": 2, "padding": 1, "feature_group_count": 2}
        kw["conv_general_dilated"] = function
        if library == "nnx":
            outputs.append(nnx.Conv(4, 6, (3, 2), rngs=nnx.Rngs(0), **kw)(x))
        else:
            layer = nn.Conv(6, (3, 2), **kw)
            outputs.append(layer.init_with_output(jax.random.key(0), x)[0])
    assert calls == [2]
    assert_same(outputs[1], outputs[0], atol=1e-5)
    assert_same(outputs[2], outputs[1])
