"""Times calls in turn within one process, and what was timed: the samples of a contestant.

`benchmarks.turns` times contestants that have a process each; this is for variants of one program.
A measurement is the mean of as many calls as fill `least` seconds, after a pause and one untimed
call. The pause lets the threads of the previous one stop.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from statistics import median, quantiles

SLOW = 0.25  # seconds: a longer call needs neither repetition nor a warm-up call


@dataclass(frozen=True)
class Rounds:
    """Each contestant is measured `rounds` times, or fewer if that exceeds `budget` seconds."""

    rounds: int = 11
    least: float = 0.01
    budget: float = 5.0
    pause: float = 0.01
    statistic: str = "median"  # or "min"


@dataclass
class Timed:
    """Seconds of a call.

    Attributes:
      repetitions: calls of a sample; the most, where samples differ.
      samples: one a round, the mean of its calls.
      least: of the shortest call, if it is known.
    """

    repetitions: int
    samples: list[float] = field(default_factory=list)
    least: float = inf

    def add(self, mean: float, least: float, calls: int) -> None:
        """Add the sample of a turn."""
        self.samples.append(mean)
        self.least = min(self.least, least)
        self.repetitions = max(self.repetitions, calls)

    def seconds(self, statistic: str) -> float:
        return min(self.samples) if statistic == "min" else median(self.samples)

    @property
    def iqr(self) -> float:
        """The interquartile range (the range of fewer than four samples) over the median."""
        if len(self.samples) < 4:
            low, high = min(self.samples), max(self.samples)
        else:
            low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / median(self.samples)


def interleave(
    calls: Mapping[str, Callable[[], object]],
    how: Rounds,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Timed]:
    """Time every contestant once a round; each round begins with another contestant.

    A call returns when its work is done, and has run once before. A contestant whose rounds would
    exceed the budget gets fewer rounds. One whose single call exceeds it is not called again.
    """

    def seconds_of(call: Callable[[], object], repetitions: int) -> float:
        start = clock()
        for _ in range(repetitions):
            call()
        return (clock() - start) / repetitions

    timed, rounds_of = {}, {}
    for name, call in calls.items():
        sleep(how.pause)
        estimate = seconds_of(call, 1)
        if estimate < SLOW:  # the first call may have been cold
            estimate = min(estimate, seconds_of(call, 2))
        if estimate > how.budget:
            timed[name], rounds_of[name] = Timed(1, [estimate]), 0
            continue
        repetitions = min(1000, max(1, ceil(how.least / max(estimate, 1e-9))))
        cost = estimate * (repetitions + (estimate < SLOW))
        rounds_of[name] = max(1, min(how.rounds, int(how.budget / max(cost, 1e-9))))
        timed[name] = Timed(repetitions)
    names = list(calls)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(max(rounds_of.values(), default=0)):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if turn >= rounds_of[name]:
                    continue
                sleep(how.pause)
                if not timed[name].samples or timed[name].samples[-1] < SLOW:
                    calls[name]()
                timed[name].samples.append(seconds_of(calls[name], timed[name].repetitions))
    finally:
        if collecting:
            gc.enable()
    return timed
