"""``jaxgroups inspect | plan | convert | verify``: checkpoints on the command line.

Exit status: 0 all well, 1 incomplete or different, 2 the command line, file or model was wrong.
"""

import argparse
import importlib
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgroups import convert
from jaxgroups.convert import _ops as ops
from jaxgroups.convert._files import CheckpointError


class _Usage(Exception):
    """Something the caller must mend: printed to stderr, exit status 2."""


def add_to(commands: Any) -> None:
    """Add the four subcommands to an argparse subparsers object."""
    inspect = commands.add_parser("inspect", help="what a checkpoint holds; no model needed")
    inspect.add_argument("checkpoint")
    inspect.set_defaults(run=_guarded(_inspect))

    plan = commands.add_parser("plan", help="dry run: which tensor goes where, and what is wrong")
    plan.add_argument("checkpoint")
    plan.add_argument("-o", "--output", metavar="PLAN.json", help="write the plan here")
    plan.set_defaults(run=_guarded(_plan))

    conversion = commands.add_parser("convert", help="write a checkpoint in the other layout")
    conversion.add_argument("checkpoint")
    conversion.add_argument("--to", choices=("flax", "torch"), required=True)
    conversion.add_argument(
        "-o", "--output", help=".safetensors file, or for --to flax an orbax directory"
    )
    conversion.add_argument("--overwrite", action="store_true")
    conversion.set_defaults(run=_guarded(_convert))

    verify = commands.add_parser("verify", help="is the conversion an exact inverse, bit for bit?")
    verify.add_argument("checkpoint")
    verify.add_argument("converted")
    verify.set_defaults(run=_guarded(_verify))

    for command in (inspect, plan, conversion, verify):
        command.add_argument("--key", help='where a nested checkpoint has its tensors, "model"')
        command.add_argument("--json", action="store_true", help="print data instead of text")
    for command in (plan, conversion, verify):
        command.add_argument(
            "--model", metavar="PKG.MOD:FACTORY", help="callable that makes the Flax model"
        )
        command.add_argument("--kwargs", default="{}", help="its keyword arguments, as JSON")
        command.add_argument("--example", help="input of a linen module, as a shape: 1,224,224,3")
        command.add_argument(
            "--rules",
            metavar="RULES.toml",
            help="tables [names], [flatten] (path = [C, H, W]), and ignore = [...], prefix = ...",
        )
        command.add_argument("--plan", metavar="PLAN.json", help="a plan made before")


def _guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def guarded(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except convert.ConversionError as error:
            print(error, file=sys.stderr)
            return 1
        except (_Usage, CheckpointError, FileNotFoundError, FileExistsError, ValueError) as error:
            print(f"jaxgroups {arguments.command}: {error}", file=sys.stderr)
            return 2

    return guarded


def _inspect(arguments: argparse.Namespace) -> int:
    with convert.open_checkpoint(arguments.checkpoint, key=arguments.key) as opened:
        data = {
            "format": opened.format,
            "metadata": opened.metadata,
            "aliases": opened.aliases,
            "tensors": {
                name: {"shape": list(info.shape), "dtype": info.dtype}
                for name, info in opened.infos.items()
            },
        }
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
    width = max((len(name) for name in data["tensors"]), default=0)
    for name, tensor in data["tensors"].items():
        alias = data["aliases"].get(name)
        print(
            f"{name:<{width}}  {tensor['dtype']:<10} {tuple(tensor['shape'])}"
            + (f"  same as {alias}" if alias else "")
        )
    print(f"{len(data['tensors'])} tensors, {data['format']}")
    for name, value in data["metadata"].items():
        print(f"metadata {name}: {value}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    made = _make_plan(arguments)
    if arguments.output:
        made.to_json(arguments.output)
    print(made.to_json() if arguments.json else made.report())
    if not made.complete:
        made_error = convert.ConversionError(made.model, made.entries, made.hints)
        print(made_error, file=sys.stderr)
        return 1
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    made = _make_plan(arguments)
    if not arguments.output:
        raise _Usage("-o says where to write")
    progress = _Progress()
    with progress:
        convert.convert_file(
            arguments.checkpoint,
            arguments.output,
            made,
            to=arguments.to,
            key=arguments.key,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    notes = [e.note for e in made.entries if e.status in ("folded", "ignored") and e.note]
    answer = {"output": arguments.output, "tensors": len(made.leaves()), "notes": notes}
    answer["warnings"] = made.warnings
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['tensors']} leaves -> {arguments.output}")
        for text in (*notes, *made.warnings):
            print(f"note: {text}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    made = _make_plan(arguments)
    wrong = convert.verify_file(arguments.checkpoint, arguments.converted, made, key=arguments.key)
    if arguments.json:
        print(json.dumps({"equal": not wrong, "different": wrong}, indent=2))
    elif not wrong:
        print("every tensor comes back bit for bit")
    for name in wrong:
        print(f"different: {name}", file=sys.stderr)
    return 1 if wrong else 0


def _make_plan(arguments: argparse.Namespace) -> convert.Plan:
    if arguments.plan:
        return convert.Plan.from_json(arguments.plan)
    if not arguments.model:
        raise _Usage(_refusal(arguments))
    if getattr(arguments, "to", None) == "torch" or arguments.command == "verify":
        raise _Usage("give --plan: the plan that the file was converted by")
    rules = tomllib.loads(Path(arguments.rules).read_text()) if arguments.rules else {}
    unknown = set(rules) - {"names", "flatten", "ignore", "prefix"}
    if unknown:
        raise _Usage(f"{arguments.rules} has unknown entries: {', '.join(sorted(unknown))}")
    example = None
    if arguments.example:
        import jax

        shape = tuple(int(n) for n in arguments.example.split(","))
        example = jax.ShapeDtypeStruct(shape, "float32")
    return convert.plan(
        _model(arguments.model, json.loads(arguments.kwargs)),
        arguments.checkpoint,
        names=rules.get("names"),
        rules={path: convert.FlattenLinear(*chw) for path, chw in rules.get("flatten", {}).items()},
        ignore=rules.get("ignore", ()),
        prefix=rules.get("prefix", ""),
        key=arguments.key,
        example=example,
    )


def _model(spelled: str, kwargs: dict[str, Any]) -> Any:
    """The model that ``pkg.mod:factory`` makes, without computing its parameters."""
    from flax import nnx

    module, colon, name = spelled.partition(":")
    if not colon:
        raise _Usage(f"--model is package.module:factory, but got {spelled!r}")
    sys.path.insert(0, "")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _Usage(f"--model {spelled}: {error}") from error
    if isinstance(factory, type) and issubclass(factory, nnx.Module):
        return nnx.eval_shape(lambda: factory(**({"rngs": nnx.Rngs(0)} | kwargs)))
    return factory(**kwargs)


def _refusal(arguments: argparse.Namespace) -> str:
    """Without a structure nothing is guessed: which tensors could be what, and what to do."""
    with convert.open_checkpoint(arguments.checkpoint, key=arguments.key) as opened:
        reasons = {name: _ambiguity(info.shape) for name, info in opened.infos.items()}
    lines = ["no --model and no --plan, and the shapes alone do not tell the layout:"]
    lines += [f"  {name}: {reason}" for name, reason in reasons.items() if reason]
    lines.append(
        f"next: jaxgroups plan {arguments.checkpoint} --model PKG.MOD:FACTORY -o plan.json"
    )
    return "\n".join(lines)


def _ambiguity(shape: tuple[int, ...]) -> str | None:
    if len(shape) >= 3:
        kinds = "convolution or transposed convolution"
        if shape[1] == 1:
            kinds += ", depthwise or of one channel"
        if (
            shape[0] == shape[-1]
            or ops.Permute((*range(2, len(shape)), 1, 0)).shape(shape) == shape
        ):
            kinds += ", converted already or not"
        return f"{shape}: {kinds}"
    if len(shape) == 2:
        square = ", transposed or not" if shape[0] == shape[1] else ""
        return f"{shape}: linear, embedding or flattened input{square}"
    return None


class _Progress:
    """A bar on long work; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> "_Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("writing", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=name, completed=done, total=total)
