"""The process that works: past failures first, then random cases until the time is over."""

import argparse
import json
import tempfile
import time
import traceback
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from fuzz import converter, files, kernels, transforms

KINDS: dict[str, tuple[ModuleType, int]] = {  # by name: its file, and its share of the time
    "kernels": (kernels, 4),
    "transforms": (transforms, 3),
    "converter": (converter, 2),
    "files": (files, 1),
}
CORPUS = Path(__file__).parent / "corpus"
COMPILED = 40  # cases after which compiled programs are forgotten: they hold memory


def corpus(what: str) -> list[dict]:
    """The past failures of a kind."""
    return json.loads((CORPUS / f"{what}.json").read_text(encoding="utf-8"))


def kinds(what: str | None) -> list[str]:
    """Those to work on; without torch there is no judge of the converter."""
    chosen = [what] if what else list(KINDS)
    return [kind for kind in chosen if kind != "converter" or find_spec("torch")]


def main(arguments: argparse.Namespace) -> int:
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("error")  # a warning is expected by the kind that catches it
    try:
        say(done=work(arguments))
    except Exception:
        say(error=traceback.format_exc(limit=-4).strip())
        return 1
    return 0


def work(arguments: argparse.Namespace) -> str:
    """Check cases until the time is over; what was done, as text."""
    names = kinds(arguments.what)
    counts, spent = Counter(), Counter(dict.fromkeys(names, 0.0))
    if arguments.case is not None:
        check(arguments.what, arguments.case)
        return "this case passes"
    for what in names:
        for past in corpus(what):
            check(what, past["case"])
            counts["past failures"] += 1
    begun = time.monotonic()
    seconds = arguments.seconds or (60 if arguments.cases is None else float("inf"))
    while time.monotonic() - begun < seconds:
        what = min(names, key=lambda name: spent[name] / KINDS[name][1])
        if arguments.cases is not None:
            what = min(names, key=counts.__getitem__)
            if counts[what] == arguments.cases:
                break
        started = time.monotonic()
        rng = np.random.default_rng([arguments.seed, list(KINDS).index(what), counts[what]])
        check(what, KINDS[what][0].draw(rng))
        counts[what] += 1
        spent[what] += time.monotonic() - started
        if sum(counts.values()) % COMPILED == 0 and what != "files":
            jax.clear_caches()
    told = ", ".join(f"{counts[what]} {what}" for what in ("past failures", *names))
    return f"no failure with seed {arguments.seed}: {told}"


def check(what: str, case: dict) -> None:
    say(what=what, case=case)
    with tempfile.TemporaryDirectory() as folder:
        KINDS[what][0].check(case, Path(folder))


def say(**message) -> None:
    print(json.dumps(message, ensure_ascii=False), flush=True)
