"""An input in the other data format is refused with a hint, and the hint is right."""

import numpy as np
import pytest
from flax import nnx

import jaxgroups as jg

HWIO = 'data_format="channels_last", the weight is (*kernel, in/groups, out) then'
OIHW = 'data_format="channels_first", the weight is (out, in/groups, *kernel) then'
FUNCTIONS = {
    "conv1d": jg.conv1d,
    "conv2d": jg.conv2d,
    "conv_transpose2d": jg.conv_transpose2d,
    "conv3d": jg.conv3d,
}
# function, input, weight, groups, data format -> the end of the message
CASES = {
    "NHWC": (
        ("conv2d", (2, 7, 9, 4), (6, 2, 3, 5), 2, "channels_first"),
        f"but got 7 channels instead (channels_first, groups=2; the last axis has 4 channels: "
        f"give {HWIO})",
    ),
    "NHWC with Flax's weight": (
        ("conv2d", (2, 7, 9, 4), (3, 5, 4, 6), 1, "channels_first"),
        f"to have 5 channels, but got 7 channels instead (channels_first, groups=1; the last axis "
        f"has 4 channels: give {HWIO})",
    ),
    "RGB": (
        ("conv2d", (2, 224, 224, 3), (3, 3, 3, 16), 1, "channels_first"),
        f"but got 224 channels instead (channels_first, groups=1; the last axis has 3 channels: "
        f"give {HWIO})",
    ),
    "depthwise with Flax's weight": (
        ("conv2d", (2, 7, 9, 8), (3, 3, 1, 8), 8, "channels_first"),
        f"got weight of size [3, 3, 1, 8] instead; the last axis has 8 channels: give {HWIO}",
    ),
    "groups that do not divide the kernel": (
        ("conv2d", (2, 7, 9, 8), (3, 3, 4, 8), 2, "channels_first"),
        f"3 / 2 is not whole; the last axis has 8 channels: give {HWIO}",
    ),
    "unbatched": (
        ("conv1d", (9, 4), (6, 2, 3), 2, "channels_first"),
        f"but got 9 channels instead (channels_first, groups=2; the last axis has 4 channels: "
        f"give {HWIO})",
    ),
    "transposed": (
        ("conv_transpose2d", (2, 7, 9, 4), (4, 3, 3, 5), 2, "channels_first"),
        "but got 7 channels instead (channels_first, groups=2; the last axis has 4 channels: give "
        'data_format="channels_last", the weight is (*kernel, out/groups, in) then)',
    ),
    "NCDHW": (
        ("conv3d", (2, 4, 7, 8, 9), (3, 3, 3, 2, 6), 2, "channels_last"),
        f"but got 9 channels instead (channels_last, groups=2; axis 1 has 4 channels: give {OIHW})",
    ),
    "neither": (
        ("conv2d", (2, 7, 9, 5), (6, 2, 3, 5), 2, "channels_first"),
        "but got 7 channels instead (channels_first, groups=2)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call(name):
    (function, x, weight, groups, data_format), end = CASES[name]
    with pytest.raises(ValueError) as caught:
        FUNCTIONS[function](
            np.zeros(x, "float32"),
            np.zeros(weight, "float32"),
            groups=groups,
            data_format=data_format,
        )
    assert str(caught.value).endswith(end)


def test_the_hint_is_right():
    """What it says, done, is the convolution that was meant."""
    x, w = np.ones((2, 4, 7, 9), "float32"), np.ones((6, 2, 3, 5), "float32")
    last = jg.conv2d(
        x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), groups=2, data_format="channels_last"
    )
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), jg.conv2d(x, w, groups=2))


@pytest.mark.parametrize(
    ("shape", "end"),
    [
        ((2, 4, 7, 9), "; axis 1 has 4 channels: they come last here, transpose the input)"),
        ((2, 5, 7, 9), "data_format=channels_last)"),
    ],
)
def test_a_layer(shape, end):
    layer = jg.nnx.Conv2d(4, 6, (3, 5), groups=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="to have 4 channels, but got 9 channels") as caught:
        layer(np.zeros(shape, "float32"))
    assert str(caught.value).endswith(end)
