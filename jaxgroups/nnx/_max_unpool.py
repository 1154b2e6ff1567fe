"""Max unpooling layers with torch's names and arguments, channels last."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from jaxgroups import _functional as functional
from jaxgroups._types import IntOrInts
from jaxgroups.nnx._base import FeatureLayer


class _MaxUnpool(FeatureLayer):
    """{rank}-D max unpooling over channels-last input, with the arguments of ``torch.nn.{name}``.

    Shape: input and indices ``(*batch, {axes}, C)``, output ``(*batch, {out}, C)``. The indices are
    those of `MaxPool{rank}d` with `return_indices`.

    Args:
      kernel_size: size of the pooling window, an int or one for each of {axes}.
      stride: distance between the pooling windows. None by default: the kernel size.
      padding: padding of the pooling.

    Raises:
      ValueError: at the call, shapes, sizes or indices that torch refuses.
      TypeError: at the call, an argument of the wrong type.
    """

    function: ClassVar[Callable[..., jax.Array]]
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: IntOrInts,
        stride: IntOrInts | None = None,
        padding: IntOrInts = 0,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def __call__(self, x: Any, indices: Any, output_size: Any = None) -> jax.Array:
        """The values of `x` at their indices in the output, zeros elsewhere.

        Args:
          x: ``(*batch, *spatial, C)``.
          indices: the index of each value in the flattened spatial axes of the output.
          output_size: sizes of the output's spatial axes, or the whole shape of the output.
        """
        return type(self).function(
            x,
            indices,
            self.kernel_size,
            self.stride,
            self.padding,
            output_size,
            data_format="channels_last",
        )


class MaxUnpool1d(_MaxUnpool):
    rank = 1
    function = functional.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    rank = 2
    function = functional.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    rank = 3
    function = functional.max_unpool3d
