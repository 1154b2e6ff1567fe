"""Axis orders of kernels: torch's weight and Flax's kernel are one permutation apart.

torch's weight is ``(first, second, *kernel)``, Flax's kernel ``(*kernel, second, first)``, where
(first, second) is (out, in/g) for a convolution and (in, out/g) for a transposed one. The
permutation is the same for both, and for every rank and number of groups.
"""

from jaxgroups._types import Ints


def torch_to_flax(ndim: int) -> Ints:
    """Axes for ``np.transpose``: (2, 3, ..., 1, 0)."""
    return (*range(2, ndim), 1, 0)
