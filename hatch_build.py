"""Compiles the kernels while a wheel is built, where a C++ compiler is present.

Without one, or with ``JAXGROUPS_NATIVE=0``, a wheel of Python alone comes out: everything works,
and ``jaxgroups doctor`` says what it lacks.

``JAXGROUPS_WHEEL_TARGET``, a name of ``jaxgroups/_native/targets.py``, makes the wheel of that
platform with a cross compiler, on any machine. It fails if the kernels cannot be compiled.
"""

import importlib.util
import os
import sysconfig
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeHook(BuildHookInterface):
    """Puts the library into the wheel; into the source tree of an editable install."""

    temporary: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        targets = self.load("targets")
        return [targets.ZIG] if os.environ.get(targets.VARIABLE) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root, "jaxgroups", "_native")
        build, targets = self.load("build"), self.load("targets")
        platform = os.environ.get(targets.VARIABLE)
        if platform:
            self.temporary = tempfile.TemporaryDirectory()
            library, tag = self.cross_compile(platform, Path(self.temporary.name))
            self.include(library, tag, build_data)
            return

        if build.isa_limit() is None:
            value = os.environ["JAXGROUPS_NATIVE"]
            text = f"jaxgroups: JAXGROUPS_NATIVE={value}, kernels are not compiled"
            self.app.display_warning(text)
            return
        editable = version == "editable"
        if not editable:
            self.temporary = tempfile.TemporaryDirectory()
        target = folder if self.temporary is None else Path(self.temporary.name)
        try:
            self.tell_start(build.chosen_isas())
            began = time.monotonic()
            library = build.build(target / build.LIBRARY)
        except build.BuildError as error:
            self.app.display_warning(f"jaxgroups: installed without compiled kernels: {error}")
            return
        self.tell_end(began)
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        self.include(None if editable else library, tag, build_data)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()

    def load(self, name: str) -> ModuleType:
        """A module of ``jaxgroups/_native`` without jaxgroups, which imports jax."""
        path = Path(self.root, "jaxgroups", "_native", f"{name}.py")
        found = importlib.util.spec_from_file_location(f"jaxgroups_{name}", path)
        assert found is not None  # noqa: S101
        assert found.loader is not None  # noqa: S101
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    def include(self, library: Path | None, tag: str, build_data: dict[str, Any]) -> None:
        """Put the library into the wheel, if it is not in the source tree."""
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"  # ctypes loads it, so any Python 3 will do
        if library is not None:
            build_data["force_include"][str(library)] = "jaxgroups/_native/_kernels.so"

    def cross_compile(self, name: str, folder: Path) -> tuple[Path, str]:
        """The library of a platform, checked, and the tag of its wheel."""
        build, targets, symbols = (self.load(part) for part in ("build", "targets", "symbols"))
        target = targets.find(name)
        compiler = targets.compiler(target)
        targets.check_headers(build.find_headers())
        isas = build.compilable_isas(target.machine)
        self.tell_start(isas, name)
        began = time.monotonic()
        library = build.build(
            folder / build.LIBRARY,
            flags=targets.FLAGS,
            link=targets.link_options(target, folder),
            compiler=compiler,
            isas=isas,
        )
        self.tell_end(began)
        wrong = symbols.problems(
            symbols.read(library),
            target.machine,
            target.needed,
            target.newest,
            targets.EXPORTS,
            target.more_exports,
        )
        if wrong:
            raise targets.TargetError(f"the library for {name} is wrong: {'; '.join(wrong)}")
        return library, target.tag

    def tell_start(self, isas: Any, machine: str = "this machine") -> None:
        self.app.display_info(
            f"jaxgroups: compiling the kernels for {machine} ({', '.join(isas)}), "
            "which takes less than a minute on two idle cores"
        )

    def tell_end(self, began: float) -> None:
        self.app.display_info(f"jaxgroups: compiled in {time.monotonic() - began:.0f} s")
