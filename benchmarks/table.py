"""Layers to measure, read from a CSV file, and the families of each layer."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxgroups import ConvSpec

HERE = Path(__file__).parent
OWN = (HERE / "layers.csv", HERE / "more_layers.csv")

_SIZES = {"d": "depth", "h": "height", "w": "width"}
_OPTIONAL = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
_LAYER = re.compile(r"Conv(Transpose)?([123])d")

# a layer belongs to one of the first five, and to any number of the others
FAMILIES = (
    "depthwise",
    "small groups",
    "wide groups",
    "1x1",
    "dense",
    "strided",
    "dilated",
    "transposed",
    "1-D",
    "3-D",
)


class TableError(ValueError):
    """A CSV file without valid layers; the message has the line."""


@dataclass(frozen=True)
class Layer:
    """A convolution of a network. `batch`, if it is set, replaces the requested batches."""

    table: str
    model: str
    spec: ConvSpec  # channels_last, no bias, input unknown
    size: tuple[int, ...]
    batch: int | None = None

    def problem(self, batch: int, dtype: str = "float32") -> ConvSpec:
        """The spec with its input."""
        return self.spec.with_input((batch, *self.size, self.spec.in_channels), dtype)

    def batches(self, asked: Iterable[int]) -> tuple[int, ...]:
        return tuple(asked) if self.batch is None else (self.batch,)

    def matches(self, pattern: str | None) -> bool:
        """Whether a regular expression matches the model, the descriptor or a family."""
        text = f"{self.model} {self.problem(self.batch or 1)} {' '.join(families(self.spec))}"
        return pattern is None or re.search(pattern, text, re.IGNORECASE) is not None


def families(spec: ConvSpec) -> tuple[str, ...]:
    """The FAMILIES that a layer belongs to.

    >>> families(ConvSpec.parse("conv2d in=8 out=8 kernel=3 stride=2 groups=8"))
    ('depthwise', 'strided')
    """
    pointwise = all(k == 1 for k in spec.kernel_size)
    if spec.groups == 1:
        first = "1x1" if pointwise else "dense"
    elif spec.depthwise:
        first = "depthwise"
    elif pointwise:
        first = "1x1"
    else:
        first = "small groups" if spec.in_channels // spec.groups <= 4 else "wide groups"
    holds = {
        first: True,
        "strided": max(spec.stride) > 1 and not spec.transposed,
        "dilated": max(spec.dilation) > 1,
        "transposed": spec.transposed,
        "1-D": spec.rank == 1,
        "3-D": spec.rank == 3,
    }
    return tuple(family for family in FAMILIES if holds.get(family))


def read(path: str | Path) -> list[Layer]:
    """The layers of a CSV file, one a line.

    Columns: ``model, layer, in_channels, out_channels, groups``, sizes ``height, width`` and
    ``kernel_h, kernel_w``, then optionally ``stride_*, padding_*, output_padding_*, dilation_*``
    and ``batch``. A 1-D layer uses only ``width`` and ``_w``, a 3-D layer also ``depth`` and
    ``_d``. Other columns are ignored.

    Raises:
      TableError: no such file, a missing column, or a line that is not a convolution.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            layers = [_layer(path, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not layers:
        raise TableError(f"{path}: the file has no layers")
    return layers


def _layer(path: Path, line: int, row: dict[str, str]) -> Layer:
    try:
        found = _LAYER.fullmatch(_cell(row, "layer"))
        if found is None:
            raise ValueError(f"layer must be a name such as Conv2d, got {row['layer']!r}")
        transposed, rank = found[1] is not None, int(found[2])
        axes = "dhw"[3 - rank :]

        def along(name: str) -> tuple[int, ...]:
            default = _OPTIONAL.get(name)
            return tuple(_number(row, f"{name}_{axis}", default) for axis in axes)

        settings = {name: along(name) for name in _OPTIONAL if transposed or "output" not in name}
        spec = ConvSpec.of(
            f"conv{'_transpose' if transposed else ''}{rank}d",
            _number(row, "in_channels"),
            _number(row, "out_channels"),
            along("kernel"),
            groups=_number(row, "groups"),
            bias=False,
            data_format="channels_last",
            **settings,
        )
        size = tuple(_number(row, _SIZES[axis]) for axis in axes)
        batch = _number(row, "batch", 0) or None
        layer = Layer(path.stem, _cell(row, "model"), spec, size, batch)
        layer.problem(batch or 1)
    except (ValueError, TypeError) as error:
        raise TableError(f"{path}:{line}: {error}") from error
    return layer


def _cell(row: dict[str, str], column: str, default: int | None = None) -> str:
    value = (row.get(column) or "").strip()
    if value:
        return value
    if default is not None:
        return str(default)
    raise ValueError(f"{column} is empty" if column in row else f"column {column} is missing")


def _number(row: dict[str, str], column: str, default: int | None = None) -> int:
    text = _cell(row, column, default)
    if not text.isdecimal():
        raise ValueError(f"{column} must be an integer, got {text!r}")
    return int(text)
