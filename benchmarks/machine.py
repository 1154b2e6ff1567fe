"""The machine of a measurement: names, versions, load, and what else runs on it."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import peak
from jaxgroups._native import huge_pages

PACKAGES = (
    "jax", "jaxlib", "flax", "torch", "onnxruntime", "openvino", "numpy", "jaxgroups", "pytorchcv",
)  # fmt: skip


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

    Own are this process and those of `pids`. The share shows whether a measurement was disturbed. A
    disturbance slows PyTorch more than jax, because PyTorch's threads wait for each other at every
    step.
    """

    def __init__(self, pids: Iterable[int] = ()) -> None:
        self.pids = tuple(pids)
        self.before = self._read()

    def _read(self) -> tuple[float, float, float] | None:
        """Seconds of all cores: elapsed, busy (or stolen), and used by our own processes."""
        try:
            line = Path("/proc/stat").read_text().splitlines()[0]
        except OSError:
            return None
        ticks = [int(word) for word in line.split()[1:9]]  # guests are counted in user time
        tick = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]
        own = time.process_time() + sum(_ticks(pid) for pid in self.pids) / tick
        return sum(ticks) / tick, (sum(ticks) - idle) / tick, own

    def share(self) -> float | None:
        after = self._read()
        if self.before is None or after is None or after[0] <= self.before[0]:
            return None
        elapsed, busy, own = (b - a for a, b in zip(self.before, after, strict=True))
        return min(1.0, max(0.0, (busy - own) / elapsed))


def _ticks(pid: int) -> int:
    """Clock ticks that a process has used."""
    try:
        # the name in parentheses may contain any character; user and system time are 12th and 13th
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended
        return 0
    return int(words[11]) + int(words[12])


def wait_for_quiet(patience: float, share: float = 0.05, look: float = 0.5) -> None:
    """Wait until other programs use less than `share` of the cores, at most `patience` s."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        others = Others()
        time.sleep(look)
        if (others.share() or 0.0) < share:
            return


def load() -> float | None:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


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
        "load_before": load(),
        "python": platform.python_version(),
        "versions": {package: number for package, number in found.items() if number},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
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
        text.append(peak.line(machine["limits"]))
    return text
