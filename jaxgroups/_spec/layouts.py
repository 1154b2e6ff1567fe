"""Axis orders of kernels: torch's weight and Flax's kernel are one permutation apart.

torch keeps ``(first, second, *kernel)``, Flax ``(*kernel, second, first)``: of a convolution
(out, in/g), of a transposed one (in, out/g). The permutation is the same for both and for every
rank and group count; it moves values and never mixes them, so a round trip is bit-exact.
"""

from jaxgroups._types import Ints


def torch_to_flax(ndim: int) -> Ints:
    """Axes for ``np.transpose``: (2, 3, ..., 1, 0)."""
    return (*range(2, ndim), 1, 0)


def flax_to_torch(ndim: int) -> Ints:
    """The inverse of `torch_to_flax`: (-1, -2, 0, 1, ...)."""
    return (ndim - 1, ndim - 2, *range(ndim - 2))
