"""A model with every kind of layer, and three checks of its conversion against torch's definitions.

Weights are square wherever a swapped axis would otherwise change the shape.
"""

import numpy as np
import pytest
from flax import nnx

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn


class Net(nnx.Module):
    """Weights are square wherever a swapped axis would otherwise change the shape."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(4, 4, (4, 4), padding="VALID", use_bias=False, rngs=rngs)
        self.group = jnn.Conv2d(4, 4, 4, groups=2, bias=False, rngs=rngs)
        self.up = jnn.ConvTranspose2d(4, 4, 4, groups=2, bias=False, rngs=rngs)
        self.flip = nnx.ConvTranspose(4, 4, (4, 4), padding="VALID", use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(4, momentum=0.9, use_running_average=True, rngs=rngs)
        self.fc = nnx.Linear(4, 4, use_bias=False, rngs=rngs)
        self.flat = nnx.Linear(16, 16, use_bias=False, rngs=rngs)
        self.embed = nnx.Embed(4, 4, rngs=rngs)
        self.mha = nnx.MultiHeadAttention(2, 4, use_bias=False, decode=False, rngs=rngs)
        self.normed = nnx.Linear(4, 4, use_bias=False, rngs=rngs)
        self.scale = nnx.PReLU()


RULES = {"flat": jc.FlattenLinear(4, 2, 2)}


def net():
    return nnx.eval_shape(lambda: Net(nnx.Rngs(0)))


def state():
    """Distinct whole numbers; square weights are not symmetric."""
    shapes = {
        "conv.weight": (4, 4, 4, 4),
        "group.weight": (4, 2, 4, 4),
        "up.weight": (4, 2, 4, 4),
        "flip.weight": (4, 4, 4, 4),
        **{f"bn.{n}": (4,) for n in ("weight", "bias", "running_mean", "running_var")},
        "bn.num_batches_tracked": (),
        "fc.weight": (4, 4),
        "flat.weight": (16, 16),
        "embed.weight": (4, 4),
        "mha.in_proj_weight": (12, 4),
        "mha.out_proj.weight": (4, 4),
        "normed.weight_g": (4, 1),
        "normed.weight_v": (4, 4),
        "scale.weight": (1,),
    }
    rng, start, arrays = np.random.default_rng(0), 1, {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = rng.permutation(np.arange(start, start + size)).reshape(shape) * 1.0
        start += size
    arrays["bn.num_batches_tracked"] = np.array(7)
    return arrays


# --- what torch's weights mean, by its definitions ------------------------------------------------


def convolved(w, x, groups):
    """y[o, i, j] = sum of w[o, c, a, b] x[first channel of o's group + c, i + a, j + b]."""
    out, per, kh, kw = w.shape
    y = np.zeros((out, x.shape[1] - kh + 1, x.shape[2] - kw + 1))
    for o, c, a, b in np.ndindex(w.shape):
        channel = o // (out // groups) * per + c
        y[o] += w[o, c, a, b] * x[channel, a : a + y.shape[1], b : b + y.shape[2]]
    return y


def transposed(w, x, groups):
    """y[first output of i's group + o, s + a, t + b] += w[i, o, a, b] x[i, s, t]."""
    inputs, per, kh, kw = w.shape
    y = np.zeros((per * groups, x.shape[1] + kh - 1, x.shape[2] + kw - 1))
    for i, o, a, b in np.ndindex(w.shape):
        channel = i // (inputs // groups) * per + o
        y[channel, a : a + x.shape[1], b : b + x.shape[2]] += w[i, o, a, b] * x[i]
    return y


def attention(weights, out, x, heads):
    projected = [np.split(x @ w.T, heads, axis=1) for w in np.split(weights, 3)]
    blocks = []
    for q, k, v in zip(*projected, strict=True):
        scores = q @ k.T / np.sqrt(q.shape[1])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        blocks.append(scores / scores.sum(axis=1, keepdims=True) @ v)
    return np.concatenate(blocks, axis=1) @ out.T


def attend(query, key, value, **_):
    """Attention in jax, one head after the other; Flax's own computes in float32."""
    import jax
    import jax.numpy as jnp

    heads = []
    for h in range(query.shape[-2]):
        q, k, v = (a[..., h, :] for a in (query, key, value))
        scores = q @ k.swapaxes(-1, -2) / jnp.sqrt(q.shape[-1]).astype(q.dtype)
        heads.append(jax.nn.softmax(scores) @ v)
    return jnp.stack(heads, axis=-2)


def check_outputs(model):
    """Compare every layer of the loaded model with its definition, on whole numbers."""
    import jax
    import jax.numpy as jnp

    s = state()
    x = np.random.default_rng(1).integers(-3, 4, (4, 6, 5)) * 1.0
    last = jnp.asarray(np.moveaxis(x, 0, -1)[None])

    def equal(name, actual, expected):
        np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-9, err_msg=name)

    def first(y):
        return np.moveaxis(np.asarray(y)[0], -1, 0)

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        equal("conv", first(model.conv(last)), convolved(s["conv.weight"], x, 1))
        equal("group", first(model.group(last)), convolved(s["group.weight"], x, 2))
        equal("up", first(model.up(last)), transposed(s["up.weight"], x, 2))
        equal("flip", first(model.flip(last)), transposed(s["flip.weight"], x, 1))
        norm = (x - s["bn.running_mean"][:, None, None]) / np.sqrt(
            s["bn.running_var"][:, None, None] + 1e-5
        )
        norm = norm * s["bn.weight"][:, None, None] + s["bn.bias"][:, None, None]
        equal("bn", first(model.bn(last)), norm)
        rows = x[:, 0, :4]
        equal("fc", model.fc(jnp.asarray(rows)), rows @ s["fc.weight"].T)
        equal("embed", model.embed.embedding[...], s["embed.weight"])
        chw = x[:, :2, :2]
        flat = jnp.asarray(np.moveaxis(chw, 0, -1).reshape(1, 16))
        equal("flat", model.flat(flat)[0], s["flat.weight"] @ chw.reshape(16))
        model.mha.attention_fn = attend
        rows = rows / 1e4  # so that no score saturates
        expected = attention(s["mha.in_proj_weight"], s["mha.out_proj.weight"], rows, 2)
        equal("mha", model.mha(jnp.asarray(rows[None]))[0], expected)
        v = s["normed.weight_v"]
        w = s["normed.weight_g"] * v / np.sqrt((v**2).sum(axis=1, keepdims=True))
        equal("normed", model.normed(jnp.asarray(rows)), rows @ w.T)
        equal("scale", model.scale(jnp.asarray([-1.0])), -s["scale.weight"])


def check_load(tmp_path):
    """Load the state and compare every layer with its definition."""
    model, report = jc.load_torch(net(), state(), rules=RULES)
    assert report.extras["bn.num_batches_tracked"] == 7
    check_outputs(model)


def plain_state():
    """The state without weight norm, which has no inverse; its values need float64."""
    arrays = {k: v for k, v in state().items() if not k.startswith("normed")}
    arrays["normed.weight"] = np.arange(16.0).reshape(4, 4)
    return {k: v + 2.0**-30 if v.dtype.kind == "f" else v for k, v in arrays.items()}


def check_back(tmp_path):
    """Load and save: the bits are those of the checkpoint."""
    arrays = plain_state()
    model, report = jc.load_torch(net(), arrays, rules=RULES)
    jc.save_torch(model, tmp_path / "a.safetensors", rules=RULES, extras=report.extras)
    with jc.open_checkpoint(tmp_path / "a.safetensors") as back:
        assert sorted(back.infos) == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back.read(name), array, err_msg=name)


def check_files(tmp_path):
    """Convert file to file, verify, and check that converting again is an error."""
    arrays = plain_state()
    source = tmp_path / "torch.safetensors"
    infos = [(n, jc._files.TensorInfo(a.shape, a.dtype.name)) for n, a in arrays.items()]
    write = jc._files.write_safetensors
    write(source, [(n, info, lambda n=n: arrays[n]) for n, info in infos], overwrite=True)
    plan = jc.plan(net(), source, rules=RULES)
    flax = tmp_path / "flax.safetensors"
    jc.convert_file(source, flax, plan, overwrite=True)
    wrong = jc.verify_file(source, flax, plan)
    assert not wrong, f"verify names {wrong}"
    with pytest.raises(ValueError, match="already converted"):
        jc.convert_file(flax, tmp_path / "twice.safetensors", plan)


CHECKS = {"load": check_load, "back": check_back, "files": check_files}
