"""`explain`: what a convolution, a model or a checkpoint holds and costs, and what computes it.

    _costs    counts of one convolution, torch's and XLA's way
    _one      one convolution
    _layers   the spec of a Flax layer's call
    _record   a model's calls, traced on shapes -> _program what the rest of the program computes
    _model    a whole model; _file a checkpoint; _table both as text

Models and checkpoints load Flax, and only when they are asked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from jaxgroups._explain.convolution import Explanation as Explanation
from jaxgroups._explain.convolution import one
from jaxgroups._spec.spec import ConvSpec

if TYPE_CHECKING:
    from jaxgroups._explain.checkpoint import CheckpointExplanation
    from jaxgroups._explain.model import ModelExplanation


@overload
def explain(
    what: ConvSpec | str, *, platform: str | None = None, implementation: str | None = None
) -> Explanation: ...
@overload
def explain(what: Path, *, key: str | None = None) -> "CheckpointExplanation": ...
@overload
def explain(
    what: Any,
    example: Any,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    call: Mapping[str, Any] | None = None,
) -> "ModelExplanation": ...
def explain(
    what: Any,
    example: Any = None,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    call: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> Any:
    """Parameters, FLOPs, bytes and lowerings, with the reason for every refusal.

        explain("conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56")
        explain(model, (1, 224, 224, 3)).sorted("parameters")
        explain(Path("model.safetensors"))

    Nothing is computed: a model is traced on shapes. A layer under ``vmap`` counts once.

    Args:
      what: a `ConvSpec`, its spelling, a ``flax.nnx`` or ``flax.linen`` model, or the ``Path`` of a
        checkpoint, of which only the tensors are known.
      example: of a model, its input or a tuple of its inputs: arrays, or shapes for float32.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; by default the one that jax runs on.
      implementation: ask for one lowering, as in `conv2d`.
      call: keyword arguments of the model's call, such as ``{"train": False}``.
      key: where a nested checkpoint has its tensors.

    Raises:
      ValueError: a text that spells no convolution, an implementation that does not take it, or a
        model without an example.
      TypeError: none of these.
    """
    if isinstance(what, str):
        what = ConvSpec.parse(what)
    if isinstance(what, ConvSpec):
        return one(what, platform, implementation)
    if isinstance(what, Path):
        from jaxgroups._explain.checkpoint import checkpoint

        return checkpoint(what, key)
    if example is None:
        raise ValueError(
            "a model is explained with an example of its input, an array or its shape: "
            f"explain(model, (1, 224, 224, 3)); got {type(what).__name__} without"
        )
    from jaxgroups._explain.model import model

    return model(what, example, platform=platform, implementation=implementation, call=call)
