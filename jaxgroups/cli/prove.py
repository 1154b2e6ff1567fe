"""``jaxgroups prove``: are a torch module and a Flax module the same function?

Exit status: 0 equal, 1 different or not proven, 2 wrong command line, file or module.
"""

import argparse
import json
from typing import Any

from jaxgroups.cli.checkpoints import rules_of
from jaxgroups.cli.common import UsageError, guarded, shape
from jaxgroups.cli.factory import made


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser(
        "prove", help="compare a torch module and a Flax module, with figures"
    )
    command.add_argument("torch", metavar="PKG:TORCH", help="torch module, or callable that makes")
    command.add_argument("flax", metavar="PKG:FLAX", help="flax.nnx module, or callable that makes")
    command.add_argument(
        "--example",
        dest="examples",
        action="append",
        required=True,
        metavar="SHAPE",
        help="shape of the input in torch's layout: 1,3,224,224; once for each argument",
    )
    command.add_argument("--checkpoint", help="file of the torch module's weights")
    command.add_argument("--key", help='key of the tensors in a nested checkpoint, such as "model"')
    command.add_argument("--steps", type=int, default=3, help="steps of SGD (default: 3)")
    command.add_argument(
        "--rules", metavar="RULES.toml", help="names and rules, as for `jaxgroups plan`"
    )
    command.add_argument(
        "--channels-first", action="store_true", help="the Flax module has torch's layout"
    )
    command.set_defaults(run=guarded(_run))


def _run(arguments: argparse.Namespace) -> int:
    from jaxgroups.prove import prove
    from jaxgroups.prove._checkpoint import load

    examples = [shape("--example", text) for text in arguments.examples]
    how = rules_of(arguments)
    if how.pop("prefix"):
        raise UsageError("prefix does not go with prove: the names are those of the torch module")
    del how["example"]
    torch_module, flax_module = made(arguments.torch), made(arguments.flax)
    if arguments.checkpoint:
        load(torch_module, arguments.checkpoint, arguments.key)
    proof = prove(
        torch_module,
        flax_module,
        tuple(examples) if len(examples) > 1 else examples[0],
        steps=arguments.steps,
        channels_last=not arguments.channels_first,
        **how,
    )
    print(json.dumps(proof.as_dict(), indent=2) if arguments.json else proof)
    return 0 if proof.verdict == "equal" else 1
