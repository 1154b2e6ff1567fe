"""The command ``jaxgroups``: each subcommand prints what one library function returns.

Exit status: 0 all well, 1 a check failed, 2 the command line was wrong, 141 nobody reads any more.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

import jaxgroups
from jaxgroups.cli import _groups_experiment as groups_experiment
from jaxgroups.cli import checkpoints as _cli_convert
from jaxgroups.cli import diagram as _cli_diagram
from jaxgroups.cli import doctor as _cli_doctor
from jaxgroups.cli import explain as _cli_explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, where a closed pipe can still be answered
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as the shell says of programs that SIGPIPE ended


def _run(argv: Sequence[str] | None) -> int:
    arguments = command_line().parse_args(argv)
    return arguments.run(arguments)


def command_line() -> argparse.ArgumentParser:
    """The parser of all subcommands; `run` of what it parses does the work."""
    parser = argparse.ArgumentParser(prog="jaxgroups", description=jaxgroups.__doc__)
    parser.add_argument("--version", action="version", version=jaxgroups.__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    experiment = commands.add_parser(
        "experiment", help="what groups do, in numbers: every line is computed and checked"
    )
    experiment.set_defaults(run=_experiment)

    explain = _cli_explain.add_to(commands)
    diagram = _cli_diagram.add_to(commands)
    _cli_convert.add_to(commands)
    _cli_doctor.add_to(commands)
    for command in (experiment, explain, diagram):
        command.add_argument("--json", action="store_true", help="print data instead of text")
    return parser


def _experiment(arguments: argparse.Namespace) -> int:
    sections = groups_experiment.run()
    wrong = [line for section in sections for line in section.lines if not line.ok]
    if arguments.json:
        data = {"ok": not wrong, "sections": [section.as_dict() for section in sections]}
        print(json.dumps(data, indent=2, default=lambda value: value.hex()))
    else:
        for section in sections:
            print(f"\n{section.title}")
            for line in section.lines:
                print(f"  {'ok   ' if line.ok else 'WRONG'} {line.text}{_value(line)}")
            for note in section.notes:
                print(f"  note  {note}")
    for line in wrong:
        print(f"MISMATCH: {line.text}: got {line.value}, expected {line.expected}", file=sys.stderr)
    return 1 if wrong else 0


def _value(line: groups_experiment.Line) -> str:
    if isinstance(line.value, bytes):
        return f": {len(line.value)} bytes, {'equal' if line.ok else 'DIFFERENT'}"
    if isinstance(line.value, str):
        return ""  # the text shows the message whole
    if isinstance(line.value, list) and all(isinstance(v, float) for v in line.value):
        return ": " + ", ".join(f"{v:g}" for v in line.value)
    return f": {line.value}"
