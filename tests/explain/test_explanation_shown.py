"""Results for people: one line of repr, a text, and HTML in a notebook."""

from html import escape

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from support.explained_models import Convolutions

import jaxgroups as jg
from jaxgroups import _console as console

CONV = "conv2d in=4 out=8 kernel=3 groups=2 batch=1 size=5"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "<model> & co.safetensors"
    save_file({"stem.weight": np.zeros((16, 3, 3, 3), "float32")}, file)
    return file


def results(path):
    layer = jg.nnx.Conv2d(4, 8, 3, groups=2, rngs=nnx.Rngs(0))
    return {
        "a convolution": jg.explain(CONV),
        "a layer": jg.explain("conv2d in=4 out=8 kernel=3"),
        "a model": jg.explain(Convolutions(rngs=nnx.Rngs(0)), (2, 33, 35, 3)),
        "a checkpoint": jg.explain(path),
        "a picture": jg.diagrams.draw(layer, weights=True),
    }


def test_a_repr_is_one_short_line_and_a_text_has_several(path, capsys):
    for name, result in results(path).items():
        assert repr(result).startswith("<"), name
        assert "\n" not in repr(result), name
        assert len(repr(result)) < 250 + len(str(path)), name
        assert len(str(result).splitlines()) >= 4, name
    assert capsys.readouterr() == ("", "")


def test_reprs(path):
    found = {name: repr(result) for name, result in results(path).items()}
    chosen = jg.explain(CONV).implementation
    assert found["a convolution"] == (
        f"<Explanation {CONV}: 152 parameters, 1,296 multiply-adds, {chosen}>"
    )
    assert found["a layer"] == "<Explanation conv2d in=4 out=8 kernel=3: 296 parameters>"
    assert found["a model"].startswith("<ModelExplanation Convolutions: ")
    assert found["a checkpoint"] == (
        f"<CheckpointExplanation {path}: 1 tensor, 432 elements, 1.73 kB>"
    )
    assert found["a picture"] == (
        "<Picture conv2d in=4 out=8 kernel=3 groups=2 data_format=channels_last, with weights>"
    )


def test_html_is_the_text_escaped(path):
    for name, result in results(path).items():
        if name != "a picture":  # shown as SVG
            assert result._repr_html_() == console.html(str(result)), name
    text = "a < b & c"
    assert escape(text) in console.html(text)
    assert text not in console.html(text)


def test_the_handle_of_accelerate():
    handle = jg.accelerate()
    try:
        assert handle.active
        assert repr(handle) == "<Acceleration on>"
        assert str(handle).startswith("lax.conv_general_dilated uses jaxgroups' implementations")
        assert escape(str(handle)) in handle._repr_html_()
    finally:
        handle.undo()
    assert not handle.active
    assert (repr(handle), str(handle)) == ("<Acceleration undone>", "this acceleration was undone")


def test_explain_takes_the_path_of_a_checkpoint_as_text(path, tmp_path):
    assert jg.explain(str(path)) == jg.explain(path)
    with pytest.raises(FileNotFoundError):
        jg.explain(str(tmp_path / "absent.safetensors"))
    with pytest.raises(ValueError, match=r"'model\.onnx' is neither a descriptor such as 'conv2d "):
        jg.explain("model.onnx")
    with pytest.raises(ValueError, match="rows are sorted by cost, parameters, bytes, order"):
        jg.explain(path).sorted("size")
