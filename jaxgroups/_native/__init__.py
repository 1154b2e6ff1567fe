"""The compiled kernels: finds the library, checks it, and registers it with XLA, once.

The library is looked for beside this file, where an installation with a C++ compiler puts it, and
in the user's cache, where ``python -m jaxgroups._native.build`` puts it if this folder cannot be
written.

``JAXGROUPS_NATIVE=0`` switches the kernels off. ``JAXGROUPS_NATIVE=baseline``, or another
instruction set that the library holds, forbids wider instructions than these.
``JAXGROUPS_HUGE_PAGES`` limits the hints for huge pages, see ``huge_pages.py``.
"""

import ctypes
import os
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax

from jaxgroups._native import huge_pages

FORWARD, WEIGHT_GRADIENT = "jaxgroups_forward", "jaxgroups_weight_gradient"
INSTALL = "install a C++ compiler (g++ or clang++) and run: python -m jaxgroups._native.build"


@dataclass(frozen=True)
class Status:
    """Whether the kernels can be used; `missing` is the reason if they cannot."""

    missing: str | None
    path: Path | None = None
    instruction_sets: tuple[str, ...] = ()  # compiled, and run by this processor; in use: the first


def places() -> tuple[Path, ...]:
    """Where the library is looked for, in this order."""
    from jaxgroups._native import build as _build  # not above: it is run with python -m

    return _build.places()


@cache
def status() -> Status:
    """Load and register the library, unless it is absent or switched off."""
    wanted = os.environ.get("JAXGROUPS_NATIVE", "1")
    if wanted == "0":
        return Status("switched off by JAXGROUPS_NATIVE=0")
    problem = f"the kernels are not compiled: {INSTALL}"
    for path in places():
        if not path.is_file():
            continue
        try:
            return _load(path, wanted)
        except (OSError, AttributeError, RuntimeError, ValueError) as error:
            problem = f"{path} is not usable: {error}"
    return Status(problem)


@cache
def version() -> str:
    """A text that differs between programs with other kernels: it ends up in JAX's cache keys."""
    from jaxgroups._native import build as _build

    return "none" if status().missing else _build.source_hash()


def _load(path: Path, wanted: str) -> Status:
    from jaxgroups._native import build as _build

    reach = huge_pages.reach()
    library = ctypes.CDLL(str(path))
    library.jaxgroups_sources.restype = ctypes.c_char_p
    library.jaxgroups_instruction_set.restype = ctypes.c_char_p
    if library.jaxgroups_sources().decode() != _build.source_hash():
        raise RuntimeError(f"it was compiled from other sources; {INSTALL}")
    names = []
    while name := library.jaxgroups_instruction_set(len(names)):
        names.append(name.decode())
    widest = names[0]
    if wanted != "1":
        if not library.jaxgroups_use_instruction_set(wanted.encode()):
            raise ValueError(f"JAXGROUPS_NATIVE={wanted}, but there is 0, 1, {', '.join(names)}")
        names = names[names.index(wanted) :]
    library.jaxgroups_hint_huge_pages(huge_pages.REACHES.index(reach))
    # XLA checks the handler's API version at registration if a backend exists, otherwise when the
    # backend starts, which then fails. So the backend is created first.
    try:
        jax.local_devices(backend="cpu")
    except Exception as error:  # an AssertionError at times
        raise RuntimeError(f"JAX has no CPU backend: {error!r}") from error
    for target in (FORWARD, WEIGHT_GRADIENT):
        handler = jax.ffi.pycapsule(getattr(library, target))
        try:
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {INSTALL}") from error
    _warn_if_narrower(path, widest, _build.widest_isa())
    return Status(None, path, tuple(names))


def _warn_if_narrower(path: Path, compiled: str, processor: str | None) -> None:
    """Warn of a library that was compiled on a processor with narrower, or other, instructions."""
    if processor is not None and compiled != processor:
        warnings.warn(
            f"jaxgroups: {path} has no {processor} kernels, which this processor can run: "
            f"convolutions use the slower {compiled} ones. Run python -m jaxgroups._native.build",
            stacklevel=2,
        )
