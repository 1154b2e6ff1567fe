"""Compiles the kernels while a wheel is built, where a C++ compiler is present.

Without one, or with ``JAXGROUPS_NATIVE=0``, a wheel of Python alone comes out: everything works,
and ``jaxgroups doctor`` says what it lacks.
"""

import importlib.util
import os
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeHook(BuildHookInterface):
    """Puts the library into the wheel; into the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root, "jaxgroups", "_native")
        found = importlib.util.spec_from_file_location("jaxgroups_build", folder / "build.py")
        assert found is not None  # noqa: S101
        assert found.loader is not None  # noqa: S101
        build = importlib.util.module_from_spec(found)
        found.loader.exec_module(build)

        if build.isa_limit() is None:
            value = os.environ["JAXGROUPS_NATIVE"]
            text = f"jaxgroups: JAXGROUPS_NATIVE={value}, kernels are not compiled"
            self.app.display_warning(text)
            return
        editable = version == "editable"
        self.temporary = None if editable else tempfile.TemporaryDirectory()
        target = folder if self.temporary is None else Path(self.temporary.name)
        try:
            library = build.build(target / build.LIBRARY)
        except build.BuildError as error:
            self.app.display_warning(f"jaxgroups: installed without compiled kernels: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"  # ctypes loads it, so any Python 3 will do
        if not editable:
            build_data["force_include"][str(library)] = f"jaxgroups/_native/{build.LIBRARY}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if getattr(self, "temporary", None) is not None:
            self.temporary.cleanup()
