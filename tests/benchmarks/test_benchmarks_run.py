"""The benchmarks run on tiny layers and a tiny network, right and wrong; no time is tested."""

import importlib
import json
from dataclasses import replace
from importlib.util import find_spec
from math import inf, nan
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import wheels
from support.layer_tables import OTHERS, TINY, written

import jaxgroups as jg
import jaxgroups.nnx as jnn
from benchmarks import table, text, timing
from jaxgroups import ConvSpec

torch = pytest.importorskip("torch", reason="torch is NOT installed, so no benchmark runs")


@pytest.fixture
def bench(monkeypatch):
    """The modules that need torch, with the shortest measurements, on one core."""
    names = ("commandline", "contestants", "jax_side", "machine", "measure", "models", "networks",
             "network_sides", "ops", "torch_side", "data")  # fmt: skip
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    limits = {"gflops": 100.0, "gflops_by": "torch", "copy_gbytes": 10.0}
    monkeypatch.setattr(modules["machine"], "limits", lambda: limits)
    quick = timing.Rounds(rounds=1, least=0, budget=0.01, pause=0)
    monkeypatch.setattr(modules["commandline"], "rounds", lambda args: quick)
    monkeypatch.setattr(modules["machine"], "cores", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SimpleNamespace(quick=quick, **modules)
    torch.set_num_threads(threads)


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
    assert result.keys() == {"machine", "settings", "summary", "rows"}
    machine = result["machine"]
    assert {
        "processor",
        "cores",
        "threads",
        "pages",
        "versions",
        "date",
        "limits",
    } <= machine.keys()
    assert {"jax", "torch", "flax", "numpy"} <= machine["versions"].keys()
    assert len(result["rows"]) == 6
    for one in result["rows"]:
        assert one["contestants"].keys() == {
            "torch contiguous", "torch channels_last", "lax", "jaxgroups", "jaxgroups.xla",
        }  # fmt: skip
        for name, found in one["contestants"].items():
            assert len(found["samples"]) == 2
            assert found["seconds"] > 0
            assert found["error"] < 1e-5
            assert name.startswith("torch") or {"compile_seconds", "temp_bytes"} <= found.keys()
        assert one["contestants"]["jaxgroups.xla"]["lowerings"] == ["xla"]
        spec = ConvSpec.parse(one["spec"])
        assert one["flops"] == spec.flops * (2 if one["mode"] == "gradients" else 1)
    assert picture.exists() == ("--plot" in argv)


@pytest.mark.parametrize("mode", ["forward", "gradients"])
@pytest.mark.parametrize("sabotage", ["value", "nan", "shape"])
def test_a_wrong_result_ends_the_run(bench, tmp_path, monkeypatch, mode, sabotage):
    def wrong(spec, implementation):
        right = bench.jax_side.jaxgroups_function(spec, implementation)
        return {
            "value": lambda x, w: right(x, w) * 1.01,
            "nan": lambda x, w: right(x, w) * jnp.float32(nan),
            "shape": lambda x, w: right(x, w)[:, :-1] if mode == "forward" else right(x, 2 * w),
        }[sabotage]

    monkeypatch.setattr(bench.contestants, "jaxgroups_function", wrong)
    argv = [str(written(tmp_path, TINY)), "--batch", "1", "--mode", mode]
    with pytest.raises(
        SystemExit, match="wrong result, so nothing is reported: jaxgroups on first"
    ):
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


def test_an_unsupported_lowering_is_not_an_error(bench, tmp_path, monkeypatch):
    def explain(spec, implementation=None):
        raise ValueError("not for such a layer")

    monkeypatch.setattr(bench.contestants.jg, "explain", explain)
    layer, _ = table.read(written(tmp_path, TINY))
    names = ["torch", "jaxgroups", "jaxgroups.xla"]
    one = bench.measure.layer_row(layer, 1, "forward", names, bench.quick)
    assert one["absent"] == {"jaxgroups.xla": "not for such a layer"}
    assert "jaxgroups" in one["contestants"]


def test_a_contestant_that_would_take_too_long_is_left_out(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench.contestants, "predicted_seconds", lambda spec, mode, build: 90.0)
    layer, _ = table.read(written(tmp_path, TINY))
    one = bench.measure.layer_row(layer, 1, "gradients", ["torch", "lax"], bench.quick)
    assert one["absent"] == {"lax": "a call would take about 90 s"}
    later = bench.measure.layer_row(layer, 1, "gradients", ["torch", "lax"], bench.quick, limit=99)
    assert len(bench.measure.merge(one, later, "median")["contestants"]) == 3
    assert one["absent"] == {}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes_are_compared_as_they_are(bench, tmp_path, dtype):
    layers = table.read(written(tmp_path, OTHERS, "more.csv"))
    for layer in layers if dtype == "float64" else layers[:1]:
        names = ["torch", "lax", "jaxgroups"]
        for mode in bench.contestants.MODES:
            one = bench.measure.layer_row(layer, 2, mode, names, bench.quick, dtype)
            assert len(one["contestants"]) == 4


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


class Twin(nnx.Module):
    """The Flax twin of `small`."""

    def __init__(self, rngs):
        self.conv = jnn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(6, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.mix = nnx.Conv(6, 8, (1, 1), rngs=rngs)
        self.fc = nnx.Linear(8, 1000, rngs=rngs)

    def __call__(self, x):
        x = self.mix(jax.nn.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((1, 2)))


def small():
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False)
            self.bn = torch.nn.BatchNorm2d(6)
            self.mix = torch.nn.Conv2d(6, 8, 1)
            self.fc = torch.nn.Linear(8, 1000)

        def forward(self, x):
            return self.fc(self.mix(self.bn(self.conv(x)).relu()).mean((2, 3)))

    torch.manual_seed(0)
    return Small()


@pytest.fixture
def tiny_network(bench, monkeypatch):
    monkeypatch.setattr(bench.networks, "SIZE", 16)
    monkeypatch.setattr(bench.networks, "_twins", lambda name: Twin)
    monkeypatch.setattr(bench.models, "_network", lambda name: small())
    return bench


def test_every_side_runs_a_network_and_is_compared(tiny_network, tmp_path, capsys):
    out = tmp_path / "out.json"
    argv = ["--model", "regnetx002", "--batch", "2", "--json", str(out)]
    assert tiny_network.models.main(argv) == 0
    assert "training, batch 2: geometric mean" in capsys.readouterr().out
    inference, training = json.loads(out.read_text())["rows"]
    for one, error in ((inference, 1e-5), (training, 1e-4)):
        assert one["contestants"].keys() == {
            "torch contiguous", "torch channels_last", "lax", "jaxgroups",
        }  # fmt: skip
        assert all(found["error"] < error for found in one["contestants"].values())
        assert one["contestants"]["jaxgroups"]["compile_seconds"] > 0
    multiplied = 2 * 2 * (8 * 8 * (9 * 6 + 6 * 8) + 8 * 1000)
    assert inference["flops"] == multiplied
    assert training["flops"] == multiplied * 3


@pytest.mark.parametrize("wrong", ["epsilon", "momentum", "rate"])
def test_a_wrong_training_step_ends_the_run(tiny_network, monkeypatch, wrong):
    class Other(Twin):
        def __init__(self, rngs):
            super().__init__(rngs)
            if wrong == "epsilon":
                self.bn.epsilon = 0.1
            if wrong == "momentum":
                self.bn.momentum = 0.5

    monkeypatch.setattr(tiny_network.networks, "_twins", lambda name: Other)
    if wrong == "rate":
        sides = tiny_network.network_sides
        right = sides.torch_step
        half = lambda model, x, y, rate: right(model, x, y, rate / 2)  # noqa: E731
        monkeypatch.setattr(sides, "torch_step", half)
    argv = ["--model", "regnetx002", "--batch", "2", "--mode", "training"]
    with pytest.raises(SystemExit, match="wrong result, so nothing is reported: lax on regnetx002"):
        tiny_network.models.main([*argv, "--contestants", "lax", "jaxgroups"])


def test_each_side_uses_the_convolution_of_its_name(tiny_network):
    state = small().state_dict()
    lax, ours = (tiny_network.networks.flax_network("it", state, by) for by in ("lax", "ours"))
    assert (lax.conv.implementation, ours.conv.implementation) == ("xla", None)
    assert lax.mix.conv_general_dilated is jax.lax.conv_general_dilated
    assert ours.mix.conv_general_dilated is jg.conv_general_dilated


MORE = ("mobilenetv2_w1", "efficientnet_b0", "shufflenetv2_w1", "mnasnet_b1",
        "mobilenetv3_large_w1", "regnetx002")  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_twins_of_pytorchcv_give_its_output(bench, monkeypatch, name):
    wheels.importable("pytorchcv==0.0.74", monkeypatch)
    theirs = bench.networks.torch_network(name)
    ours = bench.networks.flax_network(name, theirs.state_dict(), "jaxgroups")
    ours.eval()
    images, _ = bench.network_sides.inputs(1)
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
