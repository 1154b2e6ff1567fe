"""``jaxgroups explain``: one convolution, a model or a checkpoint, as a table or as data.

Exit status: 0 all well, 1 the checkpoint does not fit the model, 2 the command line was wrong.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import jax

from jaxgroups import convert
from jaxgroups._explain import Explanation, explain
from jaxgroups._lowerings import dispatch
from jaxgroups.cli.common import guarded, json_object, shape
from jaxgroups.cli.factory import model_of

_SUFFIXES = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".ckpt")
_MODEL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_ORDERS = ("cost", "parameters", "bytes", "order")


def add_to(commands: Any) -> argparse.ArgumentParser:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser("explain", help="what it holds and costs, and who computes it")
    command.add_argument(
        "spec",
        help='"conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56", a model as '
        "PKG.MOD:FACTORY, or a checkpoint file",
    )
    command.add_argument("--example", help="a model's input, as a shape: 1,224,224,3")
    command.add_argument("--kwargs", default="{}", help="the factory's keyword arguments, as JSON")
    command.add_argument("--call", default="{}", help="the model's, when it is called, as JSON")
    command.add_argument("--model", metavar="PKG.MOD:FACTORY", help="the model of a checkpoint")
    command.add_argument("--key", help='where a nested checkpoint has its tensors, "model"')
    command.add_argument("--sort", choices=_ORDERS, default="cost", help="dearest first")
    command.add_argument("--platform", choices=("cpu", "gpu", "tpu"))
    command.add_argument("--implementation", choices=dispatch.names())
    command.set_defaults(run=guarded(_run, json_errors=False))
    return command


def _run(arguments: argparse.Namespace) -> int:
    answer = _answer(arguments)
    single = isinstance(answer, Explanation)
    if arguments.json:
        print(json.dumps(answer.as_dict() if single else answer.as_dict(arguments.sort), indent=2))
    elif single:
        print(answer)
    else:
        from rich.console import Console

        Console().print(answer.rendered(arguments.sort), crop=False)
    return 0


def _answer(arguments: argparse.Namespace) -> Any:
    target = arguments.spec
    how = {"platform": arguments.platform, "implementation": arguments.implementation}
    if target.endswith(_SUFFIXES) or Path(target).is_file():
        if not arguments.model:
            return explain(Path(target), key=arguments.key)
        return _model(arguments, arguments.model, target, **how)
    if _MODEL.fullmatch(target):
        return _model(arguments, target, None, **how)
    return explain(target, **how)


def _model(arguments: argparse.Namespace, spelled: str, file: str | None, **how: Any) -> Any:
    """The model explained; where it comes with a checkpoint, that must fit it."""
    if not arguments.example:
        raise ValueError("a model needs --example, the shape of its input: 1,224,224,3")
    size = shape("--example", arguments.example)
    model = model_of(spelled, json_object("--kwargs", arguments.kwargs))
    if file is not None:
        example = jax.ShapeDtypeStruct(size, "float32")
        convert.plan(model, file, key=arguments.key, example=example).raise_if_incomplete()
    return explain(model, size, call=json_object("--call", arguments.call), **how)
