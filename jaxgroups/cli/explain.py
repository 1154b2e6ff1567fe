"""``jaxgroups explain``: one convolution, a model or a checkpoint, as a table or as data.

Exit status: 0 success, 1 the checkpoint does not fit the model, 2 wrong command line.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import jax

from jaxgroups import _console, convert
from jaxgroups._explain import Explanation, explain, is_checkpoint
from jaxgroups._lowerings import dispatch
from jaxgroups.cli.common import guarded, json_object, shape
from jaxgroups.cli.factory import model_of

_MODEL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_ORDERS = ("cost", "parameters", "bytes", "order")


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser("explain", help="parameters, cost and chosen implementation")
    command.add_argument(
        "spec",
        help='"conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56", a model as '
        "PKG.MOD:FACTORY, or a checkpoint file",
    )
    command.add_argument("--example", help="shape of the model's input: 1,224,224,3")
    command.add_argument("--kwargs", default="{}", help="the factory's keyword arguments, as JSON")
    command.add_argument("--call", default="{}", help="those of the model's call, as JSON")
    command.add_argument("--model", metavar="PKG.MOD:FACTORY", help="the model of a checkpoint")
    command.add_argument("--key", help='key of the tensors in a nested checkpoint, such as "model"')
    command.add_argument(
        "--reader", choices=("own", "torch", "zipfile"), help="reader of a torch file"
    )
    command.add_argument("--sort", choices=_ORDERS, default="cost", help="most expensive first")
    command.add_argument("--platform", choices=("cpu", "gpu", "tpu"))
    command.add_argument("--implementation", choices=dispatch.names())
    command.add_argument(
        "--measure", action="store_true", help="time each convolution, beside this machine's limits"
    )
    command.set_defaults(run=guarded(_run, json_errors=False))


def _run(arguments: argparse.Namespace) -> int:
    answer = _answer(arguments)
    single = isinstance(answer, Explanation)
    if arguments.json:
        print(json.dumps(answer.as_dict() if single else answer.as_dict(arguments.sort), indent=2))
    elif single:
        print(answer)
    else:
        from rich.console import Console

        Console(width=_console.terminal_width(1000)).print(
            answer.rendered(arguments.sort), crop=False
        )
    return 0


def _answer(arguments: argparse.Namespace) -> Any:
    target = arguments.spec
    how = {name: getattr(arguments, name) for name in ("platform", "implementation", "measure")}
    if is_checkpoint(target):
        if not arguments.model:
            options = {name: getattr(arguments, name) for name in ("key", "reader", "measure")}
            return explain(Path(target), **options)
        return _model(arguments, arguments.model, target, **how)
    if _MODEL.fullmatch(target):
        return _model(arguments, target, None, **how)
    return explain(target, **how)


def _model(arguments: argparse.Namespace, factory: str, file: str | None, **how: Any) -> Any:
    """The explanation of a model; a checkpoint given with it must fit it."""
    if not arguments.example:
        raise ValueError("a model needs --example, the shape of its input: 1,224,224,3")
    size = shape("--example", arguments.example)
    model = model_of(factory, json_object("--kwargs", arguments.kwargs))
    if file is not None:
        example = jax.ShapeDtypeStruct(size, "float32")
        made = convert.plan(
            model, file, key=arguments.key, reader=arguments.reader, example=example
        )
        made.raise_if_incomplete()
    return explain(model, size, call=json_object("--call", arguments.call), **how)
