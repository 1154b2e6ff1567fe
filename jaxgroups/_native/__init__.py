"""The compiled kernels: finds the library, checks it, and registers it with XLA, once.

The library is looked for beside this file, where an installation with a C++ compiler puts it, and
in the user's cache, where ``python -m jaxgroups._native.build`` puts it if this folder cannot be
written.

``JAXGROUPS_NATIVE`` is an upper limit, in any case of letters: ``0`` switches the kernels off,
``baseline`` or another instruction set forbids wider instructions than these, ``1`` allows all.

`register` runs when jaxgroups is imported, so that a process can run a serialized program that
another one compiled. `status` applies the limit when a convolution is first compiled.

``JAXGROUPS_HUGE_PAGES`` limits the hints for huge pages, see ``huge_pages.py``.
"""

import ctypes
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jaxgroups._native import huge_pages
from jaxgroups._problem import jax_private as private

FORWARD, WEIGHT_GRADIENT = "jaxgroups_forward", "jaxgroups_weight_gradient"
FUSED = "jaxgroups_fused"  # a forward convolution and what follows it
CHANNEL_MOMENTS, CHANNEL_SUMS = "jaxgroups_channel_moments", "jaxgroups_channel_sums"
TARGETS = (FORWARD, FUSED, WEIGHT_GRADIENT, CHANNEL_MOMENTS, CHANNEL_SUMS)
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
    """Load and register the library; warn, once, of what keeps convolutions from its kernels.

    Raises:
      ValueError: $JAXGROUPS_NATIVE has an unknown value.
    """
    found = find()
    if found.missing is not None:
        warnings.warn(
            "jaxgroups: convolutions on a CPU run without the compiled kernels, which is slower: "
            f"{found.missing}",
            stacklevel=2,
        )
    return found


def find() -> Status:
    """The status, without a warning of what is missing."""
    from jaxgroups._native import build as _build

    limit = _build.isa_limit()
    if limit is None:
        return Status(f"switched off by JAXGROUPS_NATIVE={os.environ['JAXGROUPS_NATIVE']}")
    problem = f"the kernels are not compiled: {INSTALL}"
    for path in places():
        if not os.path.isfile(path):  # of a folder that cannot be read, Path.is_file raises
            continue
        try:
            return _load(path, limit)
        except (OSError, AttributeError, RuntimeError, ValueError) as error:
            problem = f"{path} is not usable: {error}"
    return Status(problem)


@cache
def version() -> str:
    """A text that differs between programs with other kernels: it ends up in JAX's cache keys."""
    from jaxgroups._native import build as _build

    return "none" if status().missing else _build.source_hash()


def register() -> None:
    """Register the library with XLA, for programs that another process compiled.

    It takes a few milliseconds and starts no backend. Nothing happens if the kernels are absent,
    unusable or switched off.
    """
    from jaxgroups._native import build as _build

    with suppress(ValueError):  # an unknown limit: the first convolution says so
        if _build.isa_limit() is None:
            return
        for path in filter(os.path.isfile, places()):
            with suppress(OSError, AttributeError, RuntimeError):
                _open(path)
                return


def _open(path: Path) -> ctypes.CDLL:
    """Open and register a library that was made of these sources."""
    from jaxgroups._native import build as _build

    library = ctypes.CDLL(str(path))
    library.jaxgroups_sources.restype = ctypes.c_char_p
    if library.jaxgroups_sources().decode() != _build.source_hash():
        raise RuntimeError(f"it was compiled from other sources; {INSTALL}")
    for target in TARGETS:
        try:
            private.register_on_cpu(target, getattr(library, target))
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {INSTALL}") from error
    return library


def _load(path: Path, limit: str) -> Status:
    from jaxgroups._native import build as _build

    reach = huge_pages.reach()
    library = _open(path)
    library.jaxgroups_instruction_set.restype = ctypes.c_char_p
    compiled = []
    while name := library.jaxgroups_instruction_set(len(compiled)):
        compiled.append(name.decode())
    names = [name for name in compiled if not _build.wider(name, limit)]
    if names != compiled:
        library.jaxgroups_use_instruction_set(names[0].encode())
    library.jaxgroups_hint_huge_pages(huge_pages.REACHES.index(reach))
    processor = _build.widest_isa()
    if processor is not None:
        _warn_if_narrower(path, names[0], processor, limit)
    return Status(None, path, tuple(names))


def _warn_if_narrower(path: Path, used: str, processor: str, limit: str) -> None:
    """Warn of a library that was compiled on a processor with narrower, or other, instructions."""
    from jaxgroups._native import build as _build

    limited = _build.wider(processor, limit)
    possible = limit if limited else processor
    if used != possible:
        how = f"JAXGROUPS_NATIVE_ISAS={possible} " if limited else ""
        warnings.warn(
            f"jaxgroups: {path} has no {possible} kernels, which this processor can run: "
            f"convolutions use the slower {used} ones. "
            f"Run {how}python -m jaxgroups._native.build",
            stacklevel=2,
        )
