"""The limits of the machine: fused multiply-adds and bytes a second, measured by ``peak.cc``.

They are measured, not taken from a data sheet. Without a C++ compiler, the float32 matrix product
and the copy of PyTorch stand for them, and a line says so.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgroups._native import build

SOURCE = Path(__file__).with_name("peak.cc")
OPTIONS = ("-O3", "-march=native", "-std=c++17", "-pthread")


def limits(threads: int, seconds: float = 0.3, mebibytes: int = 512) -> dict[str, Any]:
    """``gflops`` of all threads and ``gflops_one`` of one; ``copy_gbytes``, ``read_gbytes``.

    Bytes of a copy are those read and those written. ``by`` says what was measured.
    """
    compiler = build.find_compiler()
    if compiler is None:
        print("NO C++ COMPILER: the limits are those of PyTorch's matrix product and copy")
        return by_torch()
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "peak"))
        done = subprocess.run(
            [*compiler, *OPTIONS, str(SOURCE), "-o", program], capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(
                f"THE C++ COMPILER FAILED ({last}): the limits are those of PyTorch's matrix "
                "product and copy"
            )
            return by_torch()
        given = [program, str(threads), str(seconds), str(mebibytes)]
        found = subprocess.run(given, capture_output=True, text=True, check=True)
    return json.loads(found.stdout) | {"by": "fused multiply-adds"}


def by_torch(side: int = 2048, mebibytes: int = 256, tries: int = 7) -> dict[str, Any]:
    """The limits as PyTorch reaches them: ``gflops`` and ``copy_gbytes``."""
    import torch

    def best(call: Callable[[], object]) -> float:
        call()
        times = []
        for _ in range(tries):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    a, b, out = torch.rand(side, side), torch.rand(side, side), torch.empty(side, side)
    product = best(lambda: torch.mm(a, b, out=out))
    source = torch.rand(mebibytes * 2**18)
    target = torch.empty_like(source)
    copy = best(lambda: target.copy_(source))
    return {
        "gflops": 2 * side**3 / product / 1e9,
        "copy_gbytes": 2 * 4 * source.numel() / copy / 1e9,
        "by": "matrix product by torch",
    }


def line(found: dict[str, Any]) -> str:
    """The limits as text."""
    one = f", {found['gflops_one']:.0f} by one thread" if "gflops_one" in found else ""
    read = f", {found['read_gbytes']:.1f} read" if "read_gbytes" in found else ""
    return (
        f"limits measured: {found['gflops']:.0f} GFLOP/s (float32, {found['by']}{one}), "
        f"GB/s: {found['copy_gbytes']:.1f} copied (read + written){read}"
    )
