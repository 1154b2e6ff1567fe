"""The grid of an affine map: ``torch.nn.functional.affine_grid``."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgroups._functional.dtypes import widened
from jaxgroups._functional.grid_sample import corners_aligned
from jaxgroups._functional.observed import observed
from jaxgroups._spec.arguments import integers
from jaxgroups._types import Ints


@observed
def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> jax.Array:
    """The points of `grid_sample` for affine maps: ``torch.nn.functional.affine_grid``.

    Args:
      theta: the matrices of the maps, ``(N, 2, 3)`` or ``(N, 3, 4)``. Floating point.
      size: torch's shape of the result of `grid_sample`, ``(N, C, H, W)`` or ``(N, C, D, H, W)``,
        whatever the layout of the input.
      align_corners: whether -1 and 1 are the centres of the corner elements, or, with False, their
        outer edges. None is False with a warning, as in torch.

    Returns:
      ``(N, H, W, 2)`` or ``(N, D, H, W, 3)``: x, y and z of each point.

    Raises:
      ValueError: shapes that torch refuses, or integers in theta.
      NotImplementedError: a size of another length.
      TypeError: a size that is no sequence of ints.
    """
    sizes = integers("affine_grid", "size", size)
    matrices = jnp.asarray(theta)
    align = corners_aligned(align_corners)
    _check(matrices, sizes)
    spatial = sizes[2:]
    rank = len(spatial)
    wide = widened(matrices.dtype)
    columns = matrices.astype(wide)
    shape = (sizes[0], *(1,) * rank, rank)
    result = columns[:, :, rank].reshape(shape)
    for axis, count in enumerate(spatial):
        centres = np.linspace(-1, 1, count) if count > 1 else np.zeros(count)
        if not align:
            centres = centres * (count - 1) / count
        along = [1] * (rank + 2)
        along[axis + 1] = count
        # the first column is of x, the last spatial axis
        column = columns[:, :, rank - 1 - axis].reshape(shape)
        result = result + jnp.asarray(centres, wide).reshape(along) * column
    return result.astype(matrices.dtype)


def _check(theta: jax.Array, size: Ints) -> None:
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype.name}")
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    rank = len(size) - 2
    if theta.ndim != 3 or theta.shape[1:] != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size "
            f"{size}. Got {list(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if theta.shape[0] != size[0]:
        raise ValueError(
            f"affine_grid(): expected one matrix for each of {size[0]} in size {size}, but theta "
            f"has shape {list(theta.shape)}"
        )
