"""Run as a program: convolutions by the compiled kernels, and what came out, as one line of JSON.

Whole numbers are compared with XLA's own operations; of fractions the bits are told, as hashes.
"""

import hashlib
import json
import os

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups import ConvSpec
from jaxgroups import _native as native
from support.helpers import run, whole

SPECS = [  # some have work for several threads, some lanes to spare, some both
    "conv2d in=37 out=37 kernel=3 padding=1 groups=37 batch=2 size=61x43",
    "conv2d in=40 out=60 kernel=3 stride=2 padding=1 groups=10 batch=3 size=45x32",
    "conv2d in=48 out=70 kernel=3 padding=2 dilation=2 groups=2 batch=1 size=41x23",
    "conv1d in=24 out=36 kernel=7 padding=3 groups=3 batch=2 size=1501",
    "conv3d in=6 out=12 kernel=3 padding=1 groups=3 batch=2 size=7x15x16",
    "conv_transpose2d in=24 out=36 kernel=4 stride=2 padding=1 groups=6 batch=2 size=19x23",
    # tiles of five outputs
    "conv2d in=37 out=37 kernel=3 padding=1 groups=37 batch=2 size=7x10",
    "conv2d in=24 out=40 kernel=3 padding=1 groups=2 batch=2 size=9x5",
    "conv2d in=20 out=20 kernel=3 padding=1 groups=5 batch=2 size=6x10",
]


def arrays(spec, dtype, seed, fractions=False):
    """x, the weight, and a cotangent of the result."""
    rng = np.random.default_rng(seed)
    shapes = (*spec.batch, spec.in_channels, *spec.size), spec.torch_weight_shape
    result = jax.eval_shape(
        lambda *a: run(spec, *a), *(jax.ShapeDtypeStruct(s, dtype) for s in shapes)
    )
    make = (lambda s: rng.standard_normal(s)) if fractions else (lambda s: whole(rng, s, bound=3))
    return [jnp.asarray(make(s).astype(dtype)) for s in (*shapes, result.shape)]


def function(text, implementation):
    """The compiled result and both gradients, of x, the weight and a cotangent."""
    spec = ConvSpec.parse(text)

    @jax.jit
    def compute(x, weight, ct):
        y, back = jax.vjp(lambda *a: run(spec, *a, implementation=implementation), x, weight)
        return y, *back(ct)

    return spec, compute


def native_function(text):
    return function(text, "native")


def digest(results):
    hashed = hashlib.sha256()
    for result in results:
        hashed.update(np.asarray(result).tobytes())
    return hashed.hexdigest()


def main():
    jax.config.update("jax_enable_x64", True)
    found = native.status()
    bits, wrong = {}, []
    for text, dtype in zip(SPECS, ("float32", "float32", "float64") * 3, strict=True):
        spec, ours = function(text, None if found.missing else "native")
        _, lax = function(text, "xla")
        operands = arrays(spec, dtype, 1)
        pairs = zip(ours(*operands), lax(*operands), strict=True)
        wrong += [text for ours_one, lax_one in pairs if not (ours_one == lax_one).all()]
        fractions = arrays(spec, dtype, 2, fractions=True)
        bits[text] = digest(ours(*fractions))
        if digest(ours(*fractions)) != bits[text]:
            wrong.append(f"{text}, from run to run")
    tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None
    out = {"missing": found.missing, "sets": found.instruction_sets, "threads": tasks}
    print(json.dumps(out | {"bits": bits, "wrong": wrong}))


if __name__ == "__main__":
    main()
