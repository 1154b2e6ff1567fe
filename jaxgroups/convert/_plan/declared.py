"""The framework that a safetensors file declares in its metadata, as ``format``.

The key is a convention, which safetensors' own writers do not follow. Values in use:

* ``pt``: transformers, diffusers, timm, accelerate and `save_torch`. torch's layout.
* ``mlx``: mlx-lm and related projects. Names and linear layers are torch's, but the weight of a
  convolution is (out, *kernel, in/groups), which can have torch's shape too.
* ``flax``, ``tf``: models of transformers in these frameworks' layouts.
* ``np``: PaddleNLP, whose linear weights are (in, out), MindSpore, and tools that keep torch's
  layout. It does not determine a layout.
"""

from collections.abc import Iterable, Mapping

from jaxgroups._printable import printable
from jaxgroups._types import Shape
from jaxgroups.convert._files import Checkpoint, CheckpointError
from jaxgroups.convert._files.framework import KEY, other_framework
from jaxgroups.convert._files.show import first_and_more
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
    """Warnings about the layout that the file declares; empty if it is torch's or not declared.

    Args:
      source: the checkpoint.
      entries: those of the plan for it, complete or not.

    Raises:
      CheckpointError: tensors that the plan converts are not in torch's layout.
    """
    converted = [e for e in entries if e.flax and e.torch_shape and e.op != ops.Identity()]
    return declared_of(source, {e.torch[0]: e.torch_shape or () for e in converted})


def declared_of(source: Checkpoint, converted: Mapping[str, Shape]) -> list[str]:
    """`declared` for tensors whose layout matters, by name, with their shapes."""
    framework = other_framework(source.metadata)
    if framework is None:
        return []
    names = list(converted)
    start = f"its metadata have {KEY}={framework!r}"
    if source.path is not None:
        start = f"{source.path}: {start}"
    if framework.lower() == "mlx":
        names = [name for name, shape in converted.items() if len(shape) > 2]
        if not names:
            return []
        raise CheckpointError(
            f"{start}, so {first_and_more(names)} are in MLX's layout (out, *kernel, in/groups), "
            "not in torch's: pass a dict of arrays, a convolution's as numpy.moveaxis(w, -1, 1), a "
            f"transposed one's as numpy.moveaxis(w, -1, 0); {_REMEDY}"
        )
    if framework.lower() in _OTHER_LAYOUTS:
        layout = _OTHER_LAYOUTS[framework.lower()]
        raise CheckpointError(f"{start}, so its layout is {layout}; {_REMEDY}")
    if not names:
        return []
    text = (
        f"{start}, which does not determine a layout: {first_and_more(names)} are taken as torch's"
    )
    return [printable(f"{text}, (out, in/groups, *kernel) and (out, in)")]
