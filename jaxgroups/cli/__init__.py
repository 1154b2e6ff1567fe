"""The command ``jaxgroups``: one file a subcommand; each prints the result of one function.

Exit status: 0 success, 1 a check failed, 2 wrong command line, 130 interrupted, 141 broken pipe
(128 + SIGINT, + SIGPIPE). The subcommands are imported when a command line is parsed, which takes
seconds: an interruption before that ends as any other, and ``--version`` does without them.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import jaxgroups
from jaxgroups import _console

__all__ = ["command_line", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    _console.replace_unencodable(sys.stdout, sys.stderr)
    try:
        try:
            if list(sys.argv[1:] if argv is None else argv) == ["--version"]:
                print(jaxgroups.__version__)
                return 0
            arguments = command_line().parse_args(argv)
            return arguments.run(arguments)
        finally:
            sys.stdout.flush()  # a closed pipe must raise here, not at the exit of Python
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # the status that a shell gives to a program ended by SIGPIPE
    except KeyboardInterrupt:
        print("jaxgroups: interrupted", file=sys.stderr)
        return 130


def command_line() -> argparse.ArgumentParser:
    """The parser of all subcommands; a parsed command line has `run`, the subcommand's function."""
    from jaxgroups.cli import checkpoints, diagram, doctor, experiment, explain, port, prove

    parser = argparse.ArgumentParser(prog="jaxgroups", description=jaxgroups.__doc__)
    parser.add_argument("--version", action="version", version=jaxgroups.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (experiment, explain, diagram, checkpoints, port, prove, doctor):
        module.add_to(commands)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print data instead of text")
    return parser
