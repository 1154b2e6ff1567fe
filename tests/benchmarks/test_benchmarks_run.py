"""The benchmarks run on tiny layers and a tiny network, right and wrong; no time is tested."""

import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from math import inf, nan
from shutil import which
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import tiny_network, wheels
from support.layer_tables import OTHERS, TINY, written
from support.local_workers import LocalWorkers
from support.tiny_network import Twin, small

import jaxgroups as jg
from benchmarks import table, text, turns
from jaxgroups import ConvSpec

torch = pytest.importorskip("torch", reason="torch is NOT installed, so no benchmark runs")
QUICK = turns.Turns(turns=1, warm=0.0, seconds=0.0, budget=0.01)


@pytest.fixture
def bench(monkeypatch):
    """The modules of the benchmarks, with the shortest measurements, on one core."""
    names = ("commandline", "contestants", "data", "jax_side", "machine", "measure", "models",
             "networks", "network_flax", "network_torch", "ops", "peak", "torch_side")  # fmt: skip
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    limits = {"gflops": 100.0, "copy_gbytes": 10.0, "by": "fused multiply-adds"}
    monkeypatch.setattr(modules["peak"], "limits", lambda threads: limits)
    monkeypatch.setattr(modules["commandline"], "turns", lambda args: QUICK)
    monkeypatch.setattr(modules["machine"], "cores", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SimpleNamespace(**modules)
    torch.set_num_threads(threads)


@pytest.fixture
def local(bench, monkeypatch):
    """The same with all contestants in this process, where they can be changed."""
    monkeypatch.setattr(bench.ops, "Workers", LocalWorkers)
    monkeypatch.setattr(bench.models, "Workers", LocalWorkers)
    monkeypatch.setattr(bench.torch_side, "_only_inference", contextlib.nullcontext)
    return bench


def layer_row(bench, layer, batch, mode, names, *more):
    with LocalWorkers(bench.contestants.starts(names)) as workers:
        return bench.contestants.layer_row(workers, layer, batch, mode, QUICK, *more)


def test_a_run_gives_table_json_and_picture(bench, tmp_path, capsys):
    out = tmp_path / "out.json"
    causal = "".join(OTHERS.splitlines(keepends=True)[:2])
    argv = [str(written(tmp_path, TINY)), str(written(tmp_path, causal, "more.csv"))]
    argv += ["--batch", "2", "--repeat", "2", "--json", str(out), "--implementation", "xla"]
    picture = tmp_path / "out.png"
    if find_spec("matplotlib"):
        argv += ["--plot", str(picture)]
    assert bench.ops.main(argv) == 0
    said = capsys.readouterr().out
    assert text.HEADER in said
    assert "forward, batch 2: geometric mean (worst) of lax/torch, jaxgroups/torch" in said
    assert "gradients, batch 3: geometric mean" in said
    result = json.loads(out.read_text())
    assert result.keys() == {
        "command", "commit", "machine", "settings", "left_out", "summary", "rows",
    }  # fmt: skip
    assert result["command"] == " ".join(["python -m benchmarks.ops", *argv])
    machine = result["machine"]
    assert result["commit"] == machine["commit"]
    assert "100 GFLOP/s (float32, fused multiply-adds)" in said
    assert f"load after {machine['load_after']}" in said
    assert {
        "processor",
        "cores",
        "threads",
        "pages",
        "versions",
        "date",
        "limits",
        "load_before",
    } <= machine.keys()
    assert {"jax", "torch", "flax", "numpy"} <= machine["versions"].keys()
    assert len(result["rows"]) == 6
    for one in result["rows"]:
        assert one["contestants"].keys() == {
            "torch contiguous", "torch channels_last", "lax", "jaxgroups", "jaxgroups.xla",
        }  # fmt: skip
        for name, found in one["contestants"].items():
            assert len(found["samples"]) == 2
            assert found["seconds"] == found["median"] >= found["min"] > 0
            assert found["error"] < 1e-5
            assert name.startswith("torch") or {"compile_seconds", "temp_bytes"} <= found.keys()
        assert one["contestants"]["jaxgroups.xla"]["lowerings"] == ["xla"]
        spec = ConvSpec.parse(one["spec"])
        assert one["flops"] == spec.flops * (2 if one["mode"] == "gradients" else 1)
    assert picture.exists() == ("--plot" in argv)


@pytest.mark.parametrize("mode", ["forward", "gradients"])
@pytest.mark.parametrize("sabotage", ["value", "nan", "shape"])
def test_a_wrong_result_ends_the_run(local, tmp_path, monkeypatch, mode, sabotage):
    right_function = local.jax_side.jaxgroups_function

    def wrong(spec, implementation):
        right = right_function(spec, implementation)
        return {
            "value": lambda x, w: right(x, w) * 1.01,
            "nan": lambda x, w: right(x, w) * jnp.float32(nan),
            "shape": lambda x, w: right(x, w)[:, :-1] if mode == "forward" else right(x, 2 * w),
        }[sabotage]

    monkeypatch.setattr(local.jax_side, "jaxgroups_function", wrong)
    argv = [str(written(tmp_path, TINY)), "--batch", "1", "--mode", mode]
    with pytest.raises(
        SystemExit, match="wrong result, so nothing is reported: jaxgroups on first"
    ):
        local.ops.main([*argv, "--contestants", "jaxgroups"])


def test_a_contestant_that_fails_ends_the_run(bench, tmp_path, monkeypatch):
    target = "support.fake_contestants:not_there"
    monkeypatch.setitem(bench.contestants.TARGETS, "jax", target)
    argv = [str(written(tmp_path, TINY)), "--batch", "1", "--contestants", "lax"]
    with pytest.raises(SystemExit, match="nothing is reported: the process of lax ended"):
        bench.ops.main(argv)


def test_errors_are_relative_to_the_largest_value(bench):
    check, wrong = bench.measure.check, bench.measure.WrongResult
    reference = [np.array([1.0, -100.0]), np.zeros(2)]
    assert check("it", [np.array([1.5, -100.0]), np.zeros(2)], reference, 0.01) == 0.005
    with pytest.raises(wrong, match=r"relative error 5\.0e-03 against torch, more than 1e-03"):
        check("it", [np.array([1.5, -100.0]), np.zeros(2)], reference, 0.001)
    with pytest.raises(wrong, match="relative error nan"):
        check("it", [np.array([1.0, nan]), np.zeros(2)], reference, inf)
    with pytest.raises(wrong, match="shapes"):
        check("it", [np.zeros(3), np.zeros(2)], reference, 1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere.csv"], "not a table of layers: nowhere.csv: No such file"),
        (["--match", "nothing like it"], "no layer matches 'nothing like it'"),
        (["--json", "nowhere/out.json"], "the folder does not exist"),
    ],
)
def test_the_error_of_a_wrong_command_line_is_one_line(bench, argv, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        bench.ops.main(argv)


def test_an_unsupported_lowering_is_not_an_error(local, tmp_path, monkeypatch):
    def explain(spec, implementation=None):
        raise ValueError("not for such a layer")

    monkeypatch.setattr(local.jax_side.jg, "explain", explain)
    layer, _ = table.read(written(tmp_path, TINY))
    one = layer_row(local, layer, 1, "forward", ["jaxgroups", "jaxgroups.xla"])
    assert one["absent"] == {"jaxgroups.xla": "not for such a layer"}
    assert "jaxgroups" in one["contestants"]


def test_a_contestant_that_would_take_too_long_is_left_out(local, tmp_path, monkeypatch):
    monkeypatch.setattr(local.jax_side, "predicted_seconds", lambda spec, mode, build: 90.0)
    layer, _ = table.read(written(tmp_path, TINY))
    one = layer_row(local, layer, 1, "gradients", ["torch", "lax"])
    assert one["absent"] == {"lax": "a call would take about 90 s"}
    later = layer_row(local, layer, 1, "gradients", ["torch", "lax"], "float32", 99)
    assert len(local.measure.merge(one, later, "median")["contestants"]) == 3
    assert one["absent"] == {}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes_are_compared_as_they_are(local, tmp_path, dtype):
    layers = table.read(written(tmp_path, OTHERS, "more.csv"))
    for layer in layers if dtype == "float64" else layers[:1]:
        names = ["torch", "lax", "jaxgroups"]
        for mode in local.contestants.MODES:
            one = layer_row(local, layer, 2, mode, names, dtype)
            assert len(one["contestants"]) == 4


def test_jaxgroups_without_kernels_is_a_contestant(bench, tmp_path):
    """Its process does not have the kernels that the other may have."""
    layer, _ = table.read(written(tmp_path, TINY))
    with turns.Workers(bench.contestants.starts(["without_kernels"])) as workers:
        one = bench.contestants.layer_row(workers, layer, 1, "forward", QUICK)
    assert one["contestants"]["without_kernels"]["lowerings"] not in ([], ["native"])


@pytest.mark.parametrize("by", ["lax", "jaxgroups"])
def test_gradients_compute_no_forward(bench, by):
    """torch does not compute the forward pass in this mode, so jax must not either."""
    spec = ConvSpec.parse(
        "conv2d in=6 out=8 kernel=3 padding=1 groups=2 batch=2 size=9 data_format=channels_last"
    )
    side = bench.jax_side
    function = side.lax_function(spec) if by == "lax" else side.jaxgroups_function(spec, "xla")
    arrays = [jax.ShapeDtypeStruct(s, "float32") for s in (spec.input_shape, spec.weight_shape)]
    out = jax.ShapeDtypeStruct(spec.output_shape, "float32")

    def count(function, *arrays):
        program = jax.jit(function).lower(*arrays).compile().as_text()
        return program.count(" convolution(")

    assert count(function, *arrays) == 1
    assert count(side.gradients_of(function), *arrays, out) == 2
    with_forward = lambda x, w, ct: jax.vjp(function, x, w)  # noqa: E731
    both = lambda x, w, ct: (with_forward(x, w, ct)[0], with_forward(x, w, ct)[1](ct))  # noqa: E731
    assert count(both, *arrays, out) == 3


# --- whole networks -------------------------------------------------------------------------------


@pytest.fixture
def tiny(bench, monkeypatch):
    """The benchmark of networks with a tiny one, named regnetx002."""
    network = bench.networks.Network("support.tiny_network:small", "support.tiny_network:Twin")
    monkeypatch.setattr(bench.networks, "SIZE", 16)
    monkeypatch.setitem(bench.networks.NETWORKS, "regnetx002", network)
    monkeypatch.setattr(bench.models, "_network", lambda name: small())
    return bench


def test_every_side_runs_a_network_and_is_compared(tiny, tmp_path, capsys):
    """Each in its process. ONNX Runtime and OpenVINO take part where they are installed."""
    out = tmp_path / "out.json"
    names = ["torch", "onnxruntime", "openvino", "lax", "jaxgroups", "jaxgroups-optimize"]
    names += ["jaxgroups-keep_memory"]
    argv = ["--model", "regnetx002", "--batch", "2", "--json", str(out), "--contestants", *names]
    assert tiny.models.main(argv) == 0
    said = capsys.readouterr().out
    assert "training, batch 2: geometric mean" in said
    left_out = tiny.models.without_packages(names)
    for name, reason in left_out.items():
        assert f"LEFT OUT: {name}: {reason}" in said
    found = json.loads(out.read_text())
    assert found["left_out"] == left_out
    assert found["command"] == " ".join(["python -m benchmarks.models", *argv])
    inference, training = found["rows"]
    always = {"torch contiguous", "torch channels_last", "lax", "jaxgroups"}
    always |= {"jaxgroups-keep_memory"}
    assert training["contestants"].keys() == always
    rivals = {"onnxruntime", "openvino", "jaxgroups-optimize"} - left_out.keys()
    assert inference["contestants"].keys() == always | rivals
    for one, error in ((inference, 1e-5), (training, 1e-4)):
        assert all(found["error"] < error for found in one["contestants"].values())
        assert one["contestants"]["jaxgroups"]["compile_seconds"] > 0
    multiplied = 2 * 2 * (8 * 8 * (9 * 6 + 6 * 8) + 8 * 1000)
    assert inference["flops"] == multiplied
    assert training["flops"] == multiplied * 3


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("torch_side, network_torch", ["jax", "jaxgroups", "flax"]),
        ("jax_side, network_flax", ["torch", "onnxruntime", "openvino"]),
        ("network_rivals", ["torch", "jax", "jaxgroups"]),
    ],
)
def test_a_contestant_does_not_import_another_library(modules, absent):
    """A library that is only imported may start threads or take memory, too."""
    code = f"import sys; from benchmarks import {modules}; print(*(sys.modules.keys() & {absent}))"
    path = {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_torch_compiles_and_freezes(tiny, tmp_path, monkeypatch):
    """Inductor packs the weights of the convolutions, which it does only if they are constants."""
    if which("g++") is None:
        pytest.skip("NO g++, so torch.compile does not run")
    monkeypatch.delenv("CXX", raising=False)  # Inductor knows a compiler's options by its name
    out = tmp_path / "out.json"
    argv = ["--model", "regnetx002", "--batch", "2", "--mode", "inference", "--json", str(out)]
    assert tiny.models.main([*argv, "--contestants", "torch-compile"]) == 0
    (one,) = json.loads(out.read_text())["rows"]
    assert one["absent"] == {}
    entry = one["contestants"]["torch-compile"]
    assert entry["error"] < 1e-5
    assert entry["packed_weights"] == 2 or platform.machine() != "x86_64"


def test_a_contestant_without_its_package_is_left_out_loudly(tiny, monkeypatch, tmp_path, capsys):
    installed = tiny.models.find_spec
    missing = {"onnxruntime", "onnx", "openvino"}
    monkeypatch.setattr(
        tiny.models, "find_spec", lambda name: None if name in missing else installed(name)
    )
    monkeypatch.setattr(tiny.models, "Workers", LocalWorkers)
    out = tmp_path / "out.json"
    argv = ["--model", "regnetx002", "--batch", "1", "--mode", "inference", "--json", str(out)]
    assert tiny.models.main([*argv, "--contestants", "onnxruntime", "jaxgroups", "openvino"]) == 0
    found = json.loads(out.read_text())
    assert found["left_out"] == {
        "onnxruntime": "onnxruntime and onnx not installed: pip install onnxruntime onnx",
        "openvino": "openvino and onnx not installed: pip install openvino onnx",
    }
    assert found["rows"][0]["contestants"].keys() == {"jaxgroups"}
    said = capsys.readouterr().out
    assert "LEFT OUT: openvino: openvino and onnx not installed: pip install openvino onnx" in said
    with pytest.raises(SystemExit, match="no contestant of openvino can run"):
        tiny.models.main([*argv, "--contestants", "openvino"])


def test_only_some_contestants_train(bench):
    training = [name for name in bench.models.KINDS if bench.models.runs(name, "training")]
    assert training == ["torch", "lax", "jaxgroups", "jaxgroups-keep_memory", "without_kernels"]
    assert all(bench.models.runs(name, "inference") for name in bench.models.KINDS)


@pytest.mark.parametrize("wrong", ["epsilon", "momentum", "rate"])
def test_a_wrong_training_step_ends_the_run(local, tiny, monkeypatch, wrong):
    class Other(Twin):
        def __init__(self, rngs):
            super().__init__(rngs)
            if wrong == "epsilon":
                self.bn.epsilon = 0.1
            if wrong == "momentum":
                self.bn.momentum = 0.5

    monkeypatch.setattr(tiny_network, "Twin", Other)
    if wrong == "rate":
        right = tiny.network_torch.torch_step
        half = lambda model, x, y, rate: right(model, x, y, rate / 2)  # noqa: E731
        monkeypatch.setattr(tiny.network_torch, "torch_step", half)
    argv = ["--model", "regnetx002", "--batch", "2", "--mode", "training"]
    with pytest.raises(SystemExit, match="wrong result, so nothing is reported: lax on regnetx002"):
        tiny.models.main([*argv, "--contestants", "lax", "jaxgroups"])


def test_each_side_uses_the_convolution_of_its_name(bench):
    target, state = "support.tiny_network:Twin", small().state_dict()
    lax, ours = (bench.network_flax.flax_network(target, state, by) for by in ("lax", "ours"))
    assert (lax.conv.implementation, ours.conv.implementation) == ("xla", None)
    assert lax.mix.conv_general_dilated is jax.lax.conv_general_dilated
    assert ours.mix.conv_general_dilated is jg.conv_general_dilated


MORE = ("mobilenetv2_w1", "efficientnet_b0", "shufflenetv2_w1", "mnasnet_b1",
        "mobilenetv3_large_w1", "regnetx002", "resnet50b")  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_twins_of_pytorchcv_give_its_output(bench, monkeypatch, name):
    wheels.importable("pytorchcv==0.0.74", monkeypatch)
    network = bench.networks.NETWORKS[name]
    theirs = bench.network_torch.random_network(network.torch, bench.networks.SIZE)
    ours = bench.network_flax.flax_network(network.twin, theirs.state_dict(), "jaxgroups")
    ours.eval()
    images, _ = bench.networks.inputs(1, bench.networks.SIZE)
    with torch.inference_mode():
        expected = theirs.eval()(torch.from_numpy(images)).numpy()
    out = nnx.jit(lambda m, x: m(x))(ours, jnp.asarray(np.moveaxis(images, 1, -1)))
    assert np.std(expected) > 1e-3
    assert bench.measure.check(name, [np.asarray(out)], [expected], 1e-4) < 1e-4


def test_data_are_rounded_to_the_dtype_of_the_spec(bench):
    spec = ConvSpec.parse("conv1d in=4 out=4 kernel=3 groups=4 batch=2 size=9")
    exact = bench.data.Data.random(spec)
    rounded = bench.data.Data.random(replace(spec, dtype="bfloat16"))
    assert exact.x.dtype == rounded.x.dtype == "float32"
    assert 0 < np.abs(exact.x - rounded.x).max() < 0.02
    assert (rounded.x == rounded.x.astype(jnp.bfloat16)).all()
