"""The fuzzer itself: its judge, what it reports, and a few cases of each kind."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from support import reference
from support.command import environment, python
from support.helpers import whole

import jaxgroups as jg
from fuzz import command, files, kernels, oracle, transforms
from jaxgroups import ConvSpec

FUZZ = str(Path(__file__).parent)
SEED = os.environ.get("JAXGROUPS_SEED", "0")
SPECS = (
    "conv2d in=4 out=6 kernel=3x2 stride=2x1 padding=2x0 dilation=1x2 groups=2 batch=2 size=5x7",
    "conv1d in=4 out=6 kernel=4 padding=1:2 groups=2 batch=2 size=5",
    "conv_transpose2d in=6 out=4 kernel=3x2 stride=2x3 padding=1x2 output_padding=1x2 dilation=2x1 "
    "groups=2 batch=2 size=3x4",
)


@pytest.mark.parametrize("text", SPECS)
def test_the_judge_computes_the_definition(text, rng):
    spec = ConvSpec.parse(text)
    x = whole(rng, (*spec.batch, spec.in_channels, *spec.size))
    w, ct = whole(rng, spec.torch_weight_shape), whole(rng, spec.output_shape)
    result, to_x, to_w = oracle.of_spec(spec, x, w, lambda result: ct)
    np.testing.assert_array_equal(result, reference.of_spec(spec, x, w, None))
    if not spec.transposed:
        expected = reference.gradients_of_spec(spec, x, w, ct)
        np.testing.assert_array_equal(to_x, expected[0])
        np.testing.assert_array_equal(to_w, expected[1])


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("text", [*SPECS[:2], SPECS[2].replace("dilation=2x1 ", "")])
def test_the_gradients_of_the_judge_are_the_transposes(text, mode, rng):
    """<ct, conv(x, w)> is bilinear, so its gradients at other operands are its values there."""
    transposed = text.startswith("conv_transpose")
    if transposed and mode != "zeros":
        text = text.replace("groups=2", "groups=1")  # the modes are of convolutions alone
        mode = "zeros"
    spec = ConvSpec.parse(text if mode == "zeros" else f"{text} padding_mode={mode}")
    x, v = (whole(rng, (*spec.batch, spec.in_channels, *spec.size)) for _ in range(2))
    w, u = (whole(rng, spec.torch_weight_shape) for _ in range(2))
    ct = whole(rng, spec.output_shape)
    _, to_x, to_w = oracle.of_spec(spec, x, w, lambda result: ct)
    of_v, *_ = oracle.of_spec(spec, v, w, lambda result: ct)
    of_u, *_ = oracle.of_spec(spec, x, u, lambda result: ct)
    assert (to_x * v).sum() == (ct * of_v).sum() != 0
    assert (to_w * u).sum() == (ct * of_u).sum() != 0


def test_a_few_cases_of_each_kind():
    """The past failures too."""
    done = python(FUZZ, "--cases", "3", "--seed", SEED, env=environment())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = "3 kernels, 3 transforms, " + ("3 converter, " if find_spec("torch") else "")
    assert f"{found}3 files" in done.stdout


@pytest.mark.slow
def test_a_minute_of_files():
    done = python(FUZZ, "--seconds", "60", "--what", "files", "--seed", SEED, env=environment())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


# --- that it finds something ----------------------------------------------------------------------

KERNEL = {
    "spec": "conv2d in=4 out=6 kernel=3x2 padding=1 groups=2 batch=2 size=5x6",
    "dtype": "float32",
    "layout": "channels_last",
    "implementation": None,
    "activation": "relu6",
    "residual": True,
    "seed": 0,
}


def test_a_wrong_element_is_found(monkeypatch, tmp_path):
    kernels.check(KERNEL, tmp_path)
    right = jg.conv2d
    wrong = lambda *args, **kw: right(*args, **kw).at[0, 1, 2, 3].add(1.0)  # noqa: E731
    monkeypatch.setattr(jg, "conv2d", wrong)
    with pytest.raises(AssertionError, match=r"result: 1 of 420 elements are wrong"):
        kernels.check(KERNEL, tmp_path)


def test_a_wrong_gradient_is_found(monkeypatch, tmp_path):
    right = jg.conv2d
    stopped = lambda x, w, *a, **k: right(x, jax.lax.stop_gradient(w), *a, **k)  # noqa: E731
    monkeypatch.setattr(jg, "conv2d", stopped)
    with pytest.raises(AssertionError, match=r"gradient of the weight: \d+ of 72"):
        kernels.check(KERNEL, tmp_path)


def test_a_wrong_transformation_is_found(monkeypatch, tmp_path):
    case = transforms.draw(np.random.default_rng(3)) | {"steps": [["vjp", 1, 1], ["jit", 0, 0]]}
    transforms.check(case, tmp_path)
    right = jg.conv_general_dilated
    monkeypatch.setattr(jg, "conv_general_dilated", lambda x, w, **kw: right(x, w + w, **kw))
    with pytest.raises(AssertionError, match="elements differ"):
        transforms.check(case, tmp_path)
    monkeypatch.setattr(jg, "conv_general_dilated", lambda x, w, **kw: x.reshape(1, -1) @ w)
    with pytest.raises(AssertionError, match="jaxgroups raises TypeError, lax does not"):
        transforms.check(case, tmp_path)


@pytest.mark.parametrize("format", files.FORMATS)
def test_wrong_values_of_a_file_are_found(monkeypatch, tmp_path, format):
    case = {"format": format, "part": "file", "reader": "own", "changes": []}
    files.check(case, tmp_path)
    right = files._read
    monkeypatch.setattr(files, "_read", lambda *a: right(*a) | {"fc.bias": np.float32([1, 2, 3])})
    if format == "torch-legacy":  # it has no checksum, and no second reader judges it
        return
    with pytest.raises(AssertionError, match=r"fc\.bias has wrong values"):
        files.check(case, tmp_path)


def test_too_much_memory_is_found(monkeypatch, tmp_path):
    case = {"format": "torch-zip", "part": "file", "reader": "own", "changes": []}

    def greedy(path, reader):
        assert len(bytes(1 << 28)) == 1 << 28

    monkeypatch.setattr(files, "_read", greedy)
    with pytest.raises(AssertionError, match="bytes of memory for a file of"):
        files.check(case, tmp_path)


# --- what it reports ------------------------------------------------------------------------------

DIES = """
import json, os
print(json.dumps({"what": "kernels", "case": {"spec": "it's this"}}), flush=True)
os.abort()
"""


def test_the_case_that_kills_the_process_is_told(capfd, monkeypatch):
    monkeypatch.setenv("JAXGROUPS_NATIVE", "avx2")
    monkeypatch.delenv("JAXGROUPS_NATIVE_ISAS", raising=False)
    assert command.watched([sys.executable, "-c", DIES]) == 1
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "FAILED kernels: the process ended with status -6"
    words = shlex.split(out[2])
    assert words[0] == "JAXGROUPS_NATIVE=avx2"
    assert words[1:6] == ["python", "-m", "tests.fuzz", "--what", "kernels"]
    assert words[6:] == ["--case", '{"spec": "it\'s this"}']


def test_a_process_that_hangs_is_ended(capfd, monkeypatch):
    monkeypatch.setattr(command, "SILENCE", 2)
    hangs = DIES.replace("os.abort()", "import time; time.sleep(600)")
    assert command.watched([sys.executable, "-c", hangs]) == 1
    assert capfd.readouterr().out.startswith("FAILED kernels: ")


def test_the_printed_command_fails_again():
    case = '{"format": "torch-zip", "part": "file", "reader": "none", "changes": []}'
    done = python(FUZZ, "--what", "files", "--case", case, env=environment())
    assert done.returncode == 1
    assert "reader must be None, 'own', 'torch', 'zipfile'" in done.stdout
    assert f"--what files --case {shlex.quote(case)}" in done.stdout


def test_a_case_needs_its_kind(capfd):
    with pytest.raises(SystemExit):
        command.main(["--case", "{}"])
    assert "--case needs --what" in capfd.readouterr().err
