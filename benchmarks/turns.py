"""Contestants in processes of their own, which are timed in turn.

A turn is `Turns.warm` seconds of untimed calls, then `Turns.seconds` of timed ones; its sample is
the mean of the timed calls. Each round begins with another contestant, so that a disturbance
affects all of them. A turn begins when no thread of another contestant runs: the threads of
PyTorch and ONNX Runtime spin for some milliseconds after their last call, and would occupy a core.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.timing import Timed

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Turns:
    """How contestants are timed.

    Attributes:
      turns: of each contestant, or fewer if these exceed `budget`, but at least one.
      warm: seconds of untimed calls at the beginning of a turn.
      seconds: of timed calls in a turn; at least one call is timed.
      budget: seconds for all turns of a contestant.
      statistic: of the samples, "median" or "min"; both are stored.
      cpu: time the processors, which other programs hardly change, in place of the clock.
    """

    turns: int = 11
    warm: float = 0.002
    seconds: float = 0.02
    budget: float = 5.0
    statistic: str = "median"
    cpu: bool = False

    def request(self) -> dict[str, Any]:
        """What a worker has to know of a turn."""
        return {"warm": self.warm, "seconds": self.seconds, "cpu": self.cpu}


@dataclass(frozen=True)
class Start:
    """How the process of a contestant is started.

    Attributes:
      target: ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` that prepares its calls.
      environment: variables that differ from those of this process.
      python: the interpreter.
      path: what it can import; None: what this process can.
      cpus: the processors it may use; None: those of this process.
      optional: whether the benchmark goes on if it fails to prepare.
    """

    target: str
    environment: Mapping[str, str] | None = None
    python: str = sys.executable
    path: Sequence[str] | None = None
    cpus: Iterable[int] | None = None
    optional: bool = False


class WorkerFailed(SystemExit):
    """The process of a contestant ended, or it raised an exception; this ends the benchmark."""


class Worker:
    """The process of a contestant."""

    def __init__(self, name: str, start: Start) -> None:
        self.name, self.optional = name, start.optional
        path = [p or os.getcwd() for p in sys.path] if start.path is None else start.path
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
        cpus = [] if start.cpus is None else [",".join(map(str, start.cpus))]
        self._process = subprocess.Popen(
            [start.python, "-P", str(WORKER), start.target, *cpus],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | dict(start.environment or {}),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
          WorkerFailed: the process ended, or it could not answer; it has printed why.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker has no pipes")
        try:
            print(json.dumps(request), file=stdin, flush=True)
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFailed(f"the process of {self.name} ended")
        answer = json.loads(line)
        if "failed" in answer:
            raise WorkerFailed(f"{self.name} failed: {answer['failed']}")
        return answer

    def turn(self, how: Turns) -> dict[str, Any]:
        """One turn of the call that was prepared last."""
        return self.ask(**how.request())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes the pipes


class Workers(dict[str, Worker]):
    """The processes of a benchmark by name; a context that ends them."""

    def __init__(self, starts: Mapping[str, Start]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        try:
            super().__init__()
            for name, start in starts.items():
                self[name] = Worker(name, start)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self.values():
            worker.close()
        self._folder.cleanup()

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self.values()]

    def prepare(
        self, name: str, request: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[np.ndarray]] | str:
        """What a contestant notes and its results, or the reason why it is left out.

        Raises:
          WorkerFailed: it failed, and it is not optional.
        """
        path = self.folder / "results.npz"
        try:
            answer = self[name].ask(prepare=dict(request), results=str(path))
        except WorkerFailed as error:
            if not self[name].optional:
                raise
            return str(error)
        return self._received(answer, path)

    @staticmethod
    def _received(
        answer: dict[str, Any], path: Path
    ) -> tuple[dict[str, Any], list[np.ndarray]] | str:
        if "absent" in answer:
            return answer["absent"]
        with np.load(path) as found:
            results = [found[f"arr_{i}"] for i in range(len(found.files))]
        path.unlink()
        return answer["notes"], results

    def take_turns(self, names: Sequence[str], how: Turns) -> dict[str, Timed]:
        """Time what these contestants prepared last."""
        return take_turns(
            {name: self[name].turn for name in names}, how, lambda: wait_until_idle(self.pids)
        )


def take_turns(
    contestants: Mapping[str, Callable[[Turns], Mapping[str, Any]]],
    how: Turns,
    before: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timed]:
    """The samples of each contestant, one a turn; `before` is called before every turn."""
    names = list(contestants)
    timed = {name: Timed(0) for name in names}
    spent = dict.fromkeys(names, 0.0)
    for number in range(how.turns):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            taken = len(timed[name].samples)
            if taken and spent[name] * (taken + 1) / taken > how.budget:
                continue
            before()
            start = clock()
            answer = contestants[name](how)
            spent[name] += clock() - start
            timed[name].add(answer["mean"], answer["least"], answer["calls"])
    return timed


def wait_until_idle(pids: Iterable[int], most: float = 1.0, look: float = 0.002) -> None:
    """Wait until no thread of these processes runs, at most `most` seconds."""
    end = time.monotonic() + most
    waiting = list(pids)
    while waiting and time.monotonic() < end:
        time.sleep(look)
        waiting = [pid for pid in waiting if runs(pid)]


def runs(pid: int) -> bool:
    """Whether a thread of a process runs; False where the system does not tell."""
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            # the state follows the name, which stands in parentheses and may contain any character
            if path.read_text().rpartition(")")[2].split()[0] == "R":
                return True
        except OSError:  # the thread ended
            continue
    return False
