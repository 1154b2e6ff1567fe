"""A report as lines of text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks import report

HEADER = (
    f"{'layer':<48} {'n':>2} {'torch ms':>9}  {'lax':>9} {'jaxgroups':>9} {'lowering':<14} "
    f"{'/torch':>6} {'/lax':>6} {'min t':>9} {'min j':>9} {'GF/s t':>6} {'GF/s j':>6} {'limit':>5} "
    f"{'iqr':>6} {'others':>6} {'error':>7} {'compile s':>11} {'scratch MB':>13}"
)
_LETTER = {"contiguous": "c", "channels_last": "l"}
LEGEND = (
    "ms: time of one call; c or l: torch's faster layout, contiguous or channels last; lowering: "
    "that of jaxgroups; min: the least sample of torch and jaxgroups, ms; GF/s: GFLOP/s of torch "
    "and jaxgroups; limit: the shortest time that the measured limits allow, over jaxgroups' time; "
    "iqr: the largest interquartile range over the median; others: share of the cores that other "
    "programs used; error: the largest, relative to torch; compile and scratch: lax, jaxgroups"
)


def _number(value: float | None, width: int, digits: int = 2) -> str:
    if value is None:
        return f"{'-':>{width}}"
    if value >= 100:
        digits = min(digits, 1)
    elif 0 < value < 0.1:
        digits = 3
    return f"{value:>{width}.{digits}f}"


def _percent(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.0%}':>{width}}"


def _milliseconds(entry: Mapping | None, statistic: str = "seconds") -> str:
    return _number(None if entry is None else entry[statistic] * 1e3, 9, 3)


def row_lines(row: report.Row, limits: Mapping | None = None) -> Iterator[str]:
    """A line for the row, one for each other contestant, and one for each absent contestant."""
    entries = row["contestants"]
    torch = [name for name in entries if report.is_torch(name)]
    best = min(torch, key=lambda name: entries[name]["seconds"], default=None)
    letter = _LETTER[entries[best]["layout"]] if best else " "
    lax, ours = entries.get("lax"), entries.get("jaxgroups")
    ratio, rate = report.ratios(row), report.rates(row) if row["flops"] else {}
    pair = [e for e in (lax, ours) if e]
    compiled = "/".join(f"{e['compile_seconds']:.2f}" for e in pair if "compile_seconds" in e)
    scratch = "/".join(f"{e['temp_bytes'] / 1e6:.1f}" for e in pair if "temp_bytes" in e)
    share = report.share_of_limit(row, limits)
    yield (
        f"{report.label(row)[:48]:<48} {row['batch']:>2} "
        f"{_milliseconds(entries[best] if best else None)}{letter} "
        f"{_milliseconds(lax)} {_milliseconds(ours)} "
        f"{','.join(ours.get('lowerings', ())) if ours else '-':<14} "
        f"{_number(ratio.get('jaxgroups/torch'), 6)} {_number(ratio.get('jaxgroups/lax'), 6)} "
        f"{_milliseconds(entries[best] if best else None, 'min')} {_milliseconds(ours, 'min')} "
        f"{_number(rate.get('torch'), 6, 1)} {_number(rate.get('jaxgroups'), 6, 1)} "
        f"{_percent(share, 5)} "
        f"{max((e['iqr'] for e in entries.values()), default=0):>6.0%} "
        f"{_percent(row['others'], 6)} "
        f"{max((e['error'] for e in entries.values()), default=0):>7.0e} "
        f"{compiled or '-':>11} {scratch or '-':>13}"
    )
    for name, entry in entries.items():
        if name not in ("lax", "jaxgroups") and not report.is_torch(name):
            over = ratio.get(f"{name}/rival")
            yield (
                f"    {name:<47} {_milliseconds(entry):>34}"
                f" {_number(ratio.get(f'{name}/torch'), 21)}"
                f" {_number(ratio.get(f'{name}/lax'), 6)}"
                f" {'':>9} {_milliseconds(entry, 'min')}"
                f"   compiled in {entry['compile_seconds']:.2f} s"
                + ("" if over is None else f"; {over:.2f} of the rival's time")
            )
    if (over := ratio.get("jaxgroups/rival")) is not None:
        yield f"    jaxgroups takes {over:.2f} of the faster rival's time"
    for name, reason in row["absent"].items():
        yield f"    {name}: not measured: {reason}"


def summary_lines(summary: Iterable[Mapping], limits: Mapping | None = None) -> Iterator[str]:
    """A line for each group: geometric mean and worst of each ratio, mean GFLOP/s."""
    previous, names = None, []
    for item in summary:
        if (item["mode"], item["batch"]) != previous:
            previous = item["mode"], item["batch"]
            names = list(item["ratios"])
            yield ""
            yield (
                f"{item['mode']}, batch {item['batch']}: geometric mean (worst) of "
                + ", ".join(names)
                + "; GFLOP/s"
                + (f" of {limits['gflops']:.0f}" if limits else "")
            )
        cells = [f"  {item['group']:<24} {item['rows']:>4}"]
        for name in names:
            found = item["ratios"].get(name)
            cell = (
                "-"
                if found is None
                else f"{_number(found['mean'], 1)} ({_number(found['worst'], 1)})"
            )
            cells.append(f"{cell:>18}")
        cells += [f"{name} {value:.1f}" for name, value in item["gflops"].items()]
        yield "  ".join(cells)
        main = item["ratios"].get("jaxgroups/torch")
        if item["group"] == "all" and main and item["rows"] > 1:
            yield f"  worst of jaxgroups/torch: {main['worst_layer']}"


def warning_lines(rows: Sequence[report.Row], shown: int = 5) -> Iterator[str]:
    """Warnings: rows slower than lax, slow to compile, or measured while disturbed."""
    slower, slow = report.slower_than_lax(rows), report.slow_to_compile(rows)
    for what, unit, found in (
        ("more than 1.1 times lax's time", "", slower),
        ("more than twice lax's time plus 0.5 s to compile", " s", slow),
    ):
        if found:
            worst = ", ".join(f"{place} ({value:.2f}{unit})" for value, place in found[:shown])
            yield f"jaxgroups takes {what} in {len(found)} of {len(rows)} rows: {worst}" + (
                ", ..." if len(found) > shown else ""
            )
    if (count := report.disturbed(rows)) > 0:
        yield (
            f"{count} of {len(rows)} rows were measured while other programs used more than 5% of "
            "the cores. This slows PyTorch most, so the ratios are not reliable"
        )
