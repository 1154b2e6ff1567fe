"""Every implementation, on random convolutions: results and gradients, exactly.

The data are whole numbers, so that the judge in float64 and every order of adding up agree.
"""

from math import prod

import jax
import numpy as np
from support.helpers import arguments, to_first, to_last, weight_to_last, whole

import jaxgroups as jg
from fuzz import oracle
from jaxgroups import ConvSpec

WORK = 2_000_000  # multiply-adds of a case at most
IMPLEMENTATIONS = (None, None, "native", "native", "native", "shift", "matmul", "xla")
ACTIVATIONS = (None, None, "relu", "relu6", ["hardtanh", -20, 30], ["leaky_relu", 0.25])
_REFUSED = "does not take this convolution"


def draw(rng) -> dict:
    while True:
        text = _descriptor(rng)
        try:
            spec = ConvSpec.parse(text)
            positions = prod(spec.size if spec.transposed else spec.output_shape[2:])
        except ValueError:  # torch has no such convolution
            continue
        if spec.weights * positions * spec.batch[0] <= WORK:
            break
    dtype = str(rng.choice(["float32", "float32", "float32", "float64", "bfloat16", "float16"]))
    plain = spec.transposed or dtype in ("bfloat16", "float16")
    return {
        "spec": text,
        "dtype": dtype,
        "layout": str(rng.choice(["channels_first", "channels_last"])),
        "implementation": IMPLEMENTATIONS[rng.integers(len(IMPLEMENTATIONS))],
        "activation": None if plain else ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        "residual": not plain and bool(rng.integers(2)),
        "seed": int(rng.integers(1000)),
    }


def _descriptor(rng) -> str:
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    transposed = bool(rng.random() < 0.35)
    groups = int(rng.choice([1, 2, 3, 4, 8, 17, 32]))
    few = [1, 1, 2, 3, 4, 5, 8, 16, 24]

    def each(low, high, same=0.5):
        drawn = [int(n) for n in rng.integers(low, high + 1, rank)]
        return drawn[:1] * rank if rng.random() < same else drawn

    kernel = each(1, {1: 20, 2: 7, 3: 3}[rank] if rng.random() < 0.3 else 3)
    stride, dilation = each(1, int(rng.choice([1, 2, 4]))), each(1, int(rng.choice([1, 1, 3])))
    size = each(1, {1: 70, 2: 25, 3: 7}[rank], 0.2)
    fields = {
        "in": groups * int(rng.choice(few)),
        "out": groups * int(rng.choice(few)),
        "kernel": "x".join(map(str, kernel)),
        "stride": "x".join(map(str, stride)),
        "padding": "x".join(map(str, each(0, int(rng.choice([0, 1, 4]))))),
        "dilation": "x".join(map(str, dilation)),
        "groups": groups,
    }
    if transposed:
        extra = [int(rng.integers(max(s, d))) for s, d in zip(stride, dilation, strict=True)]
        fields["output_padding"] = "x".join(map(str, extra))
    elif set(stride) == {1} and rng.random() < 0.2:
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        fields["padding"] = "x".join(f"{n // 2}:{n - n // 2}" for n in total)
    elif rng.random() < 0.2:
        fields["padding_mode"] = str(rng.choice(["reflect", "replicate", "circular"]))
    fields |= {"bias": bool(rng.integers(2)), "batch": int(rng.choice([1, 2, 3]))}
    fields["size"] = "x".join(map(str, size))
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    return " ".join([name, *(f"{key}={value}" for key, value in fields.items())])


def _activated(activation, z):
    """The activation of z, and its derivative as torch has it."""
    match activation:
        case None:
            return z, np.ones_like(z)
        case "relu":
            low, high = 0.0, np.inf
        case "relu6":
            low, high = 0.0, 6.0
        case "hardtanh", low, high:
            pass
        case "leaky_relu", slope:
            return np.where(z > 0, z, slope * z), np.where(z > 0, 1.0, slope)
    return np.clip(z, low, high), ((z > low) & (z < high)).astype(float)


def check(case: dict, folder) -> None:
    spec = ConvSpec.parse(case["spec"])
    rng = np.random.default_rng(case["seed"])
    x = whole(rng, (*spec.batch, spec.in_channels, *spec.size))
    w = whole(rng, spec.torch_weight_shape)
    bias = whole(rng, (spec.out_channels,)) if spec.bias else np.zeros(spec.out_channels)
    shape = spec.output_shape
    ct = whole(rng, shape)
    residual = whole(rng, shape) if case["residual"] else np.zeros(shape)
    activation = case["activation"]
    column = bias.reshape(-1, *[1] * len(spec.size))

    def inner(result):
        return ct * _activated(activation, result + column + residual)[1]

    result, to_x, to_w = oracle.of_spec(spec, x, w, inner)
    given = inner(result)
    expected = {
        "result": _activated(activation, result + column + residual)[0],
        "gradient of the input": to_x,
        "gradient of the weight": to_w,
        "gradient of the bias": given.sum((0, *range(2, given.ndim))),
        "gradient of the residual": given,
    }
    actual = _computed(case, spec, x, w, bias, residual, ct)
    for name, value in actual.items():
        dtype = value.dtype
        wanted = expected[name].astype("float32" if dtype.itemsize == 2 else dtype).astype(dtype)
        assert value.shape == wanted.shape, f"{name}: {value.shape}, not {wanted.shape}"
        wrong = int((value != wanted).sum())
        assert wrong == 0, f"{name}: {wrong} of {value.size} elements are wrong"


def _computed(case, spec, x, w, bias, residual, ct) -> dict:
    """What jaxgroups computes, in torch's layout; of 16-bit numbers the result alone."""
    rank, last = len(spec.size), case["layout"] == "channels_last"
    dtype = jax.numpy.dtype(case["dtype"])
    activation = case["activation"]
    if isinstance(activation, list):
        activation = tuple(activation)

    def run(x, w, bias, residual, implementation):
        return getattr(jg, spec.op)(
            x,
            w,
            bias if spec.bias else None,
            **arguments(spec),
            data_format=case["layout"],
            implementation=implementation,
            **({} if activation is None else {"activation": activation}),
            **({"residual": residual} if case["residual"] else {}),
        )

    def both(x, w, bias, residual, ct, implementation):
        f = lambda *a: run(*a, implementation)  # noqa: E731
        if dtype.itemsize == 2:
            return f(x, w, bias, residual), ()
        result, pull = jax.vjp(f, x, w, bias, residual)
        return result, pull(ct)

    image = (lambda a: to_last(a, rank)) if last else np.asarray
    back = (lambda a: to_first(a, rank)) if last else np.asarray
    operands = [
        np.asarray(a).astype(dtype)
        for a in (image(x), weight_to_last(w) if last else w, bias, image(residual), image(ct))
    ]
    compiled = jax.jit(both, static_argnums=5)
    try:
        result, gradients = compiled(*operands, case["implementation"])
    except ValueError as error:
        if _REFUSED not in str(error):
            raise
        result, gradients = compiled(*operands, None)
    values = {"result": np.asarray(back(result))}
    if gradients:
        to_x, to_w, to_bias, to_residual = gradients
        values["gradient of the input"] = np.asarray(back(to_x))
        to_w = np.asarray(to_w)
        values["gradient of the weight"] = (
            to_w.transpose(-1, -2, *range(to_w.ndim - 2)) if last else to_w
        )
        if spec.bias:
            values["gradient of the bias"] = np.asarray(to_bias)
        if case["residual"]:
            values["gradient of the residual"] = np.asarray(back(to_residual))
    return values
