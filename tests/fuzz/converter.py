"""Random networks from torch to Flax and back: PyTorch's outputs, and every tensor bit for bit."""

import warnings
from functools import partial

import jax
import numpy as np
from flax import nnx
from support import torch_files
from support.checkpoints import tensors, written

import jaxgroups.nnx as jnn
from jaxgroups.convert import ConversionWarning, load_torch, save_torch

_UNKNOWN = "is not known"  # the order of flattened features: then the user has to say it
F64 = {"param_dtype": "float64"}
FILES = ("torch", "torch-zip", "torch-legacy", "safetensors")
MAPS = ("conv", "conv", "flax conv", "conv transpose", "conv transpose", "batch norm")
MAPS += ("flax batch norm", "instance norm", "group norm", "flax group norm", "prelu", "relu")
MAPS += ("max pool", "resize")
ROWS = ("linear", "layer norm", "flax layer norm", "batch norm 1d", "relu", "prelu")


def draw(rng) -> dict:
    channels, size = int(rng.choice([1, 2, 4, 6])), [int(n) for n in rng.integers(3, 8, 2)]
    case = {
        "input": [int(rng.integers(2, 4)), channels, *size],
        "file": str(rng.choice(FILES)),
        "seed": int(rng.integers(1000)),
    }
    layers = []
    for _ in range(rng.integers(1, 6)):
        kind, settings, channels, size = _on_map(rng, channels, size)
        layers.append([kind, settings])
    if rng.random() < 0.6:
        features = channels * size[0] * size[1]
        layers.append(["flatten", {}])
        for kind in [*map(str, rng.choice(ROWS, rng.integers(0, 4))), "linear"]:
            layers.append([kind, {"c": features}])  # flattened features end at a linear layer
            if kind == "linear":
                features = int(rng.integers(2, 9))
                layers[-1][1]["out"] = features
    return case | {"layers": layers}


def _on_map(rng, channels: int, size: list[int]):
    """A layer on a feature map, and the channels and sizes of its output."""
    kind, settings = str(rng.choice(MAPS)), {"c": channels}
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    if "conv" in kind:
        settings["g"] = int(rng.choice(divisors))
        channels = settings["out"] = settings["g"] * int(rng.integers(1, 4))
        settings |= {"k": [int(n) for n in rng.integers(1, 4, 2)], "bias": bool(rng.integers(2))}
        settings["s"] = [int(n) for n in rng.integers(1, 3, 2)]
        pairs = list(zip(size, settings["k"], settings["s"], strict=True))
        if kind == "conv transpose":
            size = [(n - 1) * s + k for n, k, s in pairs]
        else:
            size = [(n + 2 - k) // s + 1 for n, k, s in pairs]
    elif "group norm" in kind:
        settings["g"] = int(rng.choice(divisors))
    elif kind == "max pool":
        settings["k"] = [min(n, 2) for n in size]
        size = [n // k for n, k in zip(size, settings["k"], strict=True)]
    elif kind == "resize":
        size = settings["size"] = [int(n) for n in rng.integers(2, 8, 2)]
    return kind, settings, channels, size


def _torch_layer(kind: str, s: dict):
    from torch import nn

    match kind:
        case "conv" | "flax conv":
            conv = partial(nn.Conv2d, padding=1, groups=s["g"], bias=s["bias"])
            return conv(s["c"], s["out"], s["k"], stride=s["s"])
        case "conv transpose":
            conv = partial(nn.ConvTranspose2d, groups=s["g"], bias=s["bias"])
            return conv(s["c"], s["out"], s["k"], stride=s["s"])
        case "batch norm" | "flax batch norm":
            return nn.BatchNorm2d(s["c"])
        case "batch norm 1d":
            return nn.BatchNorm1d(s["c"])
        case "instance norm":
            return nn.InstanceNorm2d(s["c"], affine=True, track_running_stats=True)
        case "group norm" | "flax group norm":
            return nn.GroupNorm(s["g"], s["c"])
        case "layer norm" | "flax layer norm":
            return nn.LayerNorm(s["c"])
        case "linear":
            return nn.Linear(s["c"], s["out"])
        case "prelu":
            return nn.PReLU(s["c"])
        case "max pool":
            return nn.MaxPool2d(tuple(s["k"]))
        case "resize":
            return nn.Upsample(tuple(s["size"]), mode="bilinear")
        case "flatten":
            return nn.Flatten()
    return nn.ReLU()


def _flax_layer(kind: str, s: dict, rngs: nnx.Rngs):
    exact = {"epsilon": 1e-5, "use_fast_variance": False, **F64, "rngs": rngs}
    match kind:
        case "conv":
            conv = partial(jnn.Conv2d, padding=1, groups=s["g"], bias=s["bias"])
            return conv(s["c"], s["out"], s["k"], stride=s["s"], **F64, rngs=rngs)
        case "flax conv":
            conv = partial(nnx.Conv, padding=1, feature_group_count=s["g"], use_bias=s["bias"])
            return conv(s["c"], s["out"], s["k"], strides=tuple(s["s"]), **F64, rngs=rngs)
        case "conv transpose":
            conv = partial(jnn.ConvTranspose2d, groups=s["g"], bias=s["bias"])
            return conv(s["c"], s["out"], s["k"], stride=s["s"], **F64, rngs=rngs)
        case "batch norm":
            return jnn.BatchNorm2d(s["c"], **F64)
        case "batch norm 1d":
            return jnn.BatchNorm1d(s["c"], **F64)
        case "flax batch norm":
            return nnx.BatchNorm(s["c"], momentum=0.9, **exact)
        case "instance norm":
            return jnn.InstanceNorm2d(s["c"], affine=True, track_running_stats=True, **F64)
        case "group norm":
            return jnn.GroupNorm(s["g"], s["c"], **F64)
        case "flax group norm":
            return nnx.GroupNorm(s["c"], s["g"], **exact)
        case "layer norm":
            return jnn.LayerNorm(s["c"], **F64)
        case "flax layer norm":
            return nnx.LayerNorm(s["c"], **exact)
        case "linear":
            return nnx.Linear(s["c"], s["out"], **F64, rngs=rngs)
        case "prelu":
            return jnn.PReLU(s["c"], **F64)
        case "max pool":
            return jnn.MaxPool2d(tuple(s["k"]))
        case "resize":
            return jnn.Upsample(tuple(s["size"]), mode="bilinear")
        case "flatten":  # as a user of Flax writes it: the order is not torch's
            return lambda x: x.reshape(x.shape[0], -1)
    return nnx.relu


class Net(nnx.Module):
    """The layers in a row, under the names l0, l1 and so on."""

    def __init__(self, layers: list, rngs: nnx.Rngs) -> None:
        self.count = len(layers)
        for i, (kind, settings) in enumerate(layers):
            setattr(self, f"l{i}", _flax_layer(kind, settings, rngs))

    def __call__(self, x):
        for i in range(self.count):
            x = getattr(self, f"l{i}")(x)
        return x


def _filled(layers: list, rng):
    """The network of torch, its parameters and statistics random, in float64."""
    import torch

    module = torch.nn.Sequential()
    for i, layer in enumerate(layers):
        module.add_module(f"l{i}", _torch_layer(*layer))
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(int(rng.integers(1, 2**40)))
        else:
            drawn = rng.standard_normal(tuple(value.shape))
            if name.endswith("running_var"):
                drawn = 0.5 + drawn**2
            value.copy_(torch.from_numpy(drawn))
    return module


def check(case: dict, folder) -> None:
    import torch

    rng = np.random.default_rng(case["seed"])
    module = _filled(case["layers"], rng)
    x = rng.standard_normal(case["input"])
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    path = folder / "net.pth"
    match case["file"]:
        case "torch":
            torch.save(module.state_dict(), path)
        case "safetensors":
            path = written(folder / "net.safetensors", state)
        case kind:
            torch_files.state_dict(path, kind, state)

    last = np.moveaxis(x, 1, -1)
    model = nnx.eval_shape(lambda: Net(case["layers"], nnx.Rngs(0)))
    model.eval()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", ConversionWarning)
        example = jax.ShapeDtypeStruct(last.shape, last.dtype)
        model, report = load_torch(model, path, example=example)
        actual = np.asarray(nnx.jit(lambda model, x: model(x))(model, last))
        save_torch(model, folder / "back.safetensors", extras=report.extras)
    if actual.ndim == 4:
        actual = np.moveaxis(actual, -1, 1)
    assert actual.shape == expected.shape, f"shape {actual.shape}, PyTorch's is {expected.shape}"
    told = any("feature order of" in str(w.message) and _UNKNOWN in str(w.message) for w in given)
    difference = np.abs(actual - expected).max() / (np.abs(expected).max() + 1e-300)
    assert told or difference < 1e-9, f"the outputs differ by {difference:.1e} of the largest"
    back = tensors(folder / "back.safetensors")
    assert sorted(back) == sorted(state)
    for name, value in state.items():
        assert (back[name].shape, back[name].dtype) == (value.shape, value.dtype), name
        assert back[name].tobytes() == value.tobytes(), f"{name} comes back with other bits"
