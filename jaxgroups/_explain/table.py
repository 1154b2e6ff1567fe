"""Models and checkpoints as tables: rows, sums, and the reasons of refusals."""

from collections import Counter

from jaxgroups import _console
from jaxgroups._explain import measure
from jaxgroups._explain.fitted import Column, Report
from jaxgroups._explain.rows import LayerCost, OtherCost, TensorCost, Totals

WIDTH = 160  # of a text that no terminal limits
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(number: float) -> str:
    """A count with three digits and a unit: ``1.23 M``."""
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


_TIMED = (
    "ms: convolutions alone, on random numbers; of limit: the shortest time that a product of "
    "matrices and a pass over memory, measured here, allow, over that time"
)


class Shown:
    """An explanation that is shown as a table: as text, as HTML, and by rich."""

    def rendered(self, by: str = "cost") -> Report:
        """The table sorted, for rich to print."""
        raise NotImplementedError

    def text(self, by: str = "cost", width: int = WIDTH) -> str:
        """The table sorted, without colours, with the columns that `width` has room for."""
        return _console.plain(self.rendered(by), width)

    def __str__(self) -> str:
        return self.text(width=_console.terminal_width(WIDTH))

    def __rich__(self) -> Report:
        return self.rendered()

    def _repr_html_(self) -> str:
        return _console.html(self.text())


def model(
    name: str, rows: tuple[LayerCost, ...], others: tuple[OtherCost, ...], totals: Totals
) -> Report:
    """A model: one row a layer, the sums, and why implementations were refused."""
    columns = (
        Column("layer", "left"),
        Column("type", "left", 3),
        Column("in → out", "right"),
        Column("groups", "right"),
        Column("kernel", "right", 6),
        Column("calls", "right", 4),
        Column("parameters", "right"),
        Column("MACs", "right"),
        Column("share", "right", 2),
        Column("groups=1", "right", 5),
        Column("operations", "right", 7),
        Column("bytes", "right", 1),
        Column("output", "right", 0),
        Column("implementation", "left"),
    )
    timed = any(row.seconds is not None for row in rows)
    if timed:
        columns += (Column("ms", "right"), Column("of limit", "right"))
    t = totals
    whole = t.macs or 1
    cells = [_cells(row, whole) + (_times(row) if timed else ()) for row in rows]
    for other in others:
        share = f"{100 * other.macs / whole:.1f}%"
        texts = (f"({other.operation})", "outside of layers", "", "", "", str(other.calls), "")
        operations = short(2 * other.macs)
        ends = ("",) * (len(columns) - 11)
        cells.append((*texts, short(other.macs), share, "", operations, *ends))
    saved = f"{short(t.macs_groups1)} ({t.macs_groups1 / whole:.3g}x)"
    sums = (f"{t.parameters:,}", short(t.macs), "100%", saved, short(t.operations))
    whole_time = (_milliseconds(sum(row.seconds or 0 for row in rows)), "") if timed else ()
    cells.append(("total", name, "", "", "", "", *sums, short(t.bytes_moved), "", "", *whole_time))
    lines = [
        f"FLOPs {t.flops:,}, padding counted as data (torch's flop counter); {t.flops_inside:,} "
        "without padding (XLA's cost analysis of convolutions and matrix products)",
        f"parameters {t.parameters:,}, with groups=1 {t.parameters_groups1:,}; "
        f"{t.parameters_listed:,} of them in the listed layers",
        *_reasons(rows),
        *([_TIMED] if timed else []),
    ]
    return Report(columns, tuple(cells), tuple(lines))


def _cells(row: LayerCost, whole: int) -> tuple[str, ...]:
    saving = row.macs_groups1 / row.macs if row.macs else 1
    beside = f"{short(row.macs_groups1)} ({saving:.3g}x)" if row.groups > 1 else ""
    groups = "" if row.macs == 0 else str(row.groups)
    return (
        row.path,
        row.layer,
        f"{row.in_channels} → {row.out_channels}",
        groups,
        "×".join(map(str, row.kernel_size)),
        str(row.calls),
        f"{row.parameters:,}",
        short(row.macs),
        f"{100 * row.macs / whole:.1f}%",
        beside,
        short(row.operations),
        short(row.bytes_moved),
        "×".join(map(str, row.output_shape)),
        row.implementation or "",
    )


def _times(row: LayerCost) -> tuple[str, str]:
    """The time of the calls, and how much of the limit that is."""
    if row.seconds is None:
        return "", ""
    return _milliseconds(row.seconds), measure.share(row.seconds, row.limit_seconds)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


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
    columns = (
        Column("tensor", "left"),
        Column("shape", "left"),
        Column("dtype", "left"),
        Column("filters", "right", 2),
        Column("kernels each", "right", 1),
        Column("kernel", "right", 3),
        Column("elements", "right", 4),
        Column("bytes", "right"),
    )
    cells = [
        (
            row.name,
            str(row.shape),
            row.dtype,
            "" if row.filters is None else str(row.filters),
            "" if row.kernels_per_filter is None else str(row.kernels_per_filter),
            "×".join(map(str, row.kernel_size or ())),
            f"{row.elements:,}",
            short(row.bytes),
        )
        for row in rows
    ]
    cells.append(("total", format, "", "", "", "", f"{elements:,}", short(bytes)))
    return Report(columns, tuple(cells), (note,))
