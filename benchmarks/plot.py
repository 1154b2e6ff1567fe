"""A report as a picture: the time of every layer over torch's."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import report

COLOURS = {"lax": "#9a9a9a", "jaxgroups": "#1f5fbf"}
MARKERS = "osD^v<>P*X"


def save(rows: Sequence[report.Row], path: str | Path, caption: str) -> None:
    """A panel for each mode and batch; a row for each layer, by family and ratio; log scale."""
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit(f"--plot needs matplotlib: {error}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row["mode"], row["batch"]) for row in rows))
    if not panels:
        return
    tallest = max(sum((r["mode"], r["batch"]) == panel for r in rows) for panel in panels)
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(2 + 6 * len(panels), 2 + 0.16 * tallest),
        squeeze=False,
        layout="constrained",
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        part = [row for row in rows if (row["mode"], row["batch"]) == panel]
        part.sort(key=_place, reverse=True)
        by_name: dict[str, list[tuple[float, int]]] = {}
        for line, row in enumerate(part):
            for name, value in report.ratios(row).items():
                contestant, _, base = name.partition("/")
                if base == "torch":
                    by_name.setdefault(contestant, []).append((value, line))
        for i, (name, points) in enumerate(by_name.items()):
            mean = report.geometric_mean(value for value, _ in points)
            axis.scatter(
                *zip(*points, strict=True),
                s=14,
                marker=MARKERS[i % len(MARKERS)],
                color=COLOURS.get(name),
                label=f"{name} (mean {mean:.2f})",
            )
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_yticks(range(len(part)), [report.label(row) for row in part], fontsize=6)
        axis.set_ylim(-1, len(part))
        axis.grid(axis="x", which="both", alpha=0.3)
        axis.set_xlabel("time / PyTorch's time, better layout (left of 1: faster)")
        axis.set_title(f"{panel[0]}, batch {panel[1]}")
        if by_name:
            axis.legend(fontsize=7)
    figure.suptitle(caption, fontsize=7)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _place(row: report.Row) -> tuple:
    family = row.get("families") or [""]
    value = report.ratios(row).get("jaxgroups/torch", 0.0)
    order = report.FAMILIES.index(family[0]) if family[0] in report.FAMILIES else -1
    return order, value
