"""Models and checkpoints as tables, drawn with rich: rows, sums, and the reasons of refusals."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxgroups import _console
from jaxgroups._explain.rows import LayerCost, OtherCost, TensorCost, Totals
from jaxgroups._printable import printable

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(number: float) -> str:
    """A count with three digits and a unit: ``1.23 M``."""
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


@dataclass(frozen=True)
class Report:
    """A table and the lines below it, for rich; the table is never cut to the terminal's width."""

    table: Any
    lines: tuple[str, ...]

    def __rich_console__(self, printer: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        free = options.update(max_width=1000)
        yield from printer.render(self.table, free)
        yield Text()
        for line in self.lines:
            yield Text(printable(line))


class Shown:
    """An explanation that is shown as a table: as text, as HTML, and by rich."""

    def rendered(self, by: str = "cost") -> Report:
        """The table sorted, for rich to print."""
        raise NotImplementedError

    def text(self, by: str = "cost", width: int = 140) -> str:
        """The table sorted, without colours."""
        return _console.plain(self.rendered(by), width)

    def __str__(self) -> str:
        return self.text()

    def __rich__(self) -> Report:
        return self.rendered()

    def _repr_html_(self) -> str:
        return _console.html(self.text())


def _grid(*columns: tuple[str, str]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore
    return table


def _add(table: Any, *cells: str, style: str | None = None) -> None:
    """A row of plain text: rich would read ``[red]`` in a name as a colour."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def model(
    name: str, rows: tuple[LayerCost, ...], others: tuple[OtherCost, ...], totals: Totals
) -> Report:
    """A model: one row a layer, the sums, and why implementations were refused."""
    table = _grid(
        ("layer", "left"),
        ("type", "left"),
        ("in → out", "right"),
        ("groups", "right"),
        ("kernel", "right"),
        ("calls", "right"),
        ("parameters", "right"),
        ("MACs", "right"),
        ("share", "right"),
        ("groups=1", "right"),
        ("bytes", "right"),
        ("implementation", "left"),
    )
    t = totals
    whole = t.macs or 1
    for row in rows:
        _add(table, *_cells(row, whole))
    for other in others:
        share = f"{100 * other.macs / whole:.1f}%"
        texts = (f"({other.operation})", "outside of layers", "", "", "", str(other.calls), "")
        _add(table, *texts, short(other.macs), share)
    saved = f"{short(t.macs_groups1)} ({t.macs_groups1 / whole:.3g}x)"
    sums = (f"{t.parameters:,}", short(t.macs), "100%", saved, short(t.bytes_moved), "")
    _add(table, "total", name, "", "", "", "", *sums, style="bold")
    lines = [
        f"FLOPs {t.flops:,}, padding counted as data (torch's flop counter); {t.flops_inside:,} "
        "without padding (XLA's cost analysis of convolutions and matrix products)",
        f"parameters {t.parameters:,}, with groups=1 {t.parameters_groups1:,}; "
        f"{t.parameters_listed:,} of them in the listed layers",
        *_reasons(rows),
    ]
    return Report(table, tuple(lines))


def _cells(row: LayerCost, whole: int) -> list[str]:
    saving = row.macs_groups1 / row.macs if row.macs else 1
    beside = f"{short(row.macs_groups1)} ({saving:.3g}x)" if row.groups > 1 else ""
    return [
        row.path,
        row.layer,
        f"{row.in_channels} → {row.out_channels}",
        str(row.groups),
        "×".join(map(str, row.kernel_size)),
        str(row.calls),
        f"{row.parameters:,}",
        short(row.macs),
        f"{100 * row.macs / whole:.1f}%",
        beside,
        short(row.bytes_moved),
        row.implementation or "",
    ]


def _reasons(layers: tuple[LayerCost, ...]) -> list[str]:
    """Every reason once, with the number of layers."""
    refusals = Counter((name, why) for row in layers for name, why in row.refused.items())
    notes = Counter(row.note for row in layers if row.note)

    def of(count: int) -> str:
        return f"{count} layer{'' if count == 1 else 's'}"

    lines = [f"not {name}, {of(n)}: {why}" for (name, why), n in refusals.most_common()]
    return lines + [f"{of(n)}: {note}" for note, n in notes.most_common()]


def checkpoint(
    format: str, rows: tuple[TensorCost, ...], elements: int, bytes: int, note: str
) -> Report:
    """A checkpoint: one row a tensor, and the sums."""
    table = _grid(
        ("tensor", "left"),
        ("shape", "left"),
        ("dtype", "left"),
        ("filters", "right"),
        ("kernels each", "right"),
        ("kernel", "right"),
        ("elements", "right"),
        ("bytes", "right"),
    )
    for row in rows:
        _add(
            table,
            row.name,
            str(row.shape),
            row.dtype,
            "" if row.filters is None else str(row.filters),
            "" if row.kernels_per_filter is None else str(row.kernels_per_filter),
            "×".join(map(str, row.kernel_size or ())),
            f"{row.elements:,}",
            short(row.bytes),
        )
    sums = (f"{elements:,}", short(bytes))
    _add(table, "total", format, "", "", "", "", *sums, style="bold")
    return Report(table, (note,))
