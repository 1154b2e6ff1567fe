"""The table of convolutions that all kinds of tests use: a name and a descriptor.

The sizes differ on every axis. Most rows have in/groups > 1, out/groups > 1 and in != out, because
wrong grouping changes the result then. The name of a row says which case it tests.
"""

from itertools import product

from jaxgroups import ConvSpec

_ROWS = {
    # plain
    "ordinary": "conv2d in=3 out=4 kernel=3x2 batch=2 size=5x6",
    "two-groups": "conv2d in=4 out=6 kernel=3x2 groups=2 batch=2 size=5x6",
    "experiment": "conv2d in=4 out=8 kernel=1 groups=2 bias=False batch=1 size=1",
    "1d": "conv1d in=6 out=4 kernel=3 stride=2 padding=2 groups=2 batch=3 size=8",
    "3d": "conv3d in=4 out=6 kernel=2x3x1 padding=1x0x1 groups=2 batch=2 size=3x5x4",
    "3d-dilated": "conv3d in=4 out=2 kernel=2 dilation=1x2x3 groups=2 batch=1 size=3x5x6",
    "stride-2": "conv2d in=4 out=6 kernel=3 stride=2 padding=1 groups=2 batch=2 size=7x8",
    "stride-by-axis": "conv2d in=4 out=6 kernel=3x2 stride=3x1 padding=2x0 groups=2 batch=2 size=7x5",
    "stride-over-kernel": "conv2d in=4 out=6 kernel=2 stride=4x3 padding=1 groups=2 batch=2 size=9x8",
    "dilation": "conv2d in=4 out=6 kernel=3x2 padding=2 dilation=2x3 groups=2 batch=2 size=6x7",
    "dilation-and-stride": "conv2d in=4 out=6 kernel=3 stride=2 padding=3 dilation=2 groups=2 batch=2 size=8x9",
    "padding-over-kernel": "conv2d in=4 out=6 kernel=2 padding=3x4 groups=2 batch=1 size=3x4",
    "same-even": "conv2d in=4 out=6 kernel=4x2 padding=1:2x0:1 groups=2 batch=2 size=5x6",
    "whole-image": "conv2d in=4 out=6 kernel=5x6 groups=2 batch=2 size=5x6",
    "unbatched": "conv2d in=4 out=6 kernel=3 groups=2 size=5x6",
    "zero-batch": "conv2d in=4 out=6 kernel=3 groups=2 batch=0 size=5x6",
    "many-small-groups": "conv2d in=16 out=24 kernel=3 padding=1 groups=8 batch=2 size=5x6",
    "wide-groups": "conv2d in=48 out=40 kernel=3 padding=1 groups=2 batch=1 size=4x5",
    "1x1-grouped": "conv2d in=6 out=9 kernel=1 groups=3 batch=2 size=3x4",
    "1x1-strided": "conv2d in=6 out=4 kernel=1 stride=2 groups=2 batch=2 size=5x4",
    "patches": "conv2d in=4 out=6 kernel=2x3 stride=2x3 groups=2 batch=2 size=6x7",
    # depthwise
    "depthwise": "conv2d in=5 out=5 kernel=3 padding=1 groups=5 batch=2 size=6x7",
    "depthwise-x2": "conv2d in=5 out=10 kernel=3x2 padding=1 groups=5 batch=2 size=6x7",
    "depthwise-x3-stride": "conv2d in=4 out=12 kernel=3 stride=2 padding=1 groups=4 batch=2 size=7x6",
    "depthwise-large": "conv2d in=6 out=6 kernel=7 padding=3 groups=6 batch=1 size=8x9",
    "depthwise-dilated": "conv2d in=4 out=4 kernel=3 padding=4 dilation=4x3 groups=4 batch=1 size=9x8",
    "depthwise-1d-causal": "conv1d in=6 out=6 kernel=4 padding=3:0 groups=6 batch=2 size=9",
    "depthwise-3d": "conv3d in=3 out=6 kernel=3x2x3 padding=1 groups=3 batch=1 size=4x3x5",
    "depthwise-17-channels": "conv2d in=17 out=17 kernel=3 padding=1 groups=17 batch=1 size=4x5",
    # padding modes
    "reflect": "conv2d in=4 out=6 kernel=3 padding=2x1 groups=2 padding_mode=reflect batch=2 size=4x5",
    "replicate": "conv2d in=4 out=6 kernel=3 padding=1x6 groups=2 padding_mode=replicate batch=2 size=4x5",
    "circular": "conv2d in=4 out=6 kernel=3x2 stride=2 padding=4x2 groups=2 padding_mode=circular batch=2 size=4x5",
    "circular-same": "conv1d in=4 out=6 kernel=4 padding=1:2 groups=2 padding_mode=circular batch=2 size=5",
    "reflect-3d": "conv3d in=4 out=2 kernel=2 padding=1x2x0 groups=2 padding_mode=reflect batch=1 size=2x3x4",
    # transposed
    "kernel-over-output": "conv1d in=2 out=3 kernel=4 stride=2 padding=2 batch=2 size=5",
    "T-ordinary": "conv_transpose2d in=3 out=4 kernel=3x2 stride=2 batch=2 size=3x4",
    "T-two-groups": "conv_transpose2d in=4 out=6 kernel=3x2 stride=2x3 padding=1x0 groups=2 batch=2 size=3x4",
    "T-output-padding": "conv_transpose2d in=6 out=4 kernel=3 stride=2 padding=1 output_padding=1x0 groups=2 batch=2 size=3x4",
    "T-output-padding-by-dilation": "conv_transpose2d in=6 out=4 kernel=2 output_padding=2x1 dilation=3x2 groups=2 batch=1 size=3x4",
    "T-dilated": "conv_transpose2d in=6 out=4 kernel=3x2 stride=2 padding=2 dilation=2x3 groups=2 batch=2 size=4x5",
    "T-padding-over-kernel": "conv_transpose2d in=4 out=6 kernel=2x3 padding=3x2 groups=2 batch=1 size=7x6",
    "T-kernel-under-stride": "conv_transpose2d in=4 out=6 kernel=2 stride=3x4 output_padding=1x2 groups=2 batch=1 size=3x4",
    "T-1d": "conv_transpose1d in=6 out=4 kernel=5 stride=3 padding=2 output_padding=1 groups=2 batch=3 size=4",
    "T-3d": "conv_transpose3d in=4 out=6 kernel=2x3x1 stride=1x2x3 padding=0x1x0 groups=2 batch=1 size=2x3x4",
    "T-depthwise": "conv_transpose2d in=5 out=5 kernel=4 stride=2 padding=1 groups=5 batch=2 size=3x4",
    "T-depthwise-x2": "conv_transpose2d in=3 out=6 kernel=3x2 stride=2 groups=3 batch=2 size=3x4",
    "T-long-1d": "conv_transpose1d in=4 out=2 kernel=16 stride=4 padding=3 groups=2 batch=1 size=5",
    "T-many-taps-1d": "conv_transpose1d in=6 out=4 kernel=70 stride=16 padding=3 output_padding=2 groups=2 batch=2 size=5",
    "T-many-taps-2d": "conv_transpose2d in=4 out=6 kernel=9x8 stride=4x3 padding=1x2 groups=2 batch=1 size=3x4",
    "T-unbatched": "conv_transpose2d in=4 out=6 kernel=3 stride=2 groups=2 size=3x4",
    "T-zero-batch": "conv_transpose2d in=4 out=6 kernel=3 stride=2 groups=2 batch=0 size=3x4",
}


def _transposed_grid():
    """Transposed with 1 < groups < in, in/groups > 1, out/groups > 1, in != out, in 1d, 2d, 3d."""
    channels = ((4, 6, 2), (6, 9, 3), (8, 4, 2))
    for rank, (ci, co, g), s, p, d in product((1, 2, 3), channels, (1, 2, 3), (0, 1), (1, 2)):
        for o in (0, 1):
            if o and max(s, d) <= o:
                continue
            if rank == 3 and (s == 3 or (ci, co, g) != (4, 6, 2)):
                continue  # saves compile time: 3d uses the code of 2d
            kernel, size = "x".join("323"[:rank]), "x".join("435"[:rank])
            yield (
                f"conv_transpose{rank}d in={ci} out={co} kernel={kernel} stride={s} padding={p} "
                f"output_padding={o} dilation={d} groups={g} batch=2 size={size}"
            )


CASES = {name: ConvSpec.parse(text) for name, text in _ROWS.items()}
TRANSPOSED_GRID = [ConvSpec.parse(text) for text in _transposed_grid()]
