"""Which files a call passes through: ``python -m benchmarks.route``.

Two calls, each its first: an eager ``conv2d``, and ``load_torch`` into a model of three layers and
nine tensors. Of each the files of jaxgroups that were entered, how often the interpreter went from
one to another, and with ``--list`` the files in the order of their first entry.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import jax.numpy as jnp
import numpy as np

import jaxgroups as jg

PACKAGE = Path(jg.__file__).parent


def route(call: Callable[[], object]) -> list[str]:
    """The files of jaxgroups in which functions ran, a run of calls within one file once."""
    files: list[str] = []

    def entered(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            name = path.relative_to(PACKAGE).as_posix()
            if not files or files[-1] != name:
                files.append(name)

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(before)
    return files


def convolution() -> object:
    return jg.conv2d(jnp.ones((1, 8, 8, 8)), jnp.ones((8, 2, 3, 3)), padding=1, groups=4)


def loading() -> Callable[[], object]:
    from flax import nnx

    from jaxgroups import convert
    from jaxgroups import nnx as layers

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv = layers.Conv2d(4, 8, 3, groups=2, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

    shapes = {
        "conv.weight": (8, 2, 3, 3),
        "conv.bias": (8,),
        **{f"norm.{n}": (8,) for n in ("weight", "bias", "running_mean", "running_var")},
        "norm.num_batches_tracked": (),
        "out.weight": (3, 8),
        "out.bias": (3,),
    }
    model = Model(nnx.Rngs(0))
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    return lambda: convert.load_torch(model, state)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the files")
    named = parser.parse_args(argv).list
    for name, call in (("conv2d", convolution), ("load_torch", loading())):
        files = route(call)
        print(f"{name:<12}{len(set(files)):>3} files, {len(files) - 1:>4} changes of file")
        if named:
            print(*(f"  {file}" for file in dict.fromkeys(files)), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
