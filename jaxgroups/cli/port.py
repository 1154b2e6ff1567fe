"""``jaxgroups port``: from a torch module to Flax source, its weights, and a proof.

Exit status: 0 ported and equal, 1 not proven equal, 2 wrong command line, or what cannot be ported.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from jaxgroups._printable import printable
from jaxgroups.cli.common import UsageError, guarded, json_object, shape
from jaxgroups.cli.factory import made

_NO_MODULE = """\
a checkpoint alone cannot be ported: it has the weights, but not what is computed with them.
Give the torch module that it belongs to: jaxgroups port PKG.MOD:FACTORY --example 1,3,224,224
--checkpoint FILE. If you have no torch code, write the Flax model yourself, and let
`jaxgroups plan PKG:MODEL FILE --propose` match its names with those of the file."""


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser(
        "port", help="write the Flax module that a torch module is, with weights and a proof"
    )
    command.add_argument(
        "module", nargs="?", metavar="PKG.MOD:FACTORY", help="torch module, or callable that makes"
    )
    command.add_argument(
        "--example",
        dest="examples",
        action="append",
        default=[],
        metavar="SHAPE",
        help="shape of the input in torch's layout: 1,3,224,224; once for each argument",
    )
    command.add_argument(
        "--example-dtype",
        dest="dtypes",
        action="append",
        default=[],
        metavar="DTYPE",
        help="dtype of each argument, such as int64 (default: float32)",
    )
    command.add_argument(
        "--kwargs", default="{}", metavar="JSON", help="keyword arguments of the factory"
    )
    command.add_argument("-o", "--output", metavar="FOLDER", help="folder for the files")
    command.add_argument("--checkpoint", help="file of the torch module's weights")
    command.add_argument("--key", help='key of the tensors in a nested checkpoint, such as "model"')
    command.add_argument("--no-proof", action="store_true", help="do not compare the two networks")
    command.add_argument("--steps", type=int, default=3, help="steps of SGD of the proof")
    command.add_argument(
        "--partial", action="store_true", help="write calls that raise for what cannot be ported"
    )
    command.set_defaults(run=guarded(_run))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.module is None:
        raise UsageError(_NO_MODULE if arguments.checkpoint else "no torch module was given")
    if not arguments.examples:
        raise UsageError("give the shape of the input: --example 1,3,224,224")
    kwargs = json_object("--kwargs", arguments.kwargs)
    examples = _examples(arguments)
    from jaxgroups.port import port
    from jaxgroups.prove._checkpoint import load

    module = made(arguments.module, kwargs)
    if arguments.checkpoint:
        load(module, arguments.checkpoint, arguments.key)
    ported = port(module, examples, partial=arguments.partial)
    skipped = arguments.no_proof or "_not_ported(" in ported.source
    proof = None if skipped else ported.prove(steps=arguments.steps)
    files = ported.write(arguments.output, proof=proof) if arguments.output else []
    if arguments.json:
        data = ported.as_dict() | {"files": [str(file) for file in files]}
        print(json.dumps(data | {"proof": proof and proof.as_dict()}, indent=2))
    else:
        _print(ported, proof, files)
    return 0 if proof is None or proof.verdict == "equal" else 1


def _examples(arguments: argparse.Namespace) -> tuple[Any, ...]:
    import torch

    found = []
    for i, text in enumerate(arguments.examples):
        name = arguments.dtypes[i] if i < len(arguments.dtypes) else "float32"
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise UsageError(f"--example-dtype must be a dtype such as int64, got {name!r}")
        found.append(torch.zeros(shape("--example", text), dtype=dtype))
    return tuple(found)


def _print(ported: Any, proof: Any, files: list[Path]) -> None:
    if not files:
        print(ported.source, end="")
        print()
    count = len(ported.transpositions)
    print(f"{ported.name}: {len(ported.source.splitlines())} lines, {count} transpositions")
    for one in ported.transpositions:
        print(f"  {one.path or 'the module itself'}: {one.line}")
    for note in ported.notes:
        print(f"note: {note}")
    if ported.unused:
        print(printable(f"not read by the original: {', '.join(ported.unused[:5])}"))
    for file in files:
        print(f"wrote {file}")
    if proof is not None:
        print(proof)
