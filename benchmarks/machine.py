"""The machine of a measurement: names, versions, and its limits of arithmetic and memory."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jaxgroups._native import huge_pages

PACKAGES = ("jax", "jaxlib", "flax", "torch", "numpy", "jaxgroups", "pytorchcv")


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def restrict(threads: int | None) -> None:
    """Restrict this process to some cores; call it before jax and torch start threads."""
    if threads is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("--threads needs an operating system that can bind a process to cores")
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(allowed):
        raise SystemExit(f"--threads {threads}: this process may use 1 to {len(allowed)} cores")
    os.sched_setaffinity(0, allowed[:threads])


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def instruction_sets() -> str:
    """The instruction sets that matter to a convolution, as the operating system names them."""
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return ""
    return " ".join(name for name in wanted if name in words)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, with a plus if files differ from it."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


class Others:
    """The fraction of the cores that other programs use, from construction to `share`.

    It shows whether a measurement was disturbed. A disturbance slows PyTorch more than jax, because
    PyTorch's threads wait for each other at every step.
    """

    def __init__(self) -> None:
        self.before = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Seconds of all cores: elapsed, busy (or stolen), and used by this process."""
        try:
            line = Path("/proc/stat").read_text().splitlines()[0]
        except OSError:
            return None
        ticks = [int(word) for word in line.split()[1:9]]  # guests are counted in user time
        tick = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]
        own = time.process_time()
        return sum(ticks) / tick, (sum(ticks) - idle) / tick, own

    def share(self) -> float | None:
        after = self._read()
        if self.before is None or after is None or after[0] <= self.before[0]:
            return None
        elapsed, busy, own = (b - a for a, b in zip(self.before, after, strict=True))
        return min(1.0, max(0.0, (busy - own) / elapsed))


def wait_for_quiet(patience: float, share: float = 0.05, look: float = 0.5) -> None:
    """Wait until other programs use less than `share` of the cores, at most `patience` s."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        others = Others()
        time.sleep(look)
        if (others.share() or 0.0) < share:
            return


def describe() -> dict:
    """Processor, cores, pages of large blocks, load before the run, versions, date."""
    found = {package: _version(package) for package in PACKAGES}
    return {
        "processor": processor(),
        "instruction_sets": instruction_sets(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "cores": cores(),
        "pages": huge_pages.examine().pages,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {package: number for package, number in found.items() if number},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def limits(side: int = 2048, mebibytes: int = 256, tries: int = 7) -> dict:
    """The fastest float32 matrix product, in GFLOP/s, and copy, in GB/s read and written.

    They are measured with torch and jax, not taken from a data sheet.
    """
    import jax
    import jax.numpy as jnp
    import torch

    def best(call: Callable[[], object]) -> float:
        call()
        times = []
        for _ in range(tries):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    a, b = torch.rand(side, side), torch.rand(side, side)
    out = torch.empty(side, side)
    seconds = {"torch": best(lambda: torch.mm(a, b, out=out))}
    time.sleep(0.05)
    x, y = jnp.asarray(a.numpy()), jnp.asarray(b.numpy())
    product = jax.jit(lambda x, y: jnp.matmul(x, y))
    seconds["jax"] = best(lambda: product(x, y).block_until_ready())
    source = torch.rand(mebibytes * 2**18)
    target = torch.empty_like(source)
    copy = best(lambda: target.copy_(source))
    matmul = {name: 2 * side**3 / value / 1e9 for name, value in seconds.items()}
    return {
        "gflops": max(matmul.values()),
        "gflops_by": max(matmul, key=lambda name: matmul[name]),
        "copy_gbytes": 2 * 4 * source.numel() / copy / 1e9,
    }


def lines(machine: dict) -> list[str]:
    """`describe` as text, with `limits` if they were measured."""
    numbers = machine["versions"].items()
    text = [
        f"{machine['processor']} ({machine['instruction_sets']}), {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['system']}, {machine['pages']} pages, "
        f"load before {machine['load_before']}",
        "  ".join(f"{name} {number}" for name, number in numbers)
        + f"  Python {machine['python']}  commit {machine['commit']}  {machine['date']}",
    ]
    if "limits" in machine:
        limit = machine["limits"]
        text.append(
            f"limits measured: {limit['gflops']:.0f} GFLOP/s (float32 matrix product, "
            f"{limit['gflops_by']}), {limit['copy_gbytes']:.1f} GB/s (copy, read + written)"
        )
    return text
