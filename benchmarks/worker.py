"""The process of one contestant: it prepares calls and times them.

``python worker.py TARGET [CPUS]``: the target is ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``, and
``0,1`` restricts the process to these processors. It reads one line of JSON for each request and
answers with one:

* ``{"prepare": {...}, "results": FILE}``: FUNCTION prepares a call, whose results go into a file of
  NumPy. The answer is what FUNCTION notes, or why the contestant is left out.
* ``{"warm": ..., "seconds": ..., "cpu": ...}``: a turn of the call that was prepared last.

FUNCTION returns ``(call, results, notes)``, or the reason why the contestant is left out. The call
returns when its work is done. This file imports nothing of its folder, so that an environment with
another version of jaxgroups can run it.
"""

import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOW = 0.25  # seconds: a longer call is timed even where it would be warming


def turn(
    call: Callable[[], object], warm: float, seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
    """Calls that fill `warm` seconds untimed, then calls that fill `seconds`, at least one.

    Returns:
      ``calls``: how many were timed; ``mean`` and ``least``: seconds of one call.
    """
    start = now = clock()
    while now - start < warm:
        before = now
        call()
        now = clock()
        if now - before >= max(SLOW, seconds):
            return {"calls": 1, "mean": now - before, "least": now - before}
    start, calls, least = clock(), 0, float("inf")
    now = start
    while calls == 0 or now - start < seconds:
        before = now
        call()
        now = clock()
        calls, least = calls + 1, min(least, now - before)
    return {"calls": calls, "mean": (now - start) / calls, "least": least}


class Session:
    """Answers requests; one call is prepared at a time."""

    def __init__(self, prepare: Callable[[dict[str, Any]], Any]) -> None:
        self._prepare = prepare
        self._call: Callable[[], object] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "prepare" in request:
            return self._prepared(request["prepare"], request["results"])
        if self._call is None:
            raise RuntimeError("a turn before any call was prepared")
        clock = time.process_time if request["cpu"] else time.perf_counter
        gc.disable()
        try:
            return turn(self._call, request["warm"], request["seconds"], clock)
        finally:
            gc.enable()

    def _prepared(self, request: dict[str, Any], path: str) -> dict[str, Any]:
        import numpy as np

        self._call = None  # so that the previous call's memory is free
        gc.collect()
        prepared = self._prepare(request)
        if isinstance(prepared, str):
            return {"absent": prepared}
        call, results, notes = prepared
        np.savez(path, *results())
        self._call = call
        gc.collect()
        return {"notes": notes}


def loaded(target: str) -> Callable[[dict[str, Any]], Any]:
    """The function that ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` names."""
    place, _, name = target.rpartition(":")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), name)
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark decides
    if len(sys.argv) > 2:
        os.sched_setaffinity(0, map(int, sys.argv[2].split(",")))
    session = Session(loaded(sys.argv[1]))
    for line in sys.stdin:
        try:
            answer = session.answer(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            answer = {"failed": reason}
        sys.stdout.flush()  # the end of the process is a signal
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
