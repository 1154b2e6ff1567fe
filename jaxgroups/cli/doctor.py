"""``jaxgroups doctor``: the state of this installation, its faults, and settings that help."""

import argparse
import json
import os
import platform
import warnings
from typing import Any

import jax
import jaxlib.version
import numpy

import jaxgroups
from jaxgroups import _native as native
from jaxgroups._native import build as _build
from jaxgroups._native import huge_pages as memory
from jaxgroups._problem import ynnpack
from jaxgroups.cli.common import guarded


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    doctor = commands.add_parser(
        "doctor", help="versions, threads, compiled kernels and huge pages"
    )
    doctor.set_defaults(run=guarded(_doctor, json_errors=False))


def examine() -> dict[str, Any]:
    """The data that ``jaxgroups doctor`` prints."""
    with warnings.catch_warnings():  # what is missing is printed
        warnings.filterwarnings("ignore", "jaxgroups: convolutions on a CPU run without")
        found = native.status()
    compiler = _build.find_compiler()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "versions": {
            "jaxgroups": jaxgroups.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib.version.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "machine": platform.machine(),
        "devices": [str(device) for device in jax.devices()],
        "threads": len(affinity(0)) if affinity else os.cpu_count(),
        "native": {
            "ready": found.missing is None,
            "missing": found.missing,
            "library": None if found.path is None else str(found.path),
            "instruction_sets": list(found.instruction_sets),
            "compiler": None if compiler is None else compiler[0],
        },
        "memory": memory.examine()._asdict(),
        "faults": ynnpack.faults(),
    }


def _doctor(arguments: argparse.Namespace) -> int:
    found = examine()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    print(f"{', '.join(found['devices'])} on {found['machine']}, {found['threads']} threads")
    kernels = found["native"]
    if kernels["ready"]:
        first, *rest = kernels["instruction_sets"]
        print(f"compiled kernels: ready, with {first} instructions (also {', '.join(rest) or '-'})")
        print(f"  {kernels['library']}")
    else:
        print(f"compiled kernels: none: {kernels['missing']}")
        print(f"  C++ compiler: {kernels['compiler'] or 'not found'}")
        print(
            "  without them, grouped convolutions on a CPU use XLA's operations, which are slower"
        )
    pages = found["memory"]
    state = {"huge": "on", "small": "off"}.get(pages["pages"], "unknown")
    print(f"transparent huge pages: {state} ({pages['because']})")
    if pages["remedy"]:
        print(f"  {pages['remedy']} in the environment makes training on a CPU faster,")
        print("  and so does jaxgroups.keep_memory() at the start of the program")
    for fault in found["faults"]:
        print(f"warning: {fault}")
    if found["faults"]:
        print("  jaxgroups itself avoids these operations; the rest of a program may have them.")
        print(f"  {ynnpack.REMEDY}")
    return 0
