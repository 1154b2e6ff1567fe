"""The command: it starts a process that works, and tells what failed there, also if that dies."""

import argparse
import json
import os
import selectors
import shlex
import subprocess
import sys
from pathlib import Path

from support.command import environment

HERE = Path(__file__).resolve().parent
WHAT = ("kernels", "transforms", "converter", "files")
SILENCE = 300  # seconds without a new case, after which the process hangs


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Random problems against independent judges."
    )
    arguments.add_argument("--seconds", type=float, help="how long; 60 without --cases")
    arguments.add_argument("--cases", type=int, help="how many cases of each kind, in their stead")
    arguments.add_argument("--seed", type=int, default=0, help="the same seed draws the same cases")
    arguments.add_argument("--what", choices=WHAT, help="one kind alone")
    arguments.add_argument("--case", type=json.loads, help="check this case and no other")
    arguments.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    return arguments


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(argv)
    if arguments.case is not None and arguments.what is None:
        parser().error("--case needs --what")
    if arguments.work:
        from fuzz import work

        return work.main(arguments)
    return watched([sys.executable, str(HERE), "--work", *argv])


def watched(command: list[str]) -> int:
    """Run the process that works; its last case is the one to report if it ends before the time."""
    last: dict = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        for line in _lines(process):
            message = json.loads(line)
            if "error" in message:
                return _failed(last, message["error"])
            if "done" in message:
                print(message["done"])
                return 0
            last = message
        status = process.wait()
    return _failed(last, f"the process ended with status {status}")


def _lines(process: subprocess.Popen):
    """Its lines, until it ends; one that is silent for too long is killed."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        while selector.select(SILENCE):
            read = os.read(process.stdout.fileno(), 1 << 16)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from lines
    process.kill()


def _failed(last: dict, error: str) -> int:
    print(f"FAILED {last.get('what', 'before the first case')}: {error}")
    if last:
        settings = [f"{k}={v}" for k, v in os.environ.items() if k.startswith("JAXGROUPS_NATIVE")]
        case = json.dumps(last["case"], ensure_ascii=False)
        how = [*settings, "python", "-m", "tests.fuzz", "--what", last["what"], "--case", case]
        print("reproduce it with:", shlex.join(how), sep="\n")
        print("once it is mended, add it to tests/fuzz/corpus")
    return 1
