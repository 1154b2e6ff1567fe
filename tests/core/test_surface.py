"""What a user sees of the package: names, lazy submodules, signatures, types."""

import importlib
import inspect
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from flax import linen as nn
from flax import nnx
from support.command import python

import jaxgroups as jg

ROOT = Path(jg.__file__).parent.parent
LAYERS = [f"Conv{kind}{rank}d" for kind in ("", "Transpose") for rank in (1, 2, 3)]
SUBMODULES = ("convert", "diagrams", "linen", "nnx", "port", "prove")
KEYWORDS = ("dtype", "param_dtype", "precision", "preferred_element_type", "implementation")
INITIALIZERS = ("kernel_init", "bias_init")


@pytest.mark.parametrize("name", ["jaxgroups", "jaxgroups.diagrams"])
def test_completion_shows_the_public_names(name):
    module = importlib.import_module(name)
    assert [n for n in dir(module) if not n.startswith("__")] == module.__all__
    assert all(hasattr(module, n) for n in module.__all__)


@pytest.mark.parametrize("name", ["jaxgroups.nnx", "jaxgroups.linen"])
def test_completion_shows_layers_only(name):
    module = importlib.import_module(name)
    assert sorted(dir(module)) == sorted(module.__all__)
    assert {*LAYERS, "Layer"} <= {*module.__all__}
    kinds = (nnx.Module, nn.Module)
    assert all(issubclass(getattr(module, layer), kinds) for layer in module.__all__)


def test_submodules_are_loaded_when_they_are_used():
    lines = ["import sys, jaxgroups as jg"]
    for name in SUBMODULES:
        lines += [
            f"assert 'jaxgroups.{name}' not in sys.modules, '{name} is loaded'"
            if name not in ("linen", "nnx")  # convert needs both
            else "",
            f"assert jg.{name} is sys.modules['jaxgroups.{name}']",
        ]
    done = python("-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'jaxgroups' has no attribute 'conv4d'"):
        jg.conv4d  # noqa: B018
    assert not hasattr(jg, "torch")


@pytest.mark.parametrize("name", LAYERS)
def test_signatures_name_every_keyword(name):
    for module in (jg.nnx, jg.linen):
        parameters = inspect.signature(getattr(module, name)).parameters
        kinds = {p.kind for p in parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
        assert set(parameters) >= {*KEYWORDS, *INITIALIZERS, "stride", "groups"}
        documented = getattr(module, name).__doc__
        own = set(parameters) - {"parent", "name"}  # of every linen module
        assert [p for p in own if f"      {p}: " not in documented] == []
    nnx_only = {"rngs", "kernel_metadata", "bias_metadata"}
    assert set(inspect.signature(getattr(jg.nnx, name)).parameters) >= nnx_only


def test_a_subclass_has_its_own_signature():
    class Same(jg.nnx.Conv2d):
        def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
            super().__init__(channels, channels, 3, padding="same", rngs=rngs)

    assert list(inspect.signature(Same).parameters) == ["channels", "rngs"]
    assert Same(4, rngs=nnx.Rngs(0)).spec.padding == ((1, 1), (1, 1))


def test_spec_is_an_attribute_of_both_kinds_of_layers():
    linen = jg.linen.Conv2d(8, 3, groups=2, in_channels=4)
    layer = jg.nnx.Conv2d(4, 8, 3, groups=2, rngs=nnx.Rngs(0))
    assert linen.spec == layer.spec == jg.linen.Conv2d(8, 3, groups=2).spec_for(4)
    assert isinstance(layer.spec, jg.ConvSpec)


# --- type checkers --------------------------------------------------------------------------------

USER = """
import jaxgroups as jg
from flax import nnx
from jax import numpy as jnp

layer = jg.nnx.Conv2d(4, 8, 3, stride=2, padding="same", dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
channels: int = layer.spec.in_channels
module = jg.linen.ConvTranspose1d(8, 3, output_padding=1, implementation="xla")
spec: jg.ConvSpec = module.spec_for(4)
picture = jg.diagrams.draw(spec)
text: str = picture.svg()
macs: int | None = jg.explain(spec).macs
y = jg.conv2d(jnp.ones((1, 4, 5, 5)), jnp.ones((8, 2, 1, 1)), groups=2)
shape: tuple[int, ...] = y.shape
kinds = jg.convert.KINDS
"""
WRONG = {
    "strides": "jg.nnx.Conv2d(4, 8, 3, strides=2, rngs=nnx.Rngs(0))",
    "rngs": "jg.nnx.Conv2d(4, 8, 3)",
    "use_bias": "jg.linen.Conv2d(8, 3, use_bias=False)",
    "conv4d": "jg.conv4d",
    "Conv9d": "jg.nnx.Conv9d",
}


def check(tool, folder, *options):
    command = [sys.executable, "-m", "mypy"] if tool == "mypy" else [shutil.which(tool) or tool]
    return subprocess.run(
        [*command, *options, "user.py"], cwd=folder, capture_output=True, text=True, check=False
    )


def pyright(folder):
    (folder / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT.as_posix()}"]}}')
    return check("pyright", folder, "--pythonpath", sys.executable)


def mypy(folder):
    # mypy finds what is installed by itself, and refuses the path to it
    path = "" if "site-packages" in ROOT.parts else f"mypy_path = {ROOT.as_posix()}\n"
    (folder / "mypy.ini").write_text(f"[mypy]\n{path}follow_imports = silent\n")
    return check("mypy", folder, "--cache-dir", str(folder / "cache"))


CHECKERS = {
    "pyright": pytest.param(
        pyright,
        id="pyright",
        marks=pytest.mark.skipif(
            shutil.which("pyright") is None, reason="pyright is NOT installed, types are unchecked"
        ),
    ),
    "mypy": pytest.param(
        mypy,
        id="mypy",
        marks=pytest.mark.skipif(
            find_spec("mypy") is None, reason="mypy is NOT installed, types are unchecked"
        ),
    ),
}


@pytest.mark.parametrize("checker", CHECKERS.values())
def test_type_checkers_know_the_package(checker, tmp_path):
    (tmp_path / "user.py").write_text(USER)
    done = checker(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", CHECKERS.values())
def test_type_checkers_find_mistakes(checker, tmp_path):
    lines = ["import jaxgroups as jg", "from flax import nnx", *WRONG.values()]
    (tmp_path / "user.py").write_text("\n".join(lines) + "\n")
    done = checker(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for number, name in enumerate(WRONG, start=3):
        found = [line for line in done.stdout.splitlines() if f"user.py:{number}:" in line]
        assert any(name in line for line in found), (name, done.stdout)


def test_the_marker_of_types_is_in_the_package():
    assert (Path(jg.__file__).parent / "py.typed").is_file()
