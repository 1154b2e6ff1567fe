"""The published figures: ``python -m benchmarks.results`` draws their chart and prints their table.

The figures are in ``results.json``, with the commands and the commit that gave them; the chart is
``docs/pictures/benchmarks.svg``. With ``--measure`` the figures are measured first, which takes
hours.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import log10
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks import machine, report

HERE = Path(__file__).parent
DATA = HERE / "results.json"
CHART = HERE.parent / "docs" / "pictures" / "benchmarks.svg"

COLUMNS = {
    "lax": "XLA alone",
    "jaxgroups": "jaxgroups",
    "tuned": "jaxgroups, tuned",
    "without_kernels": "jaxgroups without C++ kernels",
}
# the contestants of a column, where they are not its name; a row has one of them at most
CONTESTANTS = {"tuned": ("jaxgroups-optimize", "jaxgroups-keep_memory")}
# title of a row -> the report that has it, its mode, and a network; None: mean of all
ROWS: Mapping[str, tuple[str, str, str | None]] = {
    "89 layers of 10 networks, forward": ("ops", "forward", None),
    "the same 89 layers, both gradients": ("ops", "gradients", None),
    "MobileNetV2, inference": ("inference", "inference", "mobilenetv2_w1"),
    "EfficientNet-B0, inference": ("inference", "inference", "efficientnet_b0"),
    "ShuffleNetV2, inference": ("inference", "inference", "shufflenetv2_w1"),
    "ResNeXt-50 32x4d, inference": ("inference", "inference", "resnext50_32x4d"),
    "eight networks, training step": ("training", "training", None),
}
# report -> the benchmark and its arguments
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "ops": (
        "ops", "benchmarks/layers.csv", "--limit", "2",
        "--contestants", "torch", "lax", "jaxgroups", "without_kernels",
    ),
    "inference": (
        "models", "--mode", "inference", "--model", "all",
        "--contestants", "torch", "torch-compile", "onnxruntime", "openvino", "lax", "jaxgroups",
        "jaxgroups-optimize", "without_kernels",
    ),
    "training": (
        "models", "--mode", "training", "--model", "all",
        "--contestants", "torch", "jaxgroups", "jaxgroups-keep_memory", "without_kernels",
    ),
}  # fmt: skip
# contestants of the table of networks
NETWORK_COLUMNS = {
    "torch": "PyTorch",
    "torch-compile": "torch.compile, freezing",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "lax": "XLA alone",
    "jaxgroups": "jaxgroups",
    "jaxgroups-optimize": "jaxgroups.optimize",
    "jaxgroups-keep_memory": "jaxgroups.keep_memory",
    "without_kernels": "jaxgroups without C++ kernels",
}
NETWORK_NAMES = {
    "mobilenetv2_w1": "MobileNetV2",
    "mnasnet_b1": "MNASNet",
    "mobilenetv3_large_w1": "MobileNetV3 Large",
    "efficientnet_b0": "EfficientNet-B0",
    "shufflenetv2_w1": "ShuffleNetV2",
    "regnetx002": "RegNetX-200MF",
    "resnet50b": "ResNet-50",
    "resnext50_32x4d": "ResNeXt-50 32x4d",
}
Figures = dict[str, dict[str, float]]  # column -> batch -> time over PyTorch's


def read(path: Path = DATA) -> dict:
    """``machines``: a sentence for each column; ``rows``: title -> `Figures`.

    Measured by the commands of this file, also ``commands``, ``commit``, and ``networks``: mode ->
    network -> contestant -> batch -> milliseconds.
    """
    return json.loads(path.read_text(encoding="utf-8"))


# --- from reports ---------------------------------------------------------------------------------


def figures(found: Mapping, mode: str, network: str | None) -> Figures:
    """The times over PyTorch's in a report that ``--json`` wrote."""
    result: Figures = {}
    if network is None:
        items = [i for i in found["summary"] if (i["mode"], i["group"]) == (mode, "all")]
        means = [(i["batch"], {n: r["mean"] for n, r in i["ratios"].items()}) for i in items]
    else:
        rows = [r for r in found["rows"] if (r["mode"], r["model"]) == (mode, network)]
        means = [(row["batch"], report.ratios(row)) for row in rows]
    for batch, ratios in means:
        for column in COLUMNS:
            for name in CONTESTANTS.get(column, (column,)):
                if f"{name}/torch" in ratios:
                    value = float(f"{ratios[f'{name}/torch']:.2g}")
                    result.setdefault(column, {})[str(batch)] = value
    return result


def milliseconds(found: Mapping) -> dict[str, Figures]:
    """Network -> contestant -> batch -> ms of a call; ``torch`` is its better layout."""
    result: dict[str, Figures] = {}
    for row in found["rows"]:
        for name, value in report.seconds(row).items():
            of = result.setdefault(row["model"], {}).setdefault(name, {})
            of[str(row["batch"])] = float(f"{1e3 * value:.3g}")
    return result


def collect(reports: Mapping[str, Mapping]) -> dict:
    """The content of ``results.json``; `reports` has a report for each of COMMANDS."""
    on = "; ".join(machine.lines(reports["ops"]["machine"]))
    return {
        "machines": dict.fromkeys(COLUMNS, on),
        "commit": reports["ops"]["commit"],
        "commands": [
            shlex.join(["python", "-m", f"benchmarks.{benchmark}", *options])
            for benchmark, *options in COMMANDS.values()
        ],
        "rows": {
            title: figures(reports[name], mode, network)
            for title, (name, mode, network) in ROWS.items()
        },
        "networks": {mode: milliseconds(reports[mode]) for mode in ("inference", "training")},
    }


def measure() -> dict:
    """Run COMMANDS, each in a new process.

    Raises:
      SystemExit: the files of the checkout changed between two commands.
    """
    reports: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (benchmark, *options) in COMMANDS.items():
            out = Path(folder, f"{name}.json")
            command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options]
            subprocess.run([*command, "--json", str(out)], cwd=HERE.parent, check=True)
            reports[name] = json.loads(out.read_text(encoding="utf-8"))
    commits = {found["commit"] for found in reports.values()}
    if len(commits) > 1:
        raise SystemExit(f"measured at several commits: {', '.join(sorted(map(str, commits)))}")
    if any(str(commit).endswith("+") for commit in commits):
        print("MEASURED WITH UNCOMMITTED CHANGES: the commit does not have the files that ran")
    return collect(reports)


# --- as text and as a picture ---------------------------------------------------------------------


def table(results: Mapping, batches: Sequence[str] = ("1",)) -> Iterator[str]:
    """The lines of a Markdown table; a cell has one figure for each batch."""
    yield f"| | {' | '.join(COLUMNS.values())} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for title, row in results["rows"].items():
        cells = []
        for column in COLUMNS:
            found = [f"{row[column][b]:g}" for b in batches if b in row.get(column, {})]
            cells.append(", ".join(found) or ("-" if column == "tuned" else "not measured"))
        yield f"| {title} | {' | '.join(cells)} |"


def network_table(
    results: Mapping, mode: str, batches: Sequence[str] = ("1", "4")
) -> Iterator[str]:
    """The lines of a Markdown table of milliseconds; nothing if no networks were measured."""
    networks = results.get("networks", {}).get(mode, {})
    columns = [name for name in NETWORK_COLUMNS if any(name in row for row in networks.values())]
    if not columns:
        return
    yield f"| | {' | '.join(NETWORK_COLUMNS[name] for name in columns)} |"
    yield "|---|" + "---|" * len(columns)
    for network, title in NETWORK_NAMES.items():
        row = networks.get(network)
        if row is None:
            continue
        cells = []
        for name in columns:
            found = [f"{row[name][b]:g}" for b in batches if b in row.get(name, {})]
            cells.append(", ".join(found) or "not measured")
        yield f"| {title} | {' | '.join(cells)} |"


COLOURS = {
    "lax": "#9a9a9a",
    "jaxgroups": "#0072b2",
    "tuned": "#009e73",
    "without_kernels": "#56b4e9",
}
LABELS, PLOT, MARGIN = 250, 430, 50  # widths in pixels: row titles, bars, right of them
BAR, GAP, TOP = 13, 12, 66
LOW, HIGH = 0.4, 100.0  # ends of the axis
FONT = "font-family=\"'DejaVu Sans', Verdana, Arial, sans-serif\""


def chart(results: Mapping, batch: str = "1") -> str:
    """An SVG with a bar for each figure, from 1 to its value, on a logarithmic axis."""

    def x(value: float) -> float:
        return LABELS + PLOT * (log10(value / LOW) / log10(HIGH / LOW))

    def text(left: float, top: float, words: str, more: str = "") -> str:
        return f'<text x="{left:.1f}" y="{top:.1f}" {more}>{escape(words)}</text>'

    step = len(COLUMNS) * BAR + GAP
    bottom = TOP + step * len(results["rows"])
    width, height = LABELS + PLOT + MARGIN, bottom + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {FONT} font-size="11" fill="#222222">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(12, 22, f"Time on a CPU over PyTorch's time, batch {batch}", 'font-weight="700"'),
    ]
    left = 12.0
    for column, title in COLUMNS.items():
        colour = COLOURS[column]
        lines.append(f'<rect x="{left:.1f}" y="34" width="11" height="11" fill="{colour}"/>')
        lines.append(text(left + 16, 44, title))
        left += 40 + 6.6 * len(title)
    for tick in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0):
        colour, at = "#222222" if tick == 1 else "#dddddd", x(tick)
        lines.append(
            f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{bottom}" stroke="{colour}"/>'
        )
        lines.append(text(at, bottom + 16, f"{tick:g}", 'text-anchor="middle"'))
    lines.append(text(x(1) - 6, bottom + 34, "\u2190 faster than PyTorch", 'text-anchor="end"'))
    lines.append(text(x(1) + 6, bottom + 34, "slower than PyTorch \u2192"))
    for i, (title, row) in enumerate(results["rows"].items()):
        top = TOP + i * step
        middle = top + len(COLUMNS) * BAR / 2 + 4
        lines.append(text(LABELS - 18, middle, title, 'text-anchor="end"'))
        for j, column in enumerate(COLUMNS):
            value = row.get(column, {}).get(batch)
            if value is None:
                continue
            end, y = x(value), top + j * BAR
            lines.append(
                f'<rect x="{min(end, x(1)):.1f}" y="{y + 1}" width="{abs(end - x(1)):.1f}" '
                f'height="{BAR - 2}" fill="{COLOURS[column]}"/>'
            )
            anchor = 'text-anchor="end" ' if value < 1 else ""
            label = end - 4 if value < 1 else end + 4
            lines.append(text(label, y + 10, f"{value:g}", f'{anchor}font-size="9.5"'))
    return "\n".join([*lines, "</svg>", ""])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help=f"run the benchmarks and write {DATA.name} first"
    )
    if parser.parse_args(argv).measure:
        content = json.dumps(measure(), indent=1, ensure_ascii=False)
        DATA.write_text(content + "\n", encoding="utf-8")
    results = read()
    CHART.write_text(chart(results), encoding="utf-8")
    for batches in (("1",), ("1", "4")):
        print("\n".join([f"batch {' and '.join(batches)}", *table(results, batches), ""]))
    for mode in ("inference", "training"):
        if lines := list(network_table(results, mode)):
            print("\n".join([f"{mode} in ms, batch 1 and 4", *lines, ""]))
    for column, title in COLUMNS.items():
        print(f"{title}: {results['machines'][column]}")
    for command in results.get("commands", ()):
        print(f"commit {results['commit']}: {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
