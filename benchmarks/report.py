"""Rows into ratios, geometric means and lines of text. Pure: no clock, no arrays."""

from collections.abc import Iterable, Iterator, Mapping
from math import exp, log

from benchmarks.table import FAMILIES

Row = Mapping


def geometric_mean(values: Iterable[float]) -> float:
    """The mean that treats twice as slow and twice as fast alike.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    logs = [log(value) for value in values]
    if not logs:
        raise ValueError("a mean of nothing")
    return exp(sum(logs) / len(logs))


def seconds(row: Row) -> dict[str, float]:
    """Seconds by contestant; ``torch`` is its better layout."""
    found = {name: entry["seconds"] for name, entry in row["contestants"].items()}
    torch = [value for name, value in found.items() if name.startswith("torch")]
    others = {name: value for name, value in found.items() if not name.startswith("torch")}
    return ({"torch": min(torch)} if torch else {}) | others


def ratios(row: Row) -> dict[str, float]:
    """Times of lax and of every jaxgroups over torch's and over lax's: ``jaxgroups/torch``."""
    times = seconds(row)
    return {
        f"{name}/{base}": times[name] / times[base]
        for base in ("torch", "lax")
        for name in times
        if base in times and name not in ("torch", base)
    }


def rates(row: Row) -> dict[str, float]:
    """GFLOP/s by contestant."""
    return {name: row["flops"] / value / 1e9 for name, value in seconds(row).items()}


def share_of_limit(row: Row, limits: Mapping | None, name: str = "jaxgroups") -> float | None:
    """The least time that the machine's limits allow, over the time taken.

    Data that stay in the caches move faster than memory can, so small layers may exceed 1.
    """
    times = seconds(row)
    if limits is None or name not in times or not row.get("bytes"):
        return None
    arithmetic = row["flops"] / limits["gflops"]
    return max(arithmetic, row["bytes"] / limits["copy_gbytes"]) / 1e9 / times[name]


def groups(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """All rows; those of each family that occurs; those of each table, where there are several."""
    yield "all", rows
    for family in FAMILIES:
        chosen = [row for row in rows if family in row.get("families", ())]
        if chosen and len(chosen) < len(rows):
            yield family, chosen
    tables = list(dict.fromkeys(row.get("table") for row in rows))
    for table in tables if len(tables) > 1 else ():
        yield f"table {table}", [row for row in rows if row.get("table") == table]


def summary(rows: Iterable[Row]) -> list[dict]:
    """By mode, batch and group: geometric means and the worst of every ratio; mean GFLOP/s.

    Only layers that both sides of a ratio ran are in its mean; ``layers`` tells how many.
    """
    rows = list(rows)
    result = []
    for mode, batch in dict.fromkeys((row["mode"], row["batch"]) for row in rows):
        part = [row for row in rows if (row["mode"], row["batch"]) == (mode, batch)]
        for group, chosen in groups(part):
            by_ratio: dict[str, list[tuple[float, str]]] = {}
            by_rate: dict[str, list[float]] = {}
            for row in chosen:
                for name, value in ratios(row).items():
                    by_ratio.setdefault(name, []).append((value, label(row)))
                for name, value in rates(row).items() if row["flops"] else ():
                    by_rate.setdefault(name, []).append(value)
            found = {
                name: {
                    "mean": geometric_mean(value for value, _ in values),
                    "worst": max(values)[0],
                    "worst_layer": max(values)[1],
                    "layers": len(values),
                }
                for name, values in by_ratio.items()
            }
            means = {name: geometric_mean(values) for name, values in by_rate.items()}
            result.append(
                {
                    "mode": mode,
                    "batch": batch,
                    "group": group,
                    "rows": len(chosen),
                    "ratios": found,
                    "gflops": means,
                }
            )
    return result


def disturbed(rows: Iterable[Row], share: float = 0.05) -> int:
    """How many rows were measured while other programs took more than a share of the cores."""
    return sum((row.get("others") or 0) > share for row in rows)


def label(row: Row) -> str:
    """A layer in few characters: the spelling's words that tell it from its neighbours."""
    if "spec" not in row:
        return row["model"]
    op, *words = row["spec"].split()
    values = dict(word.split("=") for word in words)
    text = op.replace("conv_transpose", "T").replace("conv", "")
    text += f" {values['in']}"
    if values["out"] != values["in"]:
        text += f">{values['out']}"
    for word, letter in (
        ("kernel", "k"),
        ("stride", "s"),
        ("dilation", "d"),
        ("groups", "g"),
    ):
        if word in values:
            text += f" {letter}{values[word]}"
    return f"{row['model'][:22]} {text} @{values['size']}"
