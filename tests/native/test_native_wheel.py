"""Building the wheel: with the kernels where a compiler is there, of Python alone where not.

The compiler is a stand-in: it copies the library that is there, so nothing takes minutes.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import types
import zipfile
from pathlib import Path

import pytest
from support import command

import jaxgroups
from jaxgroups import _native as native
from jaxgroups._native import build as _build

ROOT = Path(jaxgroups.__file__).parents[1]
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")
HATCHLING = importlib.util.find_spec("hatchling") is not None
pytestmark = pytest.mark.skipif(
    not (ROOT / "hatch_build.py").exists(), reason="the package is installed without its sources"
)


def source(tmp_path):
    """A copy of what a wheel is made of; an older library lies in it."""
    root = tmp_path / "source"
    shutil.copytree(ROOT / "jaxgroups", root / "jaxgroups", ignore=lambda *_: ["__pycache__"])
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / "jaxgroups" / "_native" / _build.LIBRARY).write_text("older")
    return root


def compiler(tmp_path):
    """Gives the library of this installation, or what is none, whatever is to be compiled."""
    script = tmp_path / "c++"
    library = native.status().path or Path(__file__)
    script.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{library}" "$last"\n')
    script.chmod(0o755)
    return str(script)


class Told:
    """The application that hatchling gives to a hook."""

    def __init__(self):
        self.warnings, self.information = [], []

    def display_warning(self, text):
        self.warnings.append(text)

    def display_info(self, text):
        self.information.append(text)


class Interface:
    """`BuildHookInterface`, as far as it is used."""

    def __init__(self, root):
        self.root, self.app = str(root), Told()


def hook(monkeypatch, root):
    """The hook of `hatch_build.py` over a stand-in for hatchling."""
    names = ["hatchling", "builders", "hooks", "plugin", "interface"]
    for i in range(len(names)):
        module = types.ModuleType(".".join(names[: i + 1]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    module.BuildHookInterface = Interface
    found = importlib.util.spec_from_file_location("hatch_build_copy", root / "hatch_build.py")
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded.NativeHook(root)


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_the_hook_brings_the_library_where_it_is_wanted(monkeypatch, tmp_path, version):
    monkeypatch.setenv("CXX", compiler(tmp_path))
    monkeypatch.delenv("JAXGROUPS_NATIVE", raising=False)
    root = source(tmp_path)
    ours, data = hook(monkeypatch, root), {"force_include": {}}
    ours.initialize(version, data)
    assert ours.app.warnings == []
    start, end = ours.app.information
    isas = ", ".join(_build.chosen_isas())
    assert start == (
        f"jaxgroups: compiling the kernels for this machine ({isas}), which takes less than a "
        "minute on two idle cores"
    )
    assert re.fullmatch(r"jaxgroups: compiled in \d+ s", end)
    assert (data["pure_python"], data["tag"]) == (False, f"py3-none-{PLATFORM}")
    included = data["force_include"]
    older = (root / "jaxgroups" / "_native" / _build.LIBRARY).read_bytes() == b"older"
    assert older == (version == "standard")
    assert list(included.values()) == ["jaxgroups/_native/_kernels.so"] * older
    assert all(Path(path).is_file() for path in included)
    ours.finalize(version, data, "")
    assert not any(Path(path).exists() for path in included)


NO_LIBRARY = {
    "switched off": (
        {"JAXGROUPS_NATIVE": "0"},
        "jaxgroups: JAXGROUPS_NATIVE=0, kernels are not compiled",
    ),
    "fails": ({"CXX": "false"}, "jaxgroups: installed without compiled kernels: false -std=c++17"),
    "absent": (
        {"CXX": "no/such/compiler"},
        "jaxgroups: installed without compiled kernels: the C++ compiler no/such/compiler does "
        "not run: [Errno 2]",
    ),
}


@pytest.mark.parametrize("why", NO_LIBRARY)
def test_the_hook_warns_and_goes_on_without_a_library(monkeypatch, tmp_path, why):
    environment, text = NO_LIBRARY[why]
    monkeypatch.delenv("JAXGROUPS_NATIVE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, data = hook(monkeypatch, source(tmp_path)), {"force_include": {}}
    ours.initialize("standard", data)
    [warning] = ours.app.warnings
    assert warning.startswith(text)
    assert data == {"force_include": {}}
    ours.finalize("standard", data, "")


def wheel(tmp_path, **environment):
    """The wheel that pip builds offline, installed into a folder."""
    clean = {k: v for k, v in os.environ.items() if k != "JAXGROUPS_NATIVE"}
    pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check"]
    alone = ["--no-index", "--no-deps", "--quiet"]
    made, to = tmp_path / "wheels", tmp_path / "installed"
    build = ["wheel", *alone, "--no-build-isolation", "-w", str(made), str(source(tmp_path))]
    subprocess.run([*pip, *build], check=True, env=clean | environment)
    [path] = made.iterdir()
    subprocess.run([*pip, "install", *alone, "--target", str(to), str(path)], check=True, env=clean)
    with zipfile.ZipFile(path) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
    return path.name.removesuffix(".whl").partition("-")[2], libraries, to


def missing(to, cache):
    """What the installed package says of its kernels."""
    told = "from jaxgroups import _native as native; s = native.status(); print(s.missing, s.path)"
    environment = {k: v for k, v in os.environ.items() if k != "JAXGROUPS_NATIVE"}
    environment |= {"PYTHONPATH": str(to), "XDG_CACHE_HOME": str(cache)}
    done = command.python("-c", told, env=environment, cwd=cache.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


needs_hatchling = pytest.mark.skipif(
    not HATCHLING, reason="hatchling is NOT installed: no wheel is built here"
)


@needs_hatchling
@pytest.mark.parametrize("why", NO_LIBRARY)
def test_without_a_compiler_the_wheel_is_pure_python(tmp_path, why):
    tag, libraries, to = wheel(tmp_path, **NO_LIBRARY[why][0])
    assert tag == f"{jaxgroups.__version__}-py3-none-any"
    assert libraries == []
    assert missing(to, tmp_path / "cache") == f"the kernels are not compiled: {native.INSTALL} None"


@needs_hatchling
def test_with_a_compiler_the_wheel_is_of_this_platform(tmp_path):
    tag, libraries, to = wheel(tmp_path, CXX=compiler(tmp_path))
    assert tag == f"{jaxgroups.__version__}-py3-none-{PLATFORM}"
    assert libraries == ["jaxgroups/_native/_kernels.so"]
    if native.status().missing is None:
        path = to / "jaxgroups" / "_native" / "_kernels.so"
        assert missing(to, tmp_path / "cache") == f"None {path}"
