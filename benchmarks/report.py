"""Ratios and geometric means of rows. Pure functions: no clock, no arrays."""

from collections.abc import Iterable, Iterator, Mapping
from math import exp, log

from benchmarks.table import FAMILIES

Row = Mapping
RIVALS = ("onnxruntime", "openvino")


def geometric_mean(values: Iterable[float]) -> float:
    """The mean for ratios: twice as slow and twice as fast cancel.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    logs = [log(value) for value in values]
    if not logs:
        raise ValueError("geometric mean of no values")
    return exp(sum(logs) / len(logs))


def seconds(row: Row) -> dict[str, float]:
    """Seconds by contestant; ``torch`` is the faster of its two layouts."""
    found = {name: entry["seconds"] for name, entry in row["contestants"].items()}
    torch = [value for name, value in found.items() if is_torch(name)]
    others = {name: value for name, value in found.items() if not is_torch(name)}
    return ({"torch": min(torch)} if torch else {}) | others


def is_torch(name: str) -> bool:
    """Whether a contestant is PyTorch, eager, in one of its layouts."""
    return name.startswith("torch ")


def ratios(row: Row) -> dict[str, float]:
    """Times over torch's and over lax's, with keys such as ``jaxgroups/torch``.

    Those of jaxgroups are also over ``rival``, the faster of ONNX Runtime and OpenVINO.
    """
    times = seconds(row)
    ours = [name for name in times if name.startswith(("jaxgroups", "without_kernels"))]
    rivals = [times[name] for name in RIVALS if name in times]
    bases = (
        ("torch", times.get("torch"), [name for name in times if name != "torch"]),
        ("lax", times.get("lax"), ours),
        ("rival", min(rivals, default=None), ours),
    )
    return {
        f"{name}/{base}": times[name] / of_base
        for base, of_base, names in bases
        if of_base is not None
        for name in names
    }


def rates(row: Row) -> dict[str, float]:
    """GFLOP/s by contestant."""
    return {name: row["flops"] / value / 1e9 for name, value in seconds(row).items()}


def share_of_limit(row: Row, limits: Mapping | None, name: str = "jaxgroups") -> float | None:
    """The shortest time that the machine's limits allow, over the measured time.

    Small layers can exceed 1, because data in the caches do not need the memory's bandwidth.
    """
    times = seconds(row)
    if limits is None or name not in times or not row.get("bytes"):
        return None
    arithmetic = row["flops"] / limits["gflops"]
    return max(arithmetic, row["bytes"] / limits["copy_gbytes"]) / 1e9 / times[name]


def groups(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """All rows, then those of each family, then those of each table if there are several."""
    yield "all", rows
    for family in FAMILIES:
        chosen = [row for row in rows if family in row.get("families", ())]
        if chosen and len(chosen) < len(rows):
            yield family, chosen
    tables = list(dict.fromkeys(row.get("table") for row in rows))
    for table in tables if len(tables) > 1 else ():
        yield f"table {table}", [row for row in rows if row.get("table") == table]


def summary(rows: Iterable[Row]) -> list[dict]:
    """By mode, batch and group: geometric mean and worst of every ratio; mean GFLOP/s.

    The mean of a ratio is over the layers that both sides ran; ``layers`` is their number.
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


def slower_than_lax(rows: Iterable[Row], bound: float = 1.1) -> list[tuple[float, str]]:
    """Rows where jaxgroups takes more than `bound` times as long as lax, the worst first."""
    found = [(ratios(row).get("jaxgroups/lax", 0.0), where(row)) for row in rows]
    return sorted((pair for pair in found if pair[0] > bound), reverse=True)


def slow_to_compile(rows: Iterable[Row]) -> list[tuple[float, str]]:
    """Rows whose compile time is more than twice lax's plus 0.5 s, the worst first."""
    found = []
    for row in rows:
        pair = [row["contestants"].get(name, {}) for name in ("lax", "jaxgroups")]
        lax, ours = (entry.get("compile_seconds") for entry in pair)
        if lax is not None and ours is not None and ours > 2 * lax + 0.5:
            found.append((ours, where(row)))
    return sorted(found, reverse=True)


def disturbed(rows: Iterable[Row], share: float = 0.05) -> int:
    """The number of rows during which other programs used more than `share` of the cores."""
    return sum((row.get("others") or 0) > share for row in rows)


def where(row: Row) -> str:
    return f"{label(row)} n{row['batch']} {row['mode']}"


def label(row: Row) -> str:
    """A short name of a layer: the words of its descriptor that differ between layers."""
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
