"""Tables fit the width they are given; what is left out or shortened is listed."""

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from support.command import run

import jaxgroups as jg
from jaxgroups._console import plain
from jaxgroups._explain.fitted import Column, Report

MODEL = "support.explained_models:Convolutions"
WIDTHS = (60, 80, 100, 120, 160)


class Deep(nnx.Module):
    """A layer under a long path."""

    def __init__(self, rngs):
        self.encoder = nnx.Dict(
            feature_extractor=nnx.Dict(
                stage_with_a_long_name=nnx.Dict(
                    pointwise=nnx.Conv(3, 512, (1, 1), rngs=rngs),
                    depthwise=nnx.Conv(512, 512, (3, 3), feature_group_count=512, rngs=rngs),
                )
            )
        )

    def __call__(self, x):
        layers = self.encoder.feature_extractor.stage_with_a_long_name
        return layers.depthwise(layers.pointwise(x))


@pytest.fixture(scope="module")
def deep():
    return jg.explain(Deep(nnx.Rngs(0)), (1, 56, 56, 3))


def headings(text):
    return text.splitlines()[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_width(deep, width):
    lines = deep.text(width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 76)
    for name in ("layer", "in → out", "groups", "parameters", "MACs", "implementation"):
        assert name in lines[0]
    rows = [line for line in lines if " 512 " in line and "→" in line]
    assert [row.split("  ")[0][-9:] for row in rows] == ["depthwise", "pointwise"]
    assert any(str(512 * 9 + 512) in row.replace(",", "") for row in rows)


def test_what_is_left_out_is_listed(deep):
    wide = deep.text(width=200)
    assert "left out" not in wide
    assert "encoder.feature_extractor.stage_with_a_long_name.depthwise " in wide
    narrow = deep.text(width=80)
    assert "…" in narrow
    assert "stage_with_a_long_name.depthwise " not in narrow
    listed = narrow[narrow.index("left out at a width of 80: ") :]
    names = (
        listed.removeprefix("left out at a width of 80: ").replace("\n", " ").strip().split(", ")
    )
    assert "bytes" in names
    assert not any(name in headings(narrow) for name in names)
    assert set(names) | set(headings(narrow).replace("in → out", "").split()) == set(
        headings(wide).replace("in → out", "").split()
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_checkpoint(tmp_path, width):
    path = tmp_path / "a.safetensors"
    name = "model.encoder.layers.11.attention.self.query_projection.weight"
    save_file({name: np.zeros((8, 2, 3, 3), "float32"), "b": np.zeros(3, "float32")}, path)
    lines = jg.explain(path).text(width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("_projection.weight  (8, 2, 3, 3)  float32" in line for line in lines)


def test_columns_go_in_the_order_of_need():
    def shown(width):
        columns = (Column("name", "left"), Column("aa", "left", 2), Column("bb", "right", 1))
        report = Report((*columns, Column("cc", "right")), (("n" * 20, "1", "2", "3"),), ())
        return plain(report, width).splitlines()

    assert shown(80)[0].split() == ["name", "aa", "bb", "cc"]
    assert shown(28)[0].split() == ["name", "aa", "bb", "cc"]
    assert shown(28)[1].split() == ["…" + "n" * 15, "1", "2", "3"]
    assert shown(27)[0].split() == ["name", "aa", "cc"]
    assert shown(23)[0].split() == ["name", "cc"]
    assert shown(10)[1].split() == ["…" + "n" * 15, "3"]
    assert shown(10)[-1] == "bb"


@pytest.mark.parametrize(("columns", "longest"), [("80", 80), ("100", 100), (None, 1000)])
def test_the_command_fits_the_terminal(capsys, monkeypatch, columns, longest):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    status, out, _ = run(capsys, "explain", MODEL, "--example", "2,33,35,3")
    assert status == 0
    assert max(map(len, out.splitlines())) <= longest
    assert ("left out" in out) == (columns is not None)


def test_a_text_fits_the_terminal(deep, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert str(deep) == deep.text(width=90)
