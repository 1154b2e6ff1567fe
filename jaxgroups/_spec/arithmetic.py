"""Integer formulae of convolutions: sizes, paddings, counts. No arrays, no errors, no jax.

Notation, one spatial axis: ``L`` input length, ``k`` kernel length, ``s`` stride, ``d`` dilation,
``(lo, hi)`` zeros added on either side, ``o`` output padding. The formulae are those of the
PyTorch documentation of ``Conv2d`` and ``ConvTranspose2d``; arXiv:1603.07285 derives them.
"""

from math import prod

Pair = tuple[int, int]


def dilated(k: int, d: int) -> int:
    """Length of ``k`` taps at distance ``d``: ``d (k - 1) + 1``."""
    return d * (k - 1) + 1


def same_padding(k: int, d: int) -> Pair:
    """Padding that keeps the length at stride 1; an odd element goes to the right."""
    total = d * (k - 1)
    return total // 2, total - total // 2


def conv_size(length: int, k: int, s: int, pad: Pair, d: int) -> int:
    """``floor((L + lo + hi - d (k - 1) - 1) / s) + 1``."""
    return (length + pad[0] + pad[1] - dilated(k, d)) // s + 1


def conv_transpose_size(length: int, k: int, s: int, pad: Pair, d: int, o: int) -> int:
    """``(L - 1) s - lo - hi + d (k - 1) + o + 1``: the inverse of `conv_size` for ``o = 0``."""
    return (length - 1) * s - pad[0] - pad[1] + dilated(k, d) + o


def conv_transpose_padding(k: int, pad: Pair, d: int, o: int) -> Pair:
    """Zeros around the stride-dilated input that turn a transposed convolution into a plain one.

    Padding of the forward convolution becomes a crop here, so an entry may be negative.
    """
    full = d * (k - 1)
    return full - pad[0], full - pad[1] + o


def parameters(in_channels: int, out_channels: int, kernel_size: tuple[int, ...], groups: int):
    """Weights of a grouped layer, bias left out: ``in / groups * out * k1 * k2 * ...``."""
    return in_channels // groups * out_channels * prod(kernel_size)


def divisors(n: int) -> list[int]:
    """All divisors of a positive ``n``, ascending."""
    return [i for i in range(1, n + 1) if n % i == 0]
