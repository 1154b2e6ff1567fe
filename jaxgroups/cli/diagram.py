"""``jaxgroups diagram``: a picture of a convolution as a file, as text or as data."""

import argparse
import json
import sys
from typing import Any

from jaxgroups._spec.spec import ConvSpec

_AXES = ("stride", "padding", "output_padding", "dilation")


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser("diagram", help="draw which filter reads which channels")
    command.add_argument(
        "layer",
        metavar="IN",
        help='input channels, or a descriptor alone, "conv2d in=4 out=8 kernel=1 groups=2"',
    )
    command.add_argument("out", nargs="?", metavar="OUT", help="output channels")
    command.add_argument("--kernel", default="1", metavar="K", help="3, or 3x5; 1 by default")
    command.add_argument("--groups", default="1", metavar="G")
    for name in _AXES:
        command.add_argument(f"--{name.replace('_', '-')}", metavar="N", help="1, or 1x2")
    command.add_argument("--no-bias", action="store_true")
    command.add_argument("--transposed", action="store_true", help="a transposed convolution")
    command.add_argument("--dims", type=int, choices=(1, 2, 3), default=2, help="spatial axes")
    command.add_argument("--weights", action="store_true", help="write 1, 2, 3, ... in the kernels")
    command.add_argument(
        "--alone", action="store_true", help="leave out the ordinary convolution beside it"
    )
    command.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=".svg, .png or .pdf, drawn with matplotlib; by default text",
    )
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from jaxgroups.diagrams import draw

    try:
        picture = draw(_spec(arguments), weights=arguments.weights, compare=not arguments.alone)
        if arguments.output:
            picture.save(arguments.output)
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"jaxgroups diagram: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(picture.structure.as_dict(), indent=2))
    elif not arguments.output:
        from rich.console import Console

        Console().print(picture, crop=False)
    return 0


def _spec(arguments: argparse.Namespace) -> ConvSpec:
    inputs, outputs = arguments.layer, arguments.out
    if outputs is None and "=" in inputs:
        return ConvSpec.parse(inputs)
    if outputs is None or "=" in inputs:
        raise ValueError(
            'expected two numbers of channels, such as 4 8, or one "conv2d in=4 out=8 kernel=1", '
            f"but got {inputs if outputs is None else f'{inputs} {outputs}'}"
        )
    words = [f"conv{'_transpose' if arguments.transposed else ''}{arguments.dims}d"]
    words += [f"in={inputs}", f"out={outputs}", f"kernel={arguments.kernel}"]
    given = {name: getattr(arguments, name) for name in _AXES}
    words += [f"{name}={value}" for name, value in given.items() if value is not None]
    words += [f"groups={arguments.groups}", f"bias={not arguments.no_bias}"]
    return ConvSpec.parse(" ".join(words))
