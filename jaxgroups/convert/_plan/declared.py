"""The framework that a safetensors file declares: ``format`` in its metadata, and what follows.

The key is an agreement, and safetensors' own writers leave it out. What is written under it:

* ``pt``: transformers, diffusers, timm, accelerate and `save_torch`. torch's layout.
* ``mlx``: mlx-lm and its relatives. Names and linear layers are torch's, but a convolution's weight
  is (out, *kernel, in/groups): with a kernel as long as in/groups it has torch's shape too.
* ``flax``, ``tf``: transformers' models of these frameworks, in their own layouts.
* ``np``: PaddleNLP, whose linear weights are (in, out), MindSpore, and tools that keep torch's
  layout. It says nothing.
"""

from collections.abc import Iterable

from jaxgroups._printable import printable
from jaxgroups.convert._files import Checkpoint, CheckpointError
from jaxgroups.convert._files.framework import KEY, other_framework
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._rules import ops

_OTHER_LAYOUTS = {
    "flax": "Flax's: load it with safetensors.flax.load_file, without a conversion",
    "jax": "JAX's: load it with safetensors.flax.load_file, without a conversion",
    "tf": "TensorFlow's: save the model from PyTorch, or pass a dict of arrays in torch's layout",
    "paddle": "Paddle's, with linear weights (in, out): transpose them, and pass a dict of arrays",
}
_REMEDY = 'if the layout is torch\'s after all, write the file again with metadata={"format": "pt"}'


def declared(source: Checkpoint, entries: Iterable[Entry]) -> list[str]:
    """Warnings about the layout that the file declares; empty for torch's, or if it says nothing.

    Args:
      source: the checkpoint.
      entries: those of the plan for it, complete or not.

    Raises:
      CheckpointError: tensors that the plan takes for torch's are in another layout.
    """
    said = other_framework(source.metadata)
    if said is None:
        return []
    moved = [e for e in entries if e.flax and e.torch_shape and e.op != ops.Identity()]
    names = [e.torch[0] for e in moved]
    start = f"its metadata say {KEY}={said!r}"
    if source.path is not None:
        start = f"{source.path}: {start}"
    if said.lower() == "mlx":
        names = [e.torch[0] for e in moved if len(e.torch_shape or ()) > 2]
        if not names:
            return []
        raise CheckpointError(
            f"{start}, so {_some(names)} are in MLX's layout (out, *kernel, in/groups), not in "
            "torch's: pass a dict of arrays, a convolution's as numpy.moveaxis(w, -1, 1), a "
            f"transposed one's as numpy.moveaxis(w, -1, 0); {_REMEDY}"
        )
    if said.lower() in _OTHER_LAYOUTS:
        layout = _OTHER_LAYOUTS[said.lower()]
        raise CheckpointError(f"{start}, so its layout is {layout}; {_REMEDY}")
    if not names:
        return []
    text = f"{start}, which does not tell a layout: {_some(names)} are taken as torch's"
    return [printable(f"{text}, (out, in/groups, *kernel) and (out, in)")]


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
