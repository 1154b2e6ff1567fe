"""The one-line descriptor of a ConvSpec, for command lines, tables, test ids and error texts.

    conv2d in=128 out=128 kernel=3 padding=1 groups=32 batch=4 size=56

A descriptor is the name of the function and ``name=value`` words, without those of default values.
``3x5`` has one value for each axis, a single number is the value of all axes, and ``0:1`` is a low
and a high padding. Without ``size`` the descriptor is of a layer, whose input is unknown. With
``size`` but without ``batch`` the input is unbatched.
"""

from collections.abc import Mapping
from typing import Any

from jaxgroups._spec import arguments
from jaxgroups._types import Ints

# word -> default, in the order of a descriptor
_AXES = {
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "dilation": 1,
}
_WORDS = (
    "in",
    "out",
    "kernel",
    *_AXES,
    "groups",
    "padding_mode",
    "bias",
    "batch",
    "size",
    "dtype",
    "data_format",
)
_TEXTS = {"padding_mode": "zeros", "dtype": "float32", "data_format": "channels_first"}


def _format_axes(values: tuple[Any, ...]) -> str:
    if values and all(v == values[0] for v in values):
        values = values[:1]
    return "x".join(_format_pair(v) if isinstance(v, tuple) else str(v) for v in values)


def _format_pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}:{pair[1]}"


def format_spec(op: str, fields: Mapping[str, Any]) -> str:
    """The descriptor of a ConvSpec with the given fields."""
    words = [
        op,
        f"in={fields['in_channels']}",
        f"out={fields['out_channels']}",
        f"kernel={_format_axes(fields['kernel_size'])}",
    ]
    for name, default in _AXES.items():
        text = _format_axes(fields[name])
        if text != str(default):
            words.append(f"{name}={text}")
    if fields["groups"] != 1:
        words.append(f"groups={fields['groups']}")
    if not fields["bias"]:
        words.append("bias=False")
    if fields["size"] is not None:
        if fields["batch"]:
            words.append("batch=" + "x".join(map(str, fields["batch"])))
        words.append(f"size={_format_axes(fields['size'])}")
    words += [f"{n}={fields[n]}" for n, default in _TEXTS.items() if fields[n] != default]
    return " ".join(words)


def _read(word: str, text: str) -> int:
    return _read_ints(word, text, separator=None)[0]


def _read_ints(word: str, text: str, separator: str | None = "x") -> Ints:
    parts = text.split(separator) if separator else [text]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(
            f"{word}={text}: expected whole numbers such as 3, 3x5 or, for padding, 0:1"
        )
    return tuple(map(int, parts))


def _read_axes(word: str, text: str, rank: int) -> Ints:
    values = _read_ints(word, text)
    if len(values) == 1:
        return values * rank
    if len(values) != rank:
        raise ValueError(f"{word}={text}: {len(values)} values for {rank} spatial axes")
    return values


def _read_padding(text: str, rank: int) -> tuple[tuple[int, int], ...]:
    sides = [(t.split(":") * 2)[:2] if ":" not in t else t.split(":") for t in text.split("x")]
    if any(len(pair) != 2 for pair in sides):
        raise ValueError(f"padding={text}: a pair is low:high")
    lows = _read_axes("padding", "x".join(pair[0] for pair in sides), rank)
    highs = _read_axes("padding", "x".join(pair[1] for pair in sides), rank)
    return tuple(zip(lows, highs, strict=True))


def parse_spec(text: str) -> dict[str, Any]:
    """The fields of the ConvSpec that a descriptor means, not yet checked.

    Raises:
      ValueError: an unknown, duplicate or missing word, or a value that cannot be read.
    """
    op, *rest = text.split() or [""]
    rank, transposed = arguments.op_rank(op)
    words: dict[str, str] = {}
    for item in rest:
        word, equals, value = item.partition("=")
        if word not in _WORDS or not equals:
            raise ValueError(f"unknown word {item!r} in {text!r}: expected {'=, '.join(_WORDS)}=")
        if word in words:
            raise ValueError(f"duplicate {word}= in {text!r}")
        words[word] = value
    missing = [word for word in ("in", "out", "kernel") if word not in words]
    if missing:
        raise ValueError(f"missing {'=, '.join(missing)}= in {text!r}")
    if "batch" in words and "size" not in words:
        raise ValueError(f"missing size= in {text!r}, which has batch=")
    if words.get("bias", "True") not in ("True", "False"):
        raise ValueError(f"bias={words['bias']}: expected True or False")

    fields: dict[str, Any] = {
        "in_channels": _read("in", words["in"]),
        "out_channels": _read("out", words["out"]),
        "kernel_size": _read_axes("kernel", words["kernel"], rank),
        "transposed": transposed,
        "groups": _read("groups", words.get("groups", "1")),
        "bias": words.get("bias", "True") == "True",
        "padding": _read_padding(words.get("padding", "0"), rank),
    }
    for name, default in _AXES.items():
        if name != "padding":
            fields[name] = _read_axes(name, words.get(name, str(default)), rank)
    if "size" in words:
        fields["size"] = _read_axes("size", words["size"], rank)
        fields["batch"] = _read_ints("batch", words["batch"]) if "batch" in words else ()
    return fields | {name: words.get(name, default) for name, default in _TEXTS.items()}
