"""`explain`: parameters, cost and implementations of a convolution, a model or a checkpoint.

    costs          counts of one convolution, as torch and as XLA count
    convolution    one convolution
    layer_kinds    the spec of a Flax layer's call
    features       other layers and functions of jaxgroups; feature_costs counts their operations
    record         the calls of a model, traced on shapes; program counts the rest of its program
    measure        times of convolutions, and the limits of the machine
    model          a whole model; checkpoint a file; rows, table and fitted their tables

Flax is imported only when a model is explained.
"""

from collections.abc import Mapping
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from jaxgroups._explain.convolution import Explanation as Explanation
from jaxgroups._explain.convolution import one
from jaxgroups._spec.spec import ConvSpec

if TYPE_CHECKING:
    from jaxgroups._explain.checkpoint import CheckpointExplanation
    from jaxgroups._explain.model import ModelExplanation

_SUFFIXES = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".ckpt")


def is_checkpoint(text: str) -> bool:
    """Whether a text is the path of a checkpoint rather than the descriptor of a convolution."""
    if text.startswith("conv") and "=" in text:
        return False
    return text.endswith(_SUFFIXES) or isfile(text)


@overload
def explain(
    what: ConvSpec,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    measure: bool = False,
) -> Explanation: ...
@overload
def explain(  # a descriptor, or the path of a checkpoint
    what: str,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    key: str | None = None,
    reader: str | None = None,
    measure: bool = False,
) -> Any: ...
@overload
def explain(
    what: Path, *, key: str | None = None, reader: str | None = None
) -> "CheckpointExplanation": ...
@overload
def explain(
    what: Any,
    example: Any,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    call: Mapping[str, Any] | None = None,
    measure: bool = False,
) -> "ModelExplanation": ...
def explain(
    what: Any,
    example: Any = None,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    call: Mapping[str, Any] | None = None,
    key: str | None = None,
    reader: str | None = None,
    measure: bool = False,
) -> Any:
    """Parameters, FLOPs, bytes and implementations, with the reason for every refusal.

        explain("conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=1 size=56")
        explain(model, (1, 224, 224, 3)).sorted("parameters")
        explain("model.safetensors")

    Nothing is computed unless `measure` is set: a model is traced on shapes. A layer under
    ``vmap`` counts once.

    Multiply-adds and FLOPs are those of convolutions and matrix products, as in torch's flop
    counter. Pools, resizes, norms and the like have none; their ``operations`` count additions,
    multiplications, comparisons, divisions and powers: one for each tap of a pool, two for each
    tap of a resize, four for the statistics of a value and two for its factor and summand.
    Rearrangements have bytes alone.

    XLA cannot count the C++ kernels: each of their calls is -1 in ``cost_analysis()``, and so in
    the ``flops`` of Flax's ``tabulate``. The FLOPs here do not depend on the implementation.

    Args:
      what: a `ConvSpec`, its descriptor, a ``flax.nnx`` or ``flax.linen`` model, or the path of a
        checkpoint, of which only the tensors are known.
      example: the input of a model or a tuple of its inputs: arrays, or shapes for float32.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; by default JAX's default backend.
      implementation: name of one implementation, as in `conv2d`.
      call: keyword arguments of the model's call, such as ``{"train": False}``.
      key: key of the tensors in a nested checkpoint.
      reader: what reads a torch file, as in `convert.open_checkpoint`.
      measure: whether to time each convolution on this machine, alone and compiled, about 0.2
        seconds each. Beside it stands the shortest time that the machine allows: its
        floating-point operations at the rate of a large matrix product, or its bytes at that of a
        pass over memory, both measured first.

    Returns:
      An `Explanation`, for a model or a checkpoint a table of its layers or tensors. All have
      ``str()`` for people, ``as_dict()`` for programs and an HTML form for notebooks.

    Raises:
      ValueError: a text that describes no convolution, an implementation that does not support it,
        or a model without an example; `measure` of a checkpoint, without an input size, or on
        another platform than JAX's default backend.
      FileNotFoundError, CheckpointError: the checkpoint is missing, damaged or refused.
      TypeError: `what` is none of these.
    """
    if isinstance(what, str):
        if is_checkpoint(what):
            what = Path(what)
        elif Path(what).suffix and "=" not in what:
            raise ValueError(
                f"{what!r} is neither a descriptor such as 'conv2d in=4 out=8 kernel=3' nor a "
                f"checkpoint ({', '.join(_SUFFIXES)}) nor an existing file"
            )
        else:
            what = ConvSpec.parse(what)
    if isinstance(what, ConvSpec):
        return one(what, platform, implementation, measure)
    if isinstance(what, Path):
        if measure:
            raise ValueError(
                f"a checkpoint has tensors, and no convolutions that could be timed: {str(what)!r}"
            )
        from jaxgroups._explain.checkpoint import checkpoint

        return checkpoint(what, key, reader)
    if example is None:
        raise ValueError(
            "a model needs an example of its input, an array or its shape: "
            f"explain(model, (1, 224, 224, 3)); got {type(what).__name__} without one"
        )
    from jaxgroups._explain.model import model

    how = {"platform": platform, "implementation": implementation, "call": call}
    return model(what, example, **how, timed=measure)
