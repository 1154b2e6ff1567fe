"""``jaxgroups experiment``: what ``groups`` means, in numbers that JAX computes.

`sections` computes every number from layers and arrays and compares it with the number that the
explanation expects. A difference is printed and makes the exit status 1.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx as flax_nnx

from jaxgroups import convert, linen, nnx
from jaxgroups._console import wrapped
from jaxgroups._op import conv as functions

# in_channels, out_channels, kernel_size, groups, title
PICTURES = (
    (3, 4, 3, 1, "ordinary convolution: every filter reads every channel"),
    (4, 4, 3, 2, "two groups: every filter reads half of the channels"),
    (4, 8, 3, 4, "as many groups as channels: every filter reads one"),
)
ONES_TO_SUMS = [3.0, 7.0, 11.0, 15.0, 19.0, 23.0, 27.0, 31.0]  # 1+2, 3+4, ..., 15+16


@dataclass(frozen=True)
class Line:
    """One computed value beside the expected one."""

    text: str
    value: Any
    expected: Any
    ok: bool


@dataclass
class Section:
    """Lines under one title, and remarks on what was left out."""

    title: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, text: str, value: Any, expected: Any) -> None:
        self.lines.append(Line(text, value, expected, value == expected))

    def as_dict(self) -> dict:
        return asdict(self)


def add_to(commands: Any) -> None:
    """Add the subcommand to an argparse subparsers object."""
    command = commands.add_parser(
        "experiment", help="what groups do, in numbers: every line is computed and checked"
    )
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    computed = sections()
    wrong = [line for section in computed for line in section.lines if not line.ok]
    if arguments.json:
        data = {"ok": not wrong, "sections": [section.as_dict() for section in computed]}
        print(json.dumps(data, indent=2, default=lambda value: value.hex()))
    else:
        for section in computed:
            print(f"\n{wrapped(section.title, 3)}")
            for line in section.lines:
                print(wrapped(f"  {'ok   ' if line.ok else 'WRONG'} {line.text}{_shown(line)}", 8))
            for note in section.notes:
                print(wrapped(f"  note  {note}", 8))
    for line in wrong:
        print(f"MISMATCH: {line.text}: got {line.value}, expected {line.expected}", file=sys.stderr)
    return 1 if wrong else 0


def _shown(line: Line) -> str:
    if isinstance(line.value, bytes):
        return f": {len(line.value)} bytes, {'equal' if line.ok else 'DIFFERENT'}"
    if isinstance(line.value, str):
        return ""  # the text of the line ends with it
    if isinstance(line.value, list) and all(isinstance(v, float) for v in line.value):
        return ": " + ", ".join(f"{v:g}" for v in line.value)
    return f": {line.value}"


def sections() -> list[Section]:
    """All sections, in the order of the explanation; an exception is a failed line."""
    fills = {
        f"{i}. Conv2d({ci}, {co}, {k}, groups={g}), {title}": partial(_picture, ci, co, k, g)
        for i, (ci, co, k, g, title) in enumerate(PICTURES, 1)
    }
    fills |= {
        "4. The rules: in_channels / groups and out_channels / groups are whole": _rules,
        "5. The formula: parameters = in_channels / groups x out_channels x k^2": _formula,
        "6. The experiment: Conv2d(4, 8, 1, 1, groups=2, bias=False) holding 1..16": _experiment,
    }
    done = []
    for title, fill in fills.items():
        section = Section(title)
        try:
            fill(section)
        except Exception as error:  # whatever it is, the other sections are computed
            text = f"{type(error).__name__}: {error}"
            section.check(f"broken off by {text}", text, "no error")
        done.append(section)
    return done


def _layer(ci: int, co: int, k: int, groups: int) -> nnx.Conv2d:
    """A layer of ones: no check depends on the values, and random ones take a second."""
    ones = flax_nnx.initializers.ones
    return nnx.Conv2d(ci, co, k, groups=groups, bias=False, kernel_init=ones, rngs=flax_nnx.Rngs(0))


def _count(layer: nnx.Conv2d) -> int:
    """Number of parameters that the layer holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(flax_nnx.state(layer, flax_nnx.Param)))


def _picture(ci: int, co: int, k: int, groups: int, section: Section) -> None:
    layer = _layer(ci, co, k, groups)
    weight = convert.kernel_to_torch(layer.kernel, layer)
    section.check("filters = out_channels", weight.shape[0], co)
    section.check("kernels in each filter = in_channels / groups", weight.shape[1], ci // groups)
    section.check(
        f"parameters = {ci // groups} x {co} x {k}^2", _count(layer), ci // groups * co * k * k
    )
    if groups > 1:
        ordinary = _count(_layer(ci, co, k, 1))
        section.check(
            f"share of the {ordinary} with groups=1", _count(layer) / ordinary, 1 / groups
        )
    section.check("channels that each filter reads", _reads(layer), _blocks(ci, co, groups))


def _reads(layer: nnx.Conv2d) -> list[list[int]]:
    """The input channels that change each output channel, from the Jacobian of the layer."""
    x = jnp.zeros((*layer.kernel_size, layer.in_channels), layer.kernel.dtype)
    jacobian = jax.jacobian(lambda x: layer(x).reshape(-1))(x)
    changed = np.abs(np.asarray(jacobian)).sum(axis=(1, 2)) > 0
    return [np.flatnonzero(row).tolist() for row in changed]


def _blocks(ci: int, co: int, groups: int) -> list[list[int]]:
    read, made = ci // groups, co // groups
    return [list(range(o // made * read, (o // made + 1) * read)) for o in range(co)]


def _rules(section: Section) -> None:
    for ci, co, groups, sentence in (
        (5, 8, 2, "in_channels must be divisible by groups"),
        (4, 7, 2, "out_channels must be divisible by groups"),
        (4, 8, 0, "groups must be a positive integer"),
    ):
        message = _message(lambda a=ci, b=co, g=groups: _layer(a, b, 3, g))
        text = f"Conv2d({ci}, {co}, 3, groups={groups}) -> {message}"
        section.check(text, message.split(":")[1].strip(), sentence)


def _message(build: Callable[[], Any]) -> str:
    try:
        build()
    except ValueError as error:
        return f"ValueError: {error}"
    return "no error: it was built"


def _formula(section: Section) -> None:
    for ci, co, k, groups in [picture[:4] for picture in PICTURES] + [(4, 8, 1, 2)]:
        layer = _layer(ci, co, k, groups)
        text = f"{ci} / {groups} x {co} x {k}^2, and {layer!r} holds"
        section.check(text, _count(layer), ci // groups * co * k**2)


def _experiment(section: Section) -> None:
    layer = _layer(4, 8, 1, 2)
    weight = np.arange(1, 17, dtype=np.float32).reshape(8, 2, 1, 1)
    kernel = convert.kernel_from_torch(weight, layer)
    layer.kernel[...] = jnp.asarray(kernel)
    back = convert.kernel_to_torch(layer.kernel, layer)
    section.check("parameters in total", _count(layer), 16)
    section.check("size of the Flax kernel", list(kernel.shape), [1, 1, 2, 8])
    section.check("size of torch's weight", list(back.shape), [8, 2, 1, 1])
    section.check("the weight holds", back.ravel().tolist(), [float(n) for n in range(1, 17)])
    section.check("there and back, bit for bit", back.tobytes(), weight.tobytes())

    ones = np.ones((1, 4, 1, 1), np.float32)
    last = ones.transpose(0, 2, 3, 1)
    section.check("size of the input of ones", list(ones.shape), [1, layer.in_channels, 1, 1])
    conv = jax.jit(lambda x, w: functions.conv2d(x, w, groups=2))
    _output(section, "jaxgroups.conv2d, jitted", conv(ones, weight))
    _output(section, "jaxgroups.nnx.Conv2d", _first(layer(last)))

    module = linen.Conv2d(8, 1, 1, groups=2, bias=False)
    variables = {"params": {"kernel": kernel}}
    _output(section, "jaxgroups.linen.Conv2d", _first(module.apply(variables, last)))
    _beside_torch(section, ones, back)


def _beside_torch(section: Section, ones: np.ndarray, weight: np.ndarray) -> None:
    try:
        import torch  # optional, beside the others only where it is installed
    except (ImportError, OSError) as error:  # OSError: installed, but its libraries do not load
        section.notes.append(f"without torch beside it, which cannot be imported: {error}")
        return
    theirs = torch.nn.Conv2d(4, 8, 1, 1, groups=2, bias=False)
    theirs.load_state_dict({"weight": torch.from_numpy(weight)})
    parameters = sum(prod(p.shape) for p in theirs.parameters())
    section.check("parameters of torch's layer", parameters, 16)
    _output(section, "torch.nn.Conv2d", theirs(torch.from_numpy(ones)).detach().numpy())


def _first(y: Any) -> np.ndarray:
    return np.asarray(y).transpose(0, 3, 1, 2)


def _output(section: Section, name: str, y: Any) -> None:
    y = np.asarray(y)
    section.check(f"{name}: output shape", list(y.shape), [1, 8, 1, 1])
    section.check(f"{name}: ones become", y.ravel().tolist(), ONES_TO_SUMS)
