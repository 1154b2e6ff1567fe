"""Contestants timed in turns within one process, so that a disturbance meets all of them.

A measurement is the mean of as many calls as fill `least` seconds, after a pause and one untimed
call. The pause is for the other side's threads: an OpenMP worker of PyTorch spins for some
milliseconds after its last call, and would take a core from the contestant that follows. Forbidding
it to spin (OMP_WAIT_POLICY=passive) is no way out: measured on small layers, it makes PyTorch 1.7
times slower, because its workers then sleep between its own calls as well.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from statistics import median, quantiles

SLOW = 0.25  # seconds: a call this long needs no repetition and no warming


@dataclass(frozen=True)
class Rounds:
    """How much is measured: `rounds` times round, or what `budget` seconds allow a contestant."""

    rounds: int = 11
    least: float = 0.01
    budget: float = 5.0
    pause: float = 0.01
    statistic: str = "median"  # or "min"


@dataclass
class Timed:
    """Seconds a call took, one figure a round."""

    repetitions: int
    samples: list[float] = field(default_factory=list)

    def seconds(self, statistic: str) -> float:
        return min(self.samples) if statistic == "min" else median(self.samples)

    @property
    def spread(self) -> float:
        """The middle half of the samples (of fewer than four, all) over their median."""
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
    """Every contestant once a round, each round beginning with another one.

    A call returns when its work is done, and has run once before. One whose rounds would exceed
    the budget takes part in fewer of them; one whose single call does is not called again.
    """

    def lasting(call: Callable[[], object], repetitions: int) -> float:
        start = clock()
        for _ in range(repetitions):
            call()
        return (clock() - start) / repetitions

    timed, shares = {}, {}
    for name, call in calls.items():
        sleep(how.pause)
        estimate = lasting(call, 1)
        if estimate < SLOW:  # the first may have been cold
            estimate = min(estimate, lasting(call, 2))
        if estimate > how.budget:
            timed[name], shares[name] = Timed(1, [estimate]), 0
            continue
        repetitions = min(1000, max(1, ceil(how.least / max(estimate, 1e-9))))
        cost = estimate * (repetitions + (estimate < SLOW))
        shares[name] = max(1, min(how.rounds, int(how.budget / max(cost, 1e-9))))
        timed[name] = Timed(repetitions)
    names = list(calls)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(max(shares.values(), default=0)):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if turn >= shares[name]:
                    continue
                sleep(how.pause)
                if not timed[name].samples or timed[name].samples[-1] < SLOW:
                    calls[name]()
                timed[name].samples.append(lasting(calls[name], timed[name].repetitions))
    finally:
        if collecting:
            gc.enable()
    return timed
