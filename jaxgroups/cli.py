"""The command ``jaxgroups``: each subcommand prints what one library function returns.

Exit status: 0 all well, 1 a check failed, 2 the command line was wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import jaxgroups
from jaxgroups import _cli_convert, _cli_doctor
from jaxgroups import _dispatch as dispatch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="jaxgroups", description=jaxgroups.__doc__)
    parser.add_argument("--version", action="version", version=jaxgroups.__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    experiment = commands.add_parser(
        "experiment", help="what groups do, in numbers: every line is computed and checked"
    )
    experiment.set_defaults(run=_experiment)

    explain = commands.add_parser("explain", help="cost of one convolution, and who computes it")
    explain.add_argument(
        "spec", help='such as "conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56"'
    )
    explain.add_argument("--platform", choices=("cpu", "gpu", "tpu"))
    explain.add_argument("--implementation", choices=dispatch.names())
    explain.set_defaults(run=_explain)

    _cli_convert.add_to(commands)
    _cli_doctor.add_to(commands)
    for command in (experiment, explain):
        command.add_argument("--json", action="store_true", help="print data instead of text")
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _experiment(arguments: argparse.Namespace) -> int:
    from jaxgroups import _experiment  # loads flax, which the other commands do without

    sections = _experiment.run()
    wrong = [line for section in sections for line in section.lines if not line.ok]
    if arguments.json:
        data = {"ok": not wrong, "sections": [section.as_dict() for section in sections]}
        print(json.dumps(data, indent=2, default=lambda value: value.hex()))
    else:
        for section in sections:
            print(f"\n{section.title}")
            for line in section.lines:
                print(f"  {'ok   ' if line.ok else 'WRONG'} {line.text}{_value(line)}")
    for line in wrong:
        print(f"MISMATCH: {line.text}: got {line.value}, expected {line.expected}", file=sys.stderr)
    return 1 if wrong else 0


def _value(line) -> str:
    if isinstance(line.value, bytes):
        return f": {len(line.value)} bytes, {'equal' if line.ok else 'DIFFERENT'}"
    if isinstance(line.value, str):
        return ""  # the text shows the message whole
    if isinstance(line.value, list) and all(isinstance(v, float) for v in line.value):
        return ": " + ", ".join(f"{v:g}" for v in line.value)
    return f": {line.value}"


def _explain(arguments: argparse.Namespace) -> int:
    try:
        answer = jaxgroups.explain(
            arguments.spec,
            platform=arguments.platform,
            implementation=arguments.implementation,
        )
    except (ValueError, TypeError) as error:
        print(f"jaxgroups explain: {error}", file=sys.stderr)
        return 2
    print(json.dumps(answer.as_dict(), indent=2) if arguments.json else answer)
    return 0
