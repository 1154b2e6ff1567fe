"""Hints for arrays whose channels are in the axis of the other data format."""

from jaxgroups._types import Ints

_WEIGHTS = {  # (data format, transposed) -> the weight's axes
    ("channels_first", False): "(out, in/groups, *kernel)",
    ("channels_first", True): "(in, out/groups, *kernel)",
    ("channels_last", False): "(*kernel, in/groups, out)",
    ("channels_last", True): "(*kernel, out/groups, in)",
}


def _other_axis(shape: Ints, rank: int, data_format: str) -> tuple[str, int, int]:
    """Name and size of the axis that holds the channels in the other data format, and of ours."""
    first, last = shape[-rank - 1], shape[-1]
    if data_format == "channels_first":
        return "the last axis", last, first
    return f"axis {len(shape) - rank - 1}", first, last


def hint_of_call(
    shape: Ints, weight_shape: Ints, rank: int, groups: int, data_format: str, transposed: bool
) -> str:
    """A hint to pass the other ``data_format``, "" where it does not fit either.

    It fits where the other channel axis of the input has as many channels as the weight takes, read
    in the one or in the other format.

    Args:
      shape: of the input.
      weight_shape: as the caller gave it.
    """
    axis, channels, given = _other_axis(shape, rank, data_format)
    by_format = {
        "channels_first": weight_shape[0] if transposed else weight_shape[1] * groups,
        "channels_last": weight_shape[-1] if transposed else weight_shape[-2] * groups,
    }
    if given == by_format[data_format] or channels not in by_format.values():
        return ""
    other = "channels_last" if data_format == "channels_first" else "channels_first"
    return (
        f'; {axis} has {channels} channels: give data_format="{other}", '
        f"the weight is {_WEIGHTS[other, transposed]} then"
    )


def hint_of_layer(shape: Ints, rank: int, in_channels: int, data_format: str) -> str:
    """A hint to transpose the input of a layer, "" where that does not fit either."""
    axis, channels, given = _other_axis(shape, rank, data_format)
    if given == in_channels or channels != in_channels:
        return ""
    where = "last" if data_format == "channels_last" else "first"
    return f"; {axis} has {channels} channels: they come {where} here, transpose the input"
