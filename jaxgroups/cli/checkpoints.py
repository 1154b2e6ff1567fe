"""``jaxgroups inspect | plan | convert | verify``: checkpoints on the command line.

Exit status: 0 success, 1 incomplete or different, 2 wrong command line, file or model.
"""

import argparse
import json
import shlex
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

from jaxgroups import convert
from jaxgroups._printable import printable
from jaxgroups.cli.common import UsageError, guarded, json_object, shape
from jaxgroups.cli.factory import maker_of, model_of
from jaxgroups.convert._rules import ops

_ORDERS = {
    "flatten": convert.FlattenLinear,
    "unflatten": convert.UnflattenLinear,
    "flatten_vector": convert.FlattenVector,
}


def add_to(commands: Any) -> None:
    """Add the four subcommands to an argparse subparsers object."""
    inspect = commands.add_parser(
        "inspect", help="list the tensors of a checkpoint; needs no model"
    )
    inspect.add_argument("checkpoint")
    inspect.set_defaults(run=guarded(_inspect))

    plan = commands.add_parser(
        "plan", help="dry run: show which tensor goes where, and the problems"
    )
    plan.add_argument("checkpoint")
    plan.add_argument(
        "-o", "--output", metavar="PLAN.json", help="file to write the plan to, if it is complete"
    )
    plan.add_argument(
        "--propose",
        action="store_true",
        help="print a table [names] for --rules instead: what fits by kind, shape and order",
    )
    plan.set_defaults(run=guarded(_plan))

    conversion = commands.add_parser("convert", help="write a checkpoint in the other layout")
    conversion.add_argument("checkpoint")
    conversion.add_argument("--to", choices=("flax", "torch"), required=True)
    conversion.add_argument(
        "-o", "--output", help=".safetensors file, or for --to flax an orbax directory"
    )
    conversion.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing output; a symbolic link is refused",
    )
    conversion.set_defaults(run=guarded(_convert))

    verify = commands.add_parser(
        "verify", help="check that a converted file converts back bit for bit"
    )
    verify.add_argument("checkpoint")
    verify.add_argument("converted")
    verify.set_defaults(run=guarded(_verify))

    for command in (inspect, plan, conversion, verify):
        command.add_argument(
            "--key", help='key of the tensors in a nested checkpoint, such as "model"'
        )
        command.add_argument(
            "--reader",
            choices=("own", "torch", "zipfile"),
            help="reader of torch files: own by default; verify takes another one than convert did",
        )
    for command in (conversion, verify):
        command.add_argument("--plan", metavar="PLAN.json", help="plan from `jaxgroups plan -o`")
    for command in (plan, conversion):
        command.add_argument(
            "--model", metavar="PKG.MOD:FACTORY", help="callable that makes the Flax model"
        )
        command.add_argument("--kwargs", default="{}", help="its keyword arguments, as JSON")
        command.add_argument("--example", help="input of a linen module, as a shape: 1,224,224,3")
        command.add_argument(
            "--rules",
            metavar="RULES.toml",
            help="tables [names], [flatten], [unflatten], [flatten_vector] (path = [C, H, W]), "
            "[recurrent] and [flax_only] (path = arguments of RNNLayers and FlaxOnly), and "
            "keep_order = [paths], ignore = [...], prefix = ...",
        )


def _inspect(arguments: argparse.Namespace) -> int:
    with convert.open_checkpoint(
        arguments.checkpoint, key=arguments.key, reader=arguments.reader
    ) as opened:
        data = {
            "format": opened.format,
            "metadata": opened.metadata,
            "aliases": opened.aliases,
            "others": list(opened.extras),
            "tensors": {
                name: {"shape": list(info.shape), "dtype": info.dtype, "bytes": info.nbytes}
                for name, info in opened.infos.items()
            },
        }
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
    width = max((len(printable(name)) for name in data["tensors"]), default=0)
    for name, tensor in data["tensors"].items():
        alias = printable(data["aliases"].get(name, ""))
        print(
            f"{printable(name):<{width}}  {tensor['dtype']:<10} {tuple(tensor['shape'])}"
            + (f"  same as {alias}" if alias else "")
        )
    whole = [t["bytes"] for name, t in data["tensors"].items() if name not in data["aliases"]]
    print(f"{len(data['tensors'])} tensors, {sum(whole)} bytes, {data['format']}")
    if data["others"]:
        print(printable(f"other entries, not tensors: {', '.join(data['others'])}"))
    for name, value in data["metadata"].items():
        print(printable(f"metadata {name}: {value}"))
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    if arguments.propose:
        return _propose(arguments)
    made = _make_plan(arguments)
    if arguments.output and made.complete:
        made.to_json(arguments.output)
    print(made.to_json() if arguments.json else made.report())
    if not made.complete:
        print(convert.ConversionError(made.model, made.entries, made.hints), file=sys.stderr)
        return 1
    return 0


def _propose(arguments: argparse.Namespace) -> int:
    if arguments.output:
        raise UsageError("--propose makes no plan: leave -o out, and give its table to --rules")
    if not arguments.model:
        raise _refusal(arguments)
    given = arguments.model, json_object("--kwargs", arguments.kwargs)
    model_of(*given)  # refuses what makes no model
    with convert.open_checkpoint(
        arguments.checkpoint, key=arguments.key, reader=arguments.reader
    ) as opened:
        found = convert.propose_names(maker_of(*given), opened, **rules_of(arguments))
    print(found.to_json() if arguments.json else found.toml())
    return 1 if found.unmatched_flax else 0


def _convert(arguments: argparse.Namespace) -> int:
    made = _make_plan(arguments)
    if not arguments.output:
        raise UsageError("missing -o: where to write")
    with _Progress("writing") as progress:
        notes = convert.convert_file(
            arguments.checkpoint,
            arguments.output,
            made,
            to=arguments.to,
            key=arguments.key,
            reader=arguments.reader,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    ignored = [e.torch[0] for e in made.entries if e.status == "ignored"]
    notes += [f"ignored by the plan: {', '.join(ignored)}"] if ignored else []
    if not arguments.plan and arguments.output.endswith(".safetensors"):
        notes.append("the way back needs the plan: write it with `jaxgroups plan ... -o plan.json`")
    answer = {"output": arguments.output, "tensors": len(made.leaves()), "notes": notes}
    answer["warnings"] = made.warnings
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        print(printable(f"{answer['tensors']} leaves -> {arguments.output}"))
        for kind, texts in (("note", notes), ("warning", made.warnings)):
            for text in texts:
                print(printable(f"{kind}: {text}"))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    made = _make_plan(arguments)
    with _Progress("comparing") as progress:
        wrong = convert.verify_file(
            arguments.checkpoint,
            arguments.converted,
            made,
            key=arguments.key,
            reader=arguments.reader,
            progress=progress,
        )
    readers = {"reader": wrong.reader, "converted_by": wrong.converted_by}
    if arguments.json:
        more = {"warnings": made.warnings} | readers
        print(json.dumps({"equal": not wrong, "different": wrong} | more, indent=2))
    else:
        if not wrong:
            print("every tensor comes back bit for bit", _compared_by(wrong), sep="\n")
        for text in made.warnings:
            print(f"warning: {printable(text)}")
    for name in wrong:
        print(printable(f"different: {name}"), file=sys.stderr)
    if wrong:
        print(_compared_by(wrong), file=sys.stderr)
    return 1 if wrong else 0


def _compared_by(compared: Any) -> str:
    """How far the two ways of reading the source were independent."""
    names = {
        "own": "jaxgroups' own reader",
        "torch": "torch.load",
        "zipfile": "Python's zipfile",
        "safetensors": "the safetensors library",
    }
    one, other = (names.get(name, name) for name in (compared.converted_by, compared.reader))
    if one == other:
        return f"the source was read by {one} both times, so a mistake of it would not show"
    return f"the source was read by {other}; convert had read it by {one}"


def _make_plan(arguments: argparse.Namespace) -> convert.Plan:
    """The plan; its warnings are printed with it, so they are not given by Python, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", convert.ConversionWarning)
        return _read_or_made(arguments)


def _read_or_made(arguments: argparse.Namespace) -> convert.Plan:
    if getattr(arguments, "plan", None):
        return convert.Plan.from_json(Path(arguments.plan))
    if getattr(arguments, "to", None) == "torch" or arguments.command == "verify":
        raise UsageError("missing --plan: the plan that the file was converted by")
    if not arguments.model:
        raise _refusal(arguments)
    with convert.open_checkpoint(
        arguments.checkpoint, key=arguments.key, reader=arguments.reader
    ) as opened:
        model = model_of(arguments.model, json_object("--kwargs", arguments.kwargs))
        return convert.plan(model, opened, **rules_of(arguments))


def rules_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `plan` that ``--rules`` and ``--example`` give."""
    rules = tomllib.loads(_text(arguments.rules)) if arguments.rules else {}
    unknown = set(rules) - {"names", *_ORDERS, *_TABLES, "keep_order", "ignore", "prefix"}
    if unknown:
        raise UsageError(f"{arguments.rules} has unknown entries: {', '.join(sorted(unknown))}")
    by_path = _orders(rules)
    for table in _TABLES:
        for path, given in rules.get(table, {}).items():
            by_path[path] = _rule(table, path, given)
    example = None
    if getattr(arguments, "example", None):
        import jax

        example = jax.ShapeDtypeStruct(shape("--example", arguments.example), "float32")
    return {
        "names": rules.get("names"),
        "rules": by_path,
        "ignore": rules.get("ignore", ()),
        "prefix": rules.get("prefix", ""),
        "example": example,
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from error


def _orders(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules for flattened features, by path."""
    keep = rules.get("keep_order", [])
    if not isinstance(keep, list) or not all(isinstance(path, str) for path in keep):
        raise UsageError(f"keep_order must be a list of paths, got {keep!r}")
    found: dict[str, Any] = {path: convert.KeepOrder() for path in keep}
    for table, rule in _ORDERS.items():
        for path, sizes in rules.get(table, {}).items():
            if not isinstance(sizes, list) or len(sizes) < 2:
                raise UsageError(f"{table}: {path} must be [C, H, W], got {sizes!r}")
            found[path] = rule(*sizes)
    return found


_TABLES = {"recurrent": "RNNLayers", "flax_only": "FlaxOnly"}  # in a file of rules


def _rule(table: str, path: str, given: Any) -> Any:
    """The rule whose arguments are in a table; ``layers`` are the positional ones."""
    if not isinstance(given, dict):
        raise UsageError(f"{table}: {path} must be a table of arguments, got {given!r}")
    named = dict(given)
    layers = named.pop("layers", [])
    try:
        return getattr(convert, _TABLES[table])(*layers, **named)
    except TypeError as error:
        raise UsageError(f"{table}: {path}: {error}") from error


def _refusal(arguments: argparse.Namespace) -> UsageError:
    """The error of a conversion without a model: what each tensor could be, and what to do."""
    with convert.open_checkpoint(
        arguments.checkpoint, key=arguments.key, reader=arguments.reader
    ) as opened:
        found = {name: _ambiguity(info.shape) for name, info in opened.infos.items()}
    reasons = {name: reason for name, reason in found.items() if reason}
    lines = ["no --model and no --plan, and shapes alone do not determine the layout:"]
    lines += [f"  {printable(name)}: {reason}" for name, reason in reasons.items()]
    given = [arguments.checkpoint, *(["--key", arguments.key] if arguments.key else [])]
    how = printable(shlex.join(given))
    lines.append(f"next: jaxgroups plan {how} --model PKG.MOD:FACTORY -o plan.json")
    return UsageError("\n".join(lines), {"ambiguous": reasons})


def _ambiguity(shape: tuple[int, ...]) -> str | None:
    if len(shape) >= 3:
        kinds = "convolution or transposed convolution"
        if shape[1] == 1:
            kinds += ", depthwise or of one channel"
        if (
            shape[0] == shape[-1]
            or ops.Permute((*range(2, len(shape)), 1, 0)).flax_shape(shape) == shape
        ):
            kinds += ", converted already or not"
        return f"{shape}: {kinds}"
    if len(shape) == 2:
        square = ", transposed or not" if shape[0] == shape[1] else ""
        return f"{shape}: linear, embedding or flattened input{square}"
    return None


class _Progress:
    """A progress bar; silent if stderr is not a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> "_Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}", markup=False)  # a name may look like markup
            columns = (text, BarColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        if self.bar is not None:
            what = f"{self.what} {printable(name)}"
            self.bar.update(self.task, description=what, completed=done, total=total)
