"""Load a .pth file of PyTorch into a Flax model, convert it back, and convert file to file.

Without PyTorch, NumPy writes a checkpoint with the same tensors, and no outputs are compared.
"""

import tempfile
from pathlib import Path

import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

import jaxgroups.nnx as jnn
from jaxgroups import convert

try:
    import torch
except ImportError:
    torch = None
    print("torch is not installed: the checkpoint has random weights")


class Net(nnx.Module):
    """The layers have the names of the torch model; for other names, pass names= to load_torch."""

    def __init__(self, rngs: nnx.Rngs):
        self.depthwise = jnn.Conv2d(8, 8, 3, padding=1, groups=8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.up = jnn.ConvTranspose2d(8, 6, 2, stride=2, groups=2, rngs=rngs)
        self.head = nnx.Linear(6 * 8 * 10, 5, rngs=rngs)

    def __call__(self, x):
        y = nnx.relu(self.norm(self.depthwise(x)))
        return self.head(self.up(y).reshape(len(x), -1))


def torch_model():
    """The same model in torch; its BatchNorm has statistics of random data."""
    layers = {
        "depthwise": torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),
        "norm": torch.nn.BatchNorm2d(8),
        "relu": torch.nn.ReLU(),
        "up": torch.nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2),
        "flatten": torch.nn.Flatten(),
        "head": torch.nn.Linear(6 * 8 * 10, 5),
    }
    model = torch.nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    with torch.no_grad():
        model(torch.randn(16, 8, 4, 5))
    return model.eval()


def numpy_state_dict(rng):
    """Tensors with the names and shapes of the state_dict of torch_model."""
    shapes = {
        **{"depthwise.weight": (8, 1, 3, 3), "depthwise.bias": (8,)},
        **{f"norm.{name}": (8,) for name in ("weight", "bias", "running_mean", "running_var")},
        **{"up.weight": (8, 3, 2, 2), "up.bias": (6,)},
        **{"head.weight": (5, 480), "head.bias": (5,)},
    }
    tensors = {name: rng.uniform(0.1, 1, shape).astype("float32") for name, shape in shapes.items()}
    return tensors | {"norm.num_batches_tracked": np.array(1)}


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 4, 5)).astype("float32")  # (N, C, H, W)
    if torch is not None:
        theirs = torch_model()
        checkpoint = folder / "net.pth"
        torch.save(theirs.state_dict(), checkpoint)
    else:
        checkpoint = folder / "net.safetensors"
        save_file(numpy_state_dict(rng), checkpoint)

    # 1. into a Flax model: all tensors are converted, or one error lists all problems
    rules = {"head": convert.FlattenLinear(6, 8, 10)}  # its input in torch is a flattened (C, H, W)
    model = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))  # the structure, without weights
    model, report = convert.load_torch(model, checkpoint, rules=rules)
    model.eval()
    print(report.plan.report())
    y = np.asarray(model(x.transpose(0, 2, 3, 1)))
    print("output", y.shape)
    if torch is not None:
        with torch.no_grad():
            expected = theirs(torch.from_numpy(x)).numpy()
        print(f"largest difference to torch: {np.abs(y - expected).max():.1e}")
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)

    # 2. back to torch: the same tensors, bit for bit
    back = folder / "back.safetensors"
    convert.save_torch(model, back, extras=report.extras, rules=rules)
    with convert.open_checkpoint(checkpoint) as one, convert.open_checkpoint(back) as other:
        assert set(one.infos) == set(other.infos)
        for name in one.infos:
            assert one.read(name).tobytes() == other.read(name).tobytes(), name
        print(len(one.infos), "tensors come back bit for bit")

    # 3. file to file by the same plan, like `jaxgroups convert` and `jaxgroups verify`
    flax_file = folder / "flax.safetensors"
    convert.convert_file(checkpoint, flax_file, report.plan, to="flax")
    assert convert.verify_file(checkpoint, flax_file, report.plan) == []
    arrays = load_file(flax_file)
    print("tensors of flax.safetensors:", ", ".join(sorted(arrays)))

    # 4. that file needs no further conversion: its names are the Flax paths
    fresh = Net(nnx.Rngs(1))
    state = nnx.state(fresh)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(arrays[".".join(map(str, path))])
    nnx.update(fresh, state)
    fresh.eval()
    assert np.array_equal(fresh(x.transpose(0, 2, 3, 1)), y)
    print("a model filled from it gives the same output")


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
