"""The table of errors: what raises, our message, and torch's message. Data only.

The `sentence` of a row is the first sentence of torch 2.13, and the beginning of our message. If
torch's text describes its internals, or torch has no such function, the row is our `own`: `why` has
the reason, and `sentence` is the full message (or its beginning, if it ends with "...").
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import ml_dtypes
import numpy as np
from flax import nnx as flax_nnx

import jaxgroups as jg
from jaxgroups import convert, linen, nnx
from jaxgroups._lowerings import dispatch

RANKS = (1, 2, 3)
FLOATS = ("float64",) * 3  # dtypes of input, weight, bias; torch takes oneDNN's texts for float32


@dataclass(frozen=True)
class Row:
    """One error. `builds`: a constructor raises it; `torch`: the same call of torch."""

    id: str
    call: Callable[[], Any]
    sentence: str
    error: type[Exception] = ValueError
    numbers: tuple[int, ...] = ()
    torch: Callable[[Any], Any] | None = None
    own: bool = False
    why: str = ""
    builds: bool = False


def fault(row: Row) -> str | None:
    """How the error differs from the one that `row` describes; None if it does not."""
    try:
        row.call()
    except Exception as error:
        if type(error) is not row.error:
            return f"{type(error).__name__} instead of {row.error.__name__}: {error}"
        return _fault(row, str(error))
    return "nothing was refused"


def _fault(row: Row, message: str) -> str | None:
    whole = row.own and not row.sentence.endswith("...")
    start = row.sentence.removesuffix("...") if row.own else row.sentence
    if not message.startswith(start) or (whole and message != start):
        return f"the message is {message!r}, it should be {row.sentence!r}"
    missing = [n for n in row.numbers if str(n) not in re.findall(r"-?\d+", message)]
    return f"{missing} missing in {message!r}" if missing else None


# --- how rows are made ---------------------------------------------------------------------------


def _function(
    id: str,
    sentence: str,
    op: str,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None = None,
    *,
    dtypes: tuple[str, str, str] = FLOATS,
    error: type[Exception] = ValueError,
    numbers: tuple[int, ...] = (),
    why: str = "",
    theirs: bool = True,
    **kw: Any,
) -> Row:
    shapes = [x, weight] if bias is None else [x, weight, bias]

    def ours():
        arrays = (np.zeros(s, d) for s, d in zip(shapes, dtypes, strict=False))
        return getattr(jg, op)(*arrays, **kw)

    def torchs(torch):
        arrays = (
            torch.zeros(s, dtype=getattr(torch, d)) for s, d in zip(shapes, dtypes, strict=False)
        )
        return getattr(torch.nn.functional, op)(*arrays, **kw)

    return Row(id, ours, sentence, error, numbers, torchs if theirs else None, bool(why), why)


def build(library: str, name: str, *args: Any, **kw: Any) -> Any:
    """``Conv2d(in, out, kernel, ...)`` of torch, or of jaxgroups with the same arguments."""
    if library == "nnx":
        return getattr(nnx, name)(*args, rngs=flax_nnx.Rngs(0), **kw)
    in_channels, *args = args
    return getattr(linen, name)(*args, in_channels=in_channels, **kw)


def _layer(
    id: str,
    sentence: str,
    name: str,
    *args: Any,
    error: type[Exception] = ValueError,
    numbers: tuple[int, ...] = (),
    why: str = "",
    theirs: Callable[[Any], Any] | bool = True,
    **kw: Any,
) -> list[Row]:
    """An error of a constructor, nnx and linen."""
    torchs = (lambda torch: getattr(torch.nn, name)(*args, **kw)) if theirs is True else theirs
    return [
        Row(
            f"{library} {name}: {id}",
            lambda library=library: build(library, name, *args, **kw),
            sentence,
            error,
            numbers,
            torchs or None,
            bool(why),
            why,
            builds=True,
        )
        for library in ("nnx", "linen")
    ]


def apply(library: str, layer: Any, x: Any, **kw: Any) -> Any:
    """The call of a layer that `build` built."""
    return layer(x, **kw) if library == "nnx" else layer.init(jax.random.key(0), x, **kw)


def _layer_call(
    id: str,
    sentence: str,
    name: str,
    args: tuple[Any, ...],
    x: tuple[int, ...],
    *,
    error: type[Exception] = ValueError,
    numbers: tuple[int, ...] = (),
    why: str = "",
    theirs: tuple[int, ...] | None = None,
    call: dict[str, Any] | None = None,
    **kw: Any,
) -> list[Row]:
    """An error of a call, nnx and linen; `x` is channels last, `theirs` is torch's input."""
    call = call or {}

    def torchs(torch):
        return getattr(torch.nn, name)(*args, **kw)(torch.zeros(theirs), **call)

    return [
        Row(
            f"{library} {name}(x): {id}",
            lambda library=library: apply(
                library, build(library, name, *args, **kw), np.zeros(x, np.float32), **call
            ),
            sentence,
            error,
            numbers,
            torchs if theirs else None,
            bool(why),
            why,
        )
        for library in ("nnx", "linen")
    ]


def _own(
    id: str,
    call: Callable[[], Any],
    sentence: str,
    error: type[Exception] = ValueError,
    why: str = "torch has no such function",
    **kw: Any,
) -> Row:
    return Row(id, call, sentence, error, own=True, why=why, **kw)


# --- constructors --------------------------------------------------------------------------------

PARSER = "torch's argument parser lists its C++ signatures"
NO_LENGTH = "torch builds such a layer, and every call of it fails"
NEGATIVE = {
    "Conv1d": "Trying to create tensor with negative dimension -1: [3, 3, -1]",
    "Conv2d": "Trying to create tensor with negative dimension -1: [3, 3, -1, -1]",
    "Conv3d": "Trying to create tensor with negative dimension -1: [3, 3, -1, -1, -1]",
    "ConvTranspose1d": "Trying to create tensor with negative dimension -1: [3, 3, -1]",
    "ConvTranspose2d": "Trying to create tensor with negative dimension -1: [3, 3, -1, -1]",
    "ConvTranspose3d": "Trying to create tensor with negative dimension -1: [3, 3, -1, -1, -1]",
}
IN = "in_channels must be divisible by groups"
OUT = "out_channels must be divisible by groups"
GROUPS = "groups must be a positive integer"
MODES = "padding_mode must be one of {'circular', 'reflect', 'replicate', 'zeros'}, but got "
STRING = "Invalid padding string 'foo', should be one of {'same', 'valid'}"
SAME = "padding='same' is not supported for strided convolutions"
GRADIENTS = "Only Tensors of floating point and complex dtype can require gradients"

ROWS: list[Row] = []
for _name in NEGATIVE:
    _n = int(_name[-2])
    ROWS += [
        *_layer("in % groups", IN, _name, 5, 4, 3, groups=2, numbers=(5, 2)),
        *_layer("out % groups", OUT, _name, 4, 5, 3, groups=2, numbers=(5, 2)),
        *_layer("groups 0", GROUPS, _name, 4, 4, 3, groups=0, numbers=(0,)),
        *_layer("groups < 0", GROUPS, _name, 4, 4, 3, groups=-2, numbers=(-2,)),
        *_layer("kernel < 0", NEGATIVE[_name], _name, 3, 3, -1, numbers=(-1,)),
    ]
    if "Transpose" in _name:
        for _mode in ("reflect", "xyz", None):
            _only = f'Only "zeros" padding mode is supported for {_name}'
            ROWS += _layer(f"padding_mode {_mode}", _only, _name, 4, 4, 3, padding_mode=_mode)
        ROWS += _layer(
            "padding 'same'",
            f"{_name}(): argument 'padding' must be tuple of ints, not str: got padding='same', "
            "give one int or one int an axis",
            _name,
            4,
            4,
            3,
            padding="same",
            error=TypeError,
            why="torch builds it with padding=('s', 'a', 'm', 'e')",
            theirs=False,
        )
    else:
        for _mode in ("xyz", 3, None):
            ROWS += _layer(
                f"padding_mode {_mode}",
                f"{MODES}padding_mode='{_mode}'",
                _name,
                4,
                4,
                3,
                padding_mode=_mode,
            )
        ROWS += [
            *_layer("padding 'foo'", STRING, _name, 4, 4, 3, padding="foo"),
            *_layer(
                "padding 'SAME'", STRING.replace("foo", "SAME"), _name, 4, 4, 3, padding="SAME"
            ),
            *_layer("same, strided", SAME, _name, 4, 4, 3, 2, padding="same", numbers=(2,)),
        ]
        if _n > 1:
            _strides = (1,) * (_n - 1) + (3,)
            ROWS += _layer(
                "same, one axis strided", SAME, _name, 4, 4, 3, _strides, "same", numbers=(3,)
            )

for _name in ("Conv2d", "ConvTranspose2d"):
    for _id, _given, _shown in (
        ("None", None, "NoneType"),
        ("2.0", 2.0, "float"),
        ("True", True, "bool"),
        ("'2'", "2", "str"),
    ):
        ROWS += _layer(
            f"groups {_id}",
            f"{_name}(): argument 'groups' must be int, not {_shown}: got groups={_given!r}, "
            "give a whole number",
            _name,
            4,
            4,
            3,
            groups=_given,
            error=TypeError,
            why="torch shows Python's or torch.empty's text, and builds with True",
            theirs=False
            if _given is True
            else lambda torch, name=_name, given=_given: getattr(torch.nn, name)(
                4, 4, 3, groups=given
            ),
        )
    ROWS += [
        *_layer(
            "in_channels 4.0",
            f"{_name}(): argument 'in_channels' must be int, not float: got in_channels=4.0, "
            "give a whole number",
            _name,
            4.0,
            4,
            3,
            error=TypeError,
            why="torch shows torch.empty's text",
        ),
        *_layer(
            "out_channels '4'",
            f"{_name}(): argument 'out_channels' must be int, not str: got out_channels='4', "
            "give a whole number",
            _name,
            4,
            "4",
            3,
            error=TypeError,
            why="torch shows Python's text of str % int",
        ),
        *_layer(
            "kernel 3.0",
            f"{_name}(): argument 'kernel_size' must be tuple of ints, not float: "
            "got kernel_size=3.0, give one int or one int an axis",
            _name,
            4,
            4,
            3.0,
            error=TypeError,
            why="torch shows torch.empty's text",
        ),
        *_layer(
            "kernel (3.0, 3)",
            f"{_name}(): argument 'kernel_size' must be tuple of ints, but found element of type "
            "float at pos 0: got kernel_size=(3.0, 3)",
            _name,
            4,
            4,
            (3.0, 3),
            error=TypeError,
            why="torch shows torch.empty's text",
        ),
        *_layer(
            "kernel of one",
            "expected kernel_size to be a single integer value or a list of 2 values to match the "
            "convolution dimensions, but got kernel_size=[3]: 1 values for 2 spatial axes",
            _name,
            4,
            4,
            (3,),
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "kernel 0",
            "kernel size should be greater than zero, but got kernel_height: 0 kernel_width: 3: "
            "give at least 1 an axis",
            _name,
            4,
            4,
            (0, 3),
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "stride 0",
            "non-positive stride is not supported: got stride=(0, 0), at least 1",
            _name,
            4,
            4,
            3,
            0,
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "stride 1.5",
            f"{_name}(): argument 'stride' must be tuple of ints, not float: got stride=1.5, "
            "give one int or one int an axis",
            _name,
            4,
            4,
            3,
            1.5,
            error=TypeError,
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "padding None",
            f"{_name}(): argument 'padding' must be tuple of ints, not NoneType: got "
            "padding=None, give one int or one int an axis",
            _name,
            4,
            4,
            3,
            padding=None,
            error=TypeError,
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "padding < 0",
            "negative padding is not supported: got padding=(-1, -1, -1, -1); "
            "to crop, slice the array instead",
            _name,
            4,
            4,
            3,
            padding=-1,
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            "no channels",
            "channels must be positive: got in_channels=0, out_channels=4; torch builds such a "
            "layer, but it computes nothing",
            _name,
            0,
            4,
            3,
            why="torch only warns",
            theirs=False,
        ),
        *_layer(
            "no output channels",
            "channels must be positive: got in_channels=4, out_channels=0; torch builds such a "
            "layer, but it computes nothing",
            _name,
            4,
            0,
            3,
            why="torch only warns",
            theirs=False,
        ),
        *_layer(
            "in < 0",
            "Trying to create tensor with negative dimension -4: ",
            _name,
            -4,
            4,
            3,
            numbers=(-4, 3),
        ),
        *_layer(
            "out < 0",
            "Trying to create tensor with negative dimension -4: ",
            _name,
            4,
            -4,
            3,
            numbers=(-4, 3),
        ),
        *_layer(
            "integer dtype",
            GRADIENTS,
            _name,
            4,
            4,
            3,
            param_dtype=np.int32,
            theirs=lambda torch, name=_name: getattr(torch.nn, name)(4, 4, 3, dtype=torch.int32),
        ),
        *_layer(
            "unknown implementation",
            "implementation must be None or one of ...",
            _name,
            4,
            4,
            3,
            implementation="magic",
            why="torch has no such argument",
            theirs=False,
        ),
    ]
for _name, _at in (("dilation", 0), ("dilation", -1)):
    ROWS += [
        *_layer(
            f"dilation {_at}",
            f"dilation should be greater than zero, but got [{_at}, {_at}]: 1 is the dense kernel",
            "Conv2d",
            4,
            4,
            3,
            dilation=_at,
            why=NO_LENGTH,
            theirs=False,
        ),
        *_layer(
            f"dilation {_at}",
            f"dilation should be greater than zero, but got dilation_height: {_at}, "
            f"dilation_width: {_at}: 1 is the dense kernel",
            "ConvTranspose2d",
            4,
            4,
            3,
            dilation=_at,
            why=NO_LENGTH,
            theirs=False,
        ),
    ]
for _axis in ("stride", "padding", "dilation"):
    ROWS += _layer(
        f"{_axis} of three",
        f"expected {_axis} to be a single integer value or a list of 2 values to match the "
        f"convolution dimensions, but got {_axis}=[1, 1, 1]: 3 values for 2 spatial axes",
        "Conv2d",
        4,
        4,
        3,
        **{_axis: (1, 1, 1)},
        why=NO_LENGTH,
        theirs=False,
    )
for _mode in ("reflect", "replicate", "circular"):
    ROWS += _layer(
        f"padding < 0, {_mode}",
        "negative padding is not supported: got padding=(-1, -1, -1, -1); "
        "to crop, slice the array instead",
        "Conv2d",
        4,
        4,
        3,
        padding=-1,
        padding_mode=_mode,
        why="torch crops here",
        theirs=False,
    )
ROWS += [
    *_layer(
        "output_padding of three",
        "expected output_padding to be a single integer value or a list of 2 values to match the "
        "convolution dimensions, but got output_padding=[1, 1, 1]: 3 values for 2 spatial axes",
        "ConvTranspose2d",
        4,
        4,
        3,
        2,
        output_padding=(1, 1, 1),
        why=NO_LENGTH,
        theirs=False,
    ),
    *_layer(
        "output_padding < 0",
        "negative output_padding is not supported: got output_padding=(-1, -1); "
        "to crop, slice the array instead",
        "ConvTranspose2d",
        4,
        4,
        3,
        output_padding=-1,
        why=NO_LENGTH,
        theirs=False,
    ),
    *_layer(
        "output_padding 2",
        "output padding must be smaller than either stride or dilation, but got "
        "output_padding_height: 2 output_padding_width: 2 stride_height: 2 stride_width: 2 "
        "dilation_height: 1 dilation_width: 1: it only chooses among the output sizes that a "
        "stride or dilation leaves open",
        "ConvTranspose2d",
        4,
        4,
        3,
        2,
        output_padding=2,
        why=NO_LENGTH,
        theirs=False,
    ),
    Row(
        "linen Conv2d: out % groups, in_channels unknown",
        lambda: linen.Conv2d(5, 3, groups=2),
        OUT,
        numbers=(5, 2),
        builds=True,
        torch=lambda torch: torch.nn.Conv2d(4, 5, 3, groups=2),
    ),
    Row(
        "linen Conv2d: groups 0, in_channels unknown",
        lambda: linen.Conv2d(4, 3, groups=0),
        GROUPS,
        numbers=(0,),
        builds=True,
        torch=lambda torch: torch.nn.LazyConv2d(4, 3, groups=0),
    ),
    _own(
        "linen Conv2d: groups None, in_channels unknown",
        lambda: linen.Conv2d(4, 3, groups=None),
        "Conv2d(): argument 'groups' must be int, not NoneType: got groups=None, "
        "give a whole number",
        TypeError,
        why="torch shows Python's text of <=",
        torch=lambda torch: torch.nn.LazyConv2d(4, 3, groups=None),
        builds=True,
    ),
]

# --- calls of layers -----------------------------------------------------------------------------

LAST = "torch shows its own layout, channels first"
for _n in RANKS:
    _s, _t = (5,) * _n, f"{_n + 1}D (unbatched) or {_n + 2}D (batched)"
    _text = f"Expected {_t} input to conv{_n}d, but got input of size: {list(_s)}"
    ROWS += _layer_call("rank", _text, f"Conv{_n}d", (5, 4, 3), _s, theirs=_s)
    _text = _text.replace("conv", "conv_transpose")
    ROWS += _layer_call("rank", _text, f"ConvTranspose{_n}d", (5, 4, 3), _s, theirs=_s)
    ROWS.append(
        _own(
            f"linen Conv{_n}d(x): rank, in_channels unknown",
            lambda n=_n: apply("linen", getattr(linen, f"Conv{n}d")(4, 3), np.zeros((5,) * n)),
            f"Expected {_t} input to conv{_n}d, but got input of size: {list(_s)}: one axis for "
            f"channels and {_n} spatial",
            why="torch names the class LazyConv and shows a torch.Size",
            torch=lambda torch, n=_n: getattr(torch.nn, f"LazyConv{n}d")(4, 3)(
                torch.zeros((5,) * n)
            ),
        )
    )
    for _mode in ("reflect", "replicate", "circular"):
        ROWS += _layer_call(
            f"rank, {_mode}",
            f"Padding size {2 * _n} is not supported for {_n}D input tensor.\n",
            f"Conv{_n}d",
            (5, 4, 3),
            _s,
            padding=1,
            padding_mode=_mode,
            theirs=_s,
        )
    ROWS += _layer_call(
        "circular pad > length",
        "Padding value causes wrapping around more than once.",
        f"Conv{_n}d",
        (3, 4, 3),
        (1, *_s, 3),
        padding=6,
        padding_mode="circular",
        numbers=(6, 5),
        theirs=(1, 3, *_s),
    )
    _axis = _n  # of channels last; torch's is one more
    ROWS += _layer_call(
        "reflect pad = length",
        "Argument #4: Padding size should be less than the corresponding input dimension, but "
        f"got: padding (5, 5) at dimension {_axis} of input {[1, *_s, 3]}: reflection leaves out "
        "the border element, so at most 4",
        f"Conv{_n}d",
        (3, 4, 3),
        (1, *_s, 3),
        padding=5,
        padding_mode="reflect",
        why=LAST,
        theirs=(1, 3, *_s),
    )
    for _mode in ("reflect", "replicate"):
        ROWS += _layer_call(
            f"no channels, {_mode}",
            f"Expected {_n + 1}D or {_n + 2}D (batch mode) tensor with possibly 0 batch size and "
            f"other non-zero dimensions for input, but got: {[1, *_s, 0]}",
            f"Conv{_n}d",
            (3, 4, 3),
            (1, *_s, 0),
            padding=1,
            padding_mode=_mode,
            why=LAST,
            theirs=(1, 0, *_s),
        )
    _name = f"ConvTranspose{_n}d"
    ROWS += [
        *_layer_call(
            "output_size of one more",
            f"ConvTranspose{_n}D: for {_n + 2}D input, output_size must have {_n} or {_n + 2} "
            f"elements (got {_n + 1})",
            _name,
            (4, 4, 3, 3),
            (1, *(6,) * _n, 4),
            call={"output_size": (17,) * (_n + 1)},
            theirs=(1, 4, *(6,) * _n),
        ),
        *_layer_call(
            "output_size out of reach",
            f"requested an output size of {(17,) * _n}, but valid sizes range from {[18] * _n} to "
            f"{[20] * _n} (for an input of ",
            _name,
            (4, 4, 3, 3),
            (1, *(6,) * _n, 4),
            call={"output_size": (17,) * _n},
            numbers=(17, 18, 20, 6, 3),
            theirs=(1, 4, *(6,) * _n),
        ),
        *_layer_call(
            "output_size an int",
            "object of type 'int' has no len()",
            _name,
            (4, 4, 3, 3),
            (1, *(6,) * _n, 4),
            call={"output_size": 18},
            error=TypeError,
            numbers=(18,),
            theirs=(1, 4, *(6,) * _n),
        ),
    ]
ROWS += [
    *_layer_call(
        "channels",
        "Given groups=2, weight of size [3, 3, 2, 6], expected input[1, 8, 8, 6] to have 4 "
        "channels, but got 6 channels instead (conv2d in=4 out=6 kernel=3 groups=2 "
        "data_format=channels_last)",
        "Conv2d",
        (4, 6, 3),
        (1, 8, 8, 6),
        groups=2,
        why=LAST,
        theirs=(1, 6, 8, 8),
    ),
    *_layer_call(
        "channels",
        "Given transposed=1, weight of size [3, 3, 3, 4], expected input[1, 8, 8, 6] to have 4 "
        "channels, but got 6 channels instead (conv_transpose2d in=4 out=6 kernel=3 groups=2 "
        "data_format=channels_last)",
        "ConvTranspose2d",
        (4, 6, 3),
        (1, 8, 8, 6),
        groups=2,
        why=LAST,
        theirs=(1, 6, 8, 8),
    ),
    *_layer_call(
        "no channels",
        "Given groups=1, weight of size [3, 3, 4, 4], expected input[1, 5, 5, 0] to have 4 "
        "channels, but got 0 channels instead (conv2d in=4 out=4 kernel=3 "
        "data_format=channels_last)",
        "Conv2d",
        (4, 4, 3),
        (1, 5, 5, 0),
        why=LAST,
        theirs=(1, 0, 5, 5),
    ),
    *_layer_call(
        "reflect pad = length of the first axis",
        "Argument #6: Padding size should be less than the corresponding input dimension, but "
        "got: padding (5, 5) at dimension 1 of input [1, 5, 5, 3]: reflection leaves out the "
        "border element, so at most 4",
        "Conv2d",
        (3, 4, 3),
        (1, 5, 5, 3),
        padding=(5, 1),
        padding_mode="reflect",
        why=LAST,
        theirs=(1, 3, 5, 5),
    ),
    *_layer_call(
        "kernel > input",
        "Calculated padded input size per channel: (4 x 4). Kernel size: (5 x 5). Kernel size "
        "can't be greater than actual input size",
        "Conv2d",
        (3, 4, 3),
        (1, 4, 4, 3),
        dilation=2,
        numbers=(3, 2),
        theirs=(1, 3, 4, 4),
    ),
    *_layer_call(
        "kernel > input, no examples",
        "Calculated padded input size per channel: (4 x 4). Kernel size: (5 x 5). Kernel size "
        "can't be greater than actual input size",
        "Conv2d",
        (3, 4, 5),
        (0, 4, 4, 3),
        theirs=(0, 3, 4, 4),
    ),
    *_layer_call(
        "output too small",
        "Given input size per channel: (5 x 5). Calculated output size per channel: (-3 x -3). "
        "Output size is too small: the padding crops all of it away",
        "ConvTranspose2d",
        (4, 4, 3),
        (1, 5, 5, 4),
        padding=5,
        why="torch shows oneDNN's text for float32",
        theirs=(1, 4, 5, 5),
    ),
    *[
        Row(
            f"{library} Conv2d(x): not an array",
            lambda library=library: apply(library, build(library, "Conv2d", 4, 4, 3), None),
            "conv2d() received an invalid combination of arguments - got (NoneType",
            TypeError,
            torch=lambda torch: torch.nn.Conv2d(4, 4, 3)(None),
        )
        for library in ("nnx", "linen")
    ],
]


def _with(name: str, value: Any) -> Any:
    layer = build("nnx", "Conv2d", 4, 6, 3, groups=2)
    setattr(layer, name, flax_nnx.Param(value))
    return layer(np.zeros((1, 5, 5, 4), np.float32))


ROWS += [
    Row(
        "linen Conv2d(x): in % groups, in_channels unknown",
        lambda: apply("linen", linen.Conv2d(4, 3, groups=2), np.zeros((1, 5, 5, 5))),
        IN,
        numbers=(5, 2),
        torch=lambda torch: torch.nn.LazyConv2d(4, 3, groups=2)(torch.zeros(1, 5, 5, 5)),
    ),
    _own(
        "linen Conv2d(x): no channels, in_channels unknown",
        lambda: apply("linen", linen.Conv2d(4, 3), np.zeros((1, 5, 5, 0))),
        "channels must be positive: got in_channels=0, out_channels=4; torch builds such a layer, "
        "but it computes nothing",
        why="torch computes nothing",
    ),
    _own(
        "nnx Conv2d(x): kernel replaced",
        lambda: _with("kernel", np.zeros((3, 3, 4, 6), np.float32)),
        "kernel has shape (3, 3, 4, 6), but this layer needs (3, 3, 2, 6): "
        "conv2d in=4 out=6 kernel=3 groups=2 data_format=channels_last",
    ),
    _own(
        "nnx Conv2d(x): bias replaced",
        lambda: _with("bias", np.zeros((4,), np.float32)),
        "bias has shape (4,), but this layer needs (6,): "
        "conv2d in=4 out=6 kernel=3 groups=2 data_format=channels_last",
    ),
]

# --- keywords of constructors ---------------------------------------------------------------------

NO_KEYWORD = "torch has no such keyword, and does not know the names of jax"
NO_RNGS = "torch draws from its global generator"
UNEXPECTED = "() got an unexpected keyword argument "
FOREIGN = {
    "strides": "stride",
    "window_strides": "stride",
    "use_bias": "bias",
    "with_bias": "bias",
    "feature_group_count": "groups",
    "kernel_dilation": "dilation",
    "rhs_dilation": "dilation",
    "dilation_rate": "dilation",
    "features": "out_channels",
    "out_features": "out_channels",
    "output_channels": "out_channels",
    "filters": "out_channels",
    "in_features": "in_channels",
    "kernel_shape": "kernel_size",
}
HINTED = {
    "input_dilation": "the stride of a transposed convolution dilates its input",
    "lhs_dilation": "the stride of a transposed convolution dilates its input",
    "output_padding": "only transposed convolutions have one",
    "device": "jax.device_put and jax.default_device place arrays",
    "stide": "did you mean 'stride'?",
    "mask": "the arguments are ...",
}
SAYS = {name: f"torch's name is '{known}'" for name, known in FOREIGN.items()} | HINTED
for _name, _says in SAYS.items():
    ROWS += _layer(
        f"keyword {_name}",
        f"Conv2d{UNEXPECTED}'{_name}': {_says}",
        "Conv2d",
        4,
        8,
        3,
        error=TypeError,
        why=NO_KEYWORD,
        theirs=False,
        **{_name: 2},
    )
ROWS += [
    *_layer(
        "keyword strides",
        f"ConvTranspose1d{UNEXPECTED}'strides': torch's name is 'stride'",
        "ConvTranspose1d",
        4,
        8,
        3,
        error=TypeError,
        why=NO_KEYWORD,
        theirs=False,
        strides=2,
    ),
    *(
        Row(
            f"linen Conv2d: keyword {name}",
            lambda name=name: linen.Conv2d(8, 3, **{name: None}),
            f"Conv2d{UNEXPECTED}'{name}': {says}",
            TypeError,
            own=True,
            why=NO_KEYWORD,
            builds=True,
        )
        for name, says in {
            "rngs": "a linen layer gets its random keys from init(key, x)",
            "kernel_metadata": "on linen, kernel_init sets it: nn.with_partitioning(init, names)",
            "bias_metadata": "on linen, bias_init sets it: nn.with_partitioning(init, names)",
        }.items()
    ),
    *(
        Row(
            f"nnx Conv2d: rngs {id}",
            lambda kw=kw: nnx.Conv2d(4, 8, 3, **kw),
            sentence,
            TypeError,
            own=True,
            why=NO_RNGS,
            builds=True,
        )
        for id, kw, sentence in (
            (
                "missing",
                {},
                "Conv2d() needs the keyword argument 'rngs': add rngs=nnx.Rngs(0)",
            ),
            (
                "None",
                {"rngs": None},
                "Conv2d() needs the keyword argument 'rngs': add rngs=nnx.Rngs(0)",
            ),
            (
                "int",
                {"rngs": 0},
                "Conv2d(): rngs must be flax.nnx.Rngs, such as nnx.Rngs(0), not int",
            ),
        )
    ),
    _own(
        "linen Conv2d: spec without in_channels",
        lambda: linen.Conv2d(8, 3).spec,
        "Conv2d learns in_channels from its first input: give in_channels to the constructor, or "
        "use layer.spec_for(in_channels)",
        why="torch has no spec",
    ),
]

# --- calls of functions --------------------------------------------------------------------------

INFERRED = "torch takes the number of spatial axes from the weight and complains of the stride"
FLAT = "torch shows the 2-D problem that it makes of a 1-D one"
UNCHECKED = "torch converts in silence, or shows oneDNN's text or another of its kernels'"
KERNEL = "torch names the C++ function that has no such dtype"
POSITIVE = {
    "conv1d": "dilation should be greater than zero, but got [1, 0]",
    "conv2d": "dilation should be greater than zero, but got [0, 0]",
    "conv3d": "dilation should be greater than zero, but got [0, 0, 0]",
    "conv_transpose1d": "dilation should be greater than zero, but got dilation_height: 1, "
    "dilation_width: 0",
    "conv_transpose2d": "dilation should be greater than zero, but got dilation_height: 0, "
    "dilation_width: 0",
    "conv_transpose3d": "dilation should be greater than zero, but got dilation_depth: 0, "
    "dilation_height: 0, dilation_width: 0",
}
EMPTY_KERNEL = {
    1: "kernel size should be greater than zero, but got kernel_height: 1 kernel_width: 0",
    2: "kernel size should be greater than zero, but got kernel_height: 0 kernel_width: 2",
    3: "kernel size should be greater than zero, but got: 0 x 2 x 2 (TxHxW)",
}
OUTPUT_PADDING = {
    1: "output padding must be smaller than either stride or dilation, but got "
    "output_padding_height: 0 output_padding_width: 1 stride_height: 1 stride_width: 1 "
    "dilation_height: 1 dilation_width: 1",
    2: "output padding must be smaller than either stride or dilation, but got "
    "output_padding_height: 2 output_padding_width: 2 stride_height: 2 stride_width: 2 "
    "dilation_height: 1 dilation_width: 1",
    3: "output padding must be smaller than either stride or dilation, but got "
    "output_padding_depth: 1 output_padding_height: 1 output_padding_width: 1 stride_depth: 1 "
    "stride_height: 1 stride_width: 1 dilation_depth: 1 dilation_height: 1 dilation_width: 1",
}
TOO_SMALL = {
    1: "Given input size per channel: (1 x 5). Calculated output size per channel: (1 x -3). "
    "Output size is too small",
    2: "Given input size per channel: (5 x 5). Calculated output size per channel: (-3 x -3). "
    "Output size is too small",
    3: "Given input size per channel: (5 x 5 x 5). Calculated output size per channel: "
    "(-3 x -3 x -3). Output size is too small",
}
NO_FIT = {
    1: "Calculated padded input size per channel: (6). Kernel size: (9). "
    "Kernel size can't be greater than actual input size",
    2: "Calculated padded input size per channel: (6 x 7). Kernel size: (9 x 9). "
    "Kernel size can't be greater than actual input size",
    3: "Calculated padded input size per channel: (6 x 7 x 8). Kernel size: (9 x 9 x 9). "
    "Kernel size can't be greater than actual input size",
}
RANK = {
    1: "Expected 2D (unbatched) or 3D (batched) input to conv1d, but got input of size: [3]",
    2: "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [3, 3]",
    3: "Expected 4D (unbatched) or 5D (batched) input to conv3d, but got input of size: [3, 3, 3]",
}

for _n in RANKS:
    for _op in (f"conv{_n}d", f"conv_transpose{_n}d"):
        _t = "transpose" in _op
        _x, _k = (1, 4, *(5,) * _n), (3,) * _n
        _w = (4, 3, *_k) if _t else (6, 2, *_k)  # of two groups, to 6 channels
        _of = "transposed=1" if _t else "groups=2"

        def _row(
            id: str,
            sentence: str,
            x: Any = _x,
            w: Any = _w,
            b: Any = None,
            op: str = _op,
            **kw: Any,
        ) -> Row:
            return _function(f"{op}: {id}", sentence, op, x, w, b, **{"groups": 2} | kw)

        ROWS += [
            _row("groups 0", "non-positive groups is not supported", groups=0, numbers=(0,)),
            _row("groups < 0", "non-positive groups is not supported", groups=-3, numbers=(-3,)),
            _row(
                "weight < groups",
                f"Given groups=7, expected weight to be at least 7 at dimension 0, but got weight "
                f"of size {list(_w)} instead",
                groups=7,
            ),
            _row(
                "weight % groups",
                "Given groups=2, expected weight to be divisible by 2 at dimension 0, but got "
                f"weight of size [{[5, *_w[1:]]}] instead",
                w=(5, *_w[1:]),
                numbers=(5, 2),
            ),
            _row(
                "channels",
                f"Given {_of}, weight of size {list(_w)}, expected input{[1, 6, *_x[2:]]} to have "
                "4 channels, but got 6 channels instead",
                x=(1, 6, *_x[2:]),
                numbers=(2,),
            ),
            _row(
                "bias",
                f"Given {'transposed=1, ' if _t else ''}weight of size {list(_w)}, expected bias "
                "to be 1-dimensional with 6 elements, but got bias of size [3] instead",
                b=(3,),
            ),
            _row(
                "bias of two axes",
                f"Given {'transposed=1, ' if _t else ''}weight of size {list(_w)}, expected bias "
                "to be 1-dimensional with 6 elements, but got bias of size [6, 1] instead",
                b=(6, 1),
            ),
            _row("stride 0", "non-positive stride is not supported", stride=0, numbers=(0,)),
            _row("stride < 0", "non-positive stride is not supported", stride=-2, numbers=(-2,)),
            _row("dilation 0", POSITIVE[_op], dilation=0),
            _row(
                "dilation < 0", "dilation should be greater than zero", dilation=-2, numbers=(-2,)
            ),
            _row("padding < 0", "negative padding is not supported", padding=-3, numbers=(-3,)),
            _row(
                "rank",
                RANK[_n].replace("conv", "conv_transpose" if _t else "conv"),
                x=(3,) * _n,
            ),
            _row(
                "rank, one too many",
                RANK[_n]
                .replace("conv", "conv_transpose" if _t else "conv")
                .replace(str([3] * _n), str([3] * (_n + 3))),
                x=(3,) * (_n + 3),
            ),
            _row(
                "weight of two axes",
                "weight should have at least three dimensions",
                w=_w[:2],
                numbers=(_w[0], _w[1], _n + 2),
            ),
            _row(
                "weight of one axis more",
                f"Expected {_n + 3}-dimensional input for {_n + 3}-dimensional weight"
                f"{[*_w, 3]}, but got {_n + 2}-dimensional input of size {list(_x)} instead: "
                f"this function has {_n} spatial axes, its weight {_n + 2} dimensions",
                w=(*_w, 3),
                why=INFERRED,
            ),
            _row(
                "input of integers, weight of floats",
                "expected scalar type Long but found Double",
                dtypes=("int64", "float64", "float64"),
            ),
            _row(
                "weight dtype",
                "expected scalar type Double but found Float",
                dtypes=("float64", "float32", "float64"),
            ),
            _row(
                "bool",
                f"\"{_op}\" not implemented for 'Bool': got bool, torch and jaxgroups take "
                + ("" if _t else "uint8, int8, int16, int32, ")
                + "int64, float16, bfloat16, float32, float64, complex64, complex128 here",
                error=TypeError,
                dtypes=("bool",) * 3,
                why=KERNEL,
            ),
            _row(
                "data_format",
                "data_format must be one of {'channels_first', 'channels_last'}, but got "
                "data_format='NHWC'",
                data_format="NHWC",
                theirs=False,
                why="torch has no such argument",
            ),
            _row(
                "implementation",
                "implementation must be None or one of ...",
                implementation="magic",
                theirs=False,
                why="torch has no such argument",
            ),
            _row(
                "zero spatial",
                "Only zero batch or zero channel inputs are supported, but got input shape: "
                f"{[1, 4, *(0,) * _n]}"
                + (": every spatial axis must have at least one element" if _n == 1 else ""),
                x=(1, 4, *(0,) * _n),
                padding=0 if _t else 2,
                why=FLAT if _n == 1 else "",
            ),
            _row(
                "groups 2.0",
                f"{_op}(): argument 'groups' must be int, not float: got groups=2.0, "
                "give a whole number",
                error=TypeError,
                groups=2.0,
                why=PARSER,
            ),
            _row(
                "groups True",
                f"{_op}(): argument 'groups' must be int, not bool: got groups=True, "
                "give a whole number",
                error=TypeError,
                groups=True,
                why=PARSER,
            ),
            _row(
                "stride '1'",
                f"{_op}(): argument 'stride' must be tuple of ints, not str: got stride='1', "
                "give one int or one int an axis",
                error=TypeError,
                stride="1",
                why=PARSER,
            ),
            _row(
                "padding in pairs",
                f"{_op}(): argument 'padding' must be tuple of ints, but found element of type "
                f"tuple at pos 0: got padding={((1, 1),) * _n}",
                error=TypeError,
                padding=((1, 1),) * _n,
                why=PARSER,
            ),
        ]
        for _axis in ("stride", "padding", "dilation") + (("output_padding",) if _t else ()):
            ROWS.append(
                _row(
                    f"{_axis} of {_n + 1}",
                    f"expected {_axis} to be a single integer value or a list of {_n} values to "
                    f"match the convolution dimensions, but got {_axis}={[1] * (_n + 1)}",
                    **{_axis: (1,) * (_n + 1)},
                    numbers=(_n + 1,),
                )
            )
        ROWS.append(
            _row(
                "kernel 0",
                EMPTY_KERNEL[_n] + (": give at least 1 an axis" if _t and _n == 3 else ""),
                w=(*_w[:2], 0, *(2,) * (_n - 1)),
                why="torch calls the weight empty, with which it began" if _t and _n == 3 else "",
            )
        )
        for _id, _given, _shown in (
            ("input None", (None, None), "NoneType, NoneType"),
            ("input a list", ([[1.0]], [[1.0]]), "list, list"),
            ("weight a list", (np.zeros(_x), [[1.0]]), "ndarray, list"),
            ("bias a number", (np.zeros(_x), np.zeros(_w), 1.0), "ndarray, ndarray, float"),
        ):
            _what = _id.split()[0]
            ROWS.append(
                Row(
                    f"{_op}: {_id}",
                    lambda op=_op, given=_given: getattr(jg, op)(*given),
                    f"{_op}() received an invalid combination of arguments - got ("
                    + (
                        f"{_shown}): {_what} must be a jax or numpy array (of a torch tensor, take "
                        ".numpy())"
                        if _t
                        else ""
                    ),
                    TypeError,
                    torch=lambda torch, op=_op, given=_given: getattr(torch.nn.functional, op)(
                        *(torch.zeros(a.shape) if isinstance(a, np.ndarray) else a for a in given)
                    ),
                    own=_t,
                    why="torch names the argument, but for conv only the signatures" if _t else "",
                )
            )
        if _t:
            ROWS += [
                _row(
                    "bias dtype",
                    "Input type (double) and bias type (float) should be the same: "
                    "got input float64, bias float32; convert one with .astype",
                    b=(6,),
                    dtypes=("float64", "float64", "float32"),
                    theirs=False,
                    why=UNCHECKED,
                ),
                *[
                    _row(
                        _dtype,
                        f"\"{_op}\" not implemented for '{_torch}': got {_dtype}, torch and "
                        "jaxgroups take int64, float16, bfloat16, float32, float64, complex64, "
                        "complex128 here",
                        error=TypeError,
                        dtypes=(_dtype,) * 3,
                        why=KERNEL,
                    )
                    for _dtype, _torch in (("int32", "Int"), ("uint8", "Byte"))
                ],
                _row(
                    "output_padding < 0",
                    "negative output_padding is not supported",
                    output_padding=-1,
                    numbers=(-1,),
                ),
                _row(
                    "output_padding",
                    OUTPUT_PADDING[_n],
                    output_padding=2 if _n == 2 else 1,
                    stride=2 if _n == 2 else 1,
                ),
                _row("output too small", TOO_SMALL[_n], padding=5),
                _row(
                    "no output channels",
                    "non-empty 2D or 4D weight tensor expected, but got: [4, 0, 3]"
                    if _n == 1
                    else "non-empty 2D or 4D weight tensor expected, but got: [4, 0, 3, 3]"
                    if _n == 2
                    else "non-empty 5D (n_output_plane x n_input_plane x kernel_depth x "
                    "kernel_height x kernel_width) tensor expected for weight, but got: "
                    "[4, 0, 3, 3, 3]",
                    w=(4, 0, *_k),
                    groups=1,
                    why=FLAT if _n == 1 else "",
                ),
                _row(
                    "no channels",
                    "Given groups=1, expected weight to be at least 1 at dimension 0, but got "
                    f"weight of size {[0, 3, *_k]} instead",
                    x=(1, 0, *_x[2:]),
                    w=(0, 3, *_k),
                    groups=1,
                ),
                _row(
                    "padding 'same'",
                    f"{_op}(): argument 'padding' must be tuple of ints, not str",
                    padding="same",
                    error=TypeError,
                ),
                _row(
                    "output_size an int",
                    "object of type 'int' has no len(): output_size has one entry an axis, "
                    "got output_size=9",
                    error=TypeError,
                    output_size=9,
                    theirs=False,
                    why="torch has it only in its layers",
                ),
            ]
            continue
        ROWS += [
            _row(
                "bias dtype",
                "Input type (double) and bias type (float) should be the same",
                b=(6,),
                dtypes=("float64", "float64", "float32"),
            ),
            *[
                _row(
                    f"bias dtype, {_padding}",
                    "Input type (double) and bias type (float) should be the same: "
                    "got input float64, bias float32; convert one with .astype",
                    b=(6,),
                    dtypes=("float64", "float64", "float32"),
                    padding=_padding,
                    theirs=False,
                    why=UNCHECKED,
                )
                for _padding in ("same", "valid")
            ],
            _row("padding 'foo'", "Invalid padding string: 'foo'", padding="foo"),
            _row("padding 'SAME'", "Invalid padding string: 'SAME'", padding="SAME"),
            _row("same, strided", SAME, padding="same", stride=2, numbers=(2,)),
            _row("same, stride 0", SAME, padding="same", stride=0, numbers=(0,)),
            _row(
                "same, weight of another rank",
                f"Expected {_n + 3}-dimensional input for {_n + 3}-dimensional weight{[*_w, 3]}, "
                f"but got {_n + 2}-dimensional input of size {list(_x)} instead",
                w=(*_w, 3),
                padding="same",
            ),
            _row(
                "weight empty",
                "Given groups=2, expected weight to be at least 2 at dimension 0, but got weight "
                f"of size {[0, 2, *_k]} instead",
                w=(0, 2, *_k),
            ),
            _row(
                "no channels",
                f"zero channel inputs are not supported, but got input shape: {[1, 0, *_x[2:]]}: "
                "torch returns an output without channels here and drops the bias",
                x=(1, 0, *_x[2:]),
                w=(6, 0, *_k),
                groups=1,
                theirs=False,
                why="torch returns an output without channels",
            ),
            _row(
                "padding_mode",
                f"{MODES}padding_mode='edge'",
                padding_mode="edge",
                theirs=False,
                why="torch has it only in its layers",
            ),
            *[
                _row(
                    f"padding < 0, {_mode}",
                    f"negative padding is not supported: got padding={(-1,) * _n}; "
                    "to crop, slice the array instead",
                    padding=-1,
                    padding_mode=_mode,
                    theirs=False,
                    why="torch crops here",
                )
                for _mode in ("reflect", "replicate", "circular")
            ],
            *[
                _row(
                    f"kernel > input, {_what}",
                    NO_FIT[_n],
                    x=(*_batch, 4, *(4, 5, 6)[:_n]),
                    w=(6, 2, *(5,) * _n),
                    dilation=2,
                    padding=1,
                    numbers=(5, 2),
                )
                for _what, _batch in (("one", (1,)), ("none", (0,)), ("unbatched", ()))
            ],
        ]
for _id, _mode, _x, _sentence in (
    (
        "reflect pad >= length",
        "reflect",
        (1, 3, 4, 4),
        "Argument #4: Padding size should be less than the corresponding input dimension, but "
        "got: padding (5, 5) at dimension 3 of input [1, 3, 4, 4]",
    ),
    (
        "reflect without channels",
        "reflect",
        (1, 0, 4, 4),
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
        "dimensions for input, but got: [1, 0, 4, 4]",
    ),
    (
        "replicate without a row",
        "replicate",
        (1, 3, 0, 4),
        "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
        "dimensions for input, but got: [1, 3, 0, 4]",
    ),
    (
        "circular pad > length",
        "circular",
        (1, 3, 4, 4),
        "Padding value causes wrapping around more than once.",
    ),
):
    ROWS.append(
        Row(
            f"conv2d: {_id}",
            lambda mode=_mode, x=_x: jg.conv2d(
                np.zeros(x), np.zeros((3, x[1], 3, 3)), padding=5, padding_mode=mode
            ),
            _sentence,
            torch=lambda torch, mode=_mode, x=_x: torch.nn.Conv2d(
                3, 3, 3, padding=5, padding_mode=mode
            )(torch.zeros(x)),
        )
    )

# --- what torch has no counterpart of ------------------------------------------------------------

ROWS += [
    _own(
        "conv2d: a dtype torch has no word for",
        lambda: jg.conv2d(
            np.zeros((1, 1, 3, 3), ml_dtypes.int4), np.zeros((1, 1, 3, 3), ml_dtypes.int4)
        ),
        "\"conv2d\" not implemented for 'int4': got int4, torch and jaxgroups take uint8, int8, "
        "int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128 here",
        TypeError,
    ),
    _own(
        "conv2d: channels_last, rank",
        lambda: jg.conv2d(np.zeros((5, 5)), np.zeros((3, 3, 4, 6)), data_format="channels_last"),
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [5, 5]: "
        "one axis for channels and 2 spatial",
        why=LAST,
    ),
    _own(
        "conv2d: channels_last, channels",
        lambda: jg.conv2d(
            np.zeros((1, 8, 8, 6)), np.zeros((3, 3, 2, 6)), groups=2, data_format="channels_last"
        ),
        "Given groups=2, weight of size [3, 3, 2, 6], expected input[1, 8, 8, 6] to have 4 "
        "channels, but got 6 channels instead (channels_last, groups=2)",
        why=LAST,
    ),
]

_SPEC: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 8,
    "kernel_size": (3, 3),
    "stride": (1, 1),
    "padding": ((0, 0), (0, 0)),
    "dilation": (1, 1),
    "output_padding": (0, 0),
}
for _id, _change, _sentence in (
    (
        "a short stride",
        {"stride": (1,)},
        "expected stride to be a single integer value or a list of 2 values to match the "
        "convolution dimensions, but got stride=[1]: 1 values for 2 spatial axes",
    ),
    (
        "output_padding of a convolution",
        {"output_padding": (1, 0)},
        "output_padding belongs to transposed convolutions: got output_padding=(1, 0) for conv2d",
    ),
    (
        "size without batch",
        {"size": (5, 5)},
        "batch and size are known together: got batch=None, size=(5, 5)",
    ),
    (
        "batch without size",
        {"batch": (1,)},
        "batch and size are known together: got batch=(1,), size=None",
    ),
    (
        "a size of one axis",
        {"size": (5,), "batch": ()},
        "conv2d has 2 spatial axes, but got size=(5,)",
    ),
    (
        "dtype",
        {"dtype": "bool"},
        "\"conv2d\" not implemented for 'Bool': got bool, torch and jaxgroups take uint8, int8, "
        "int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128 here",
    ),
    (
        "data_format",
        {"data_format": "NCHW"},
        "data_format must be one of {'channels_first', 'channels_last'}, but got "
        "data_format='NCHW'",
    ),
):
    ROWS.append(
        _own(
            f"ConvSpec: {_id}",
            lambda change=_change: jg.ConvSpec(**_SPEC | change),
            _sentence,
            TypeError if _id == "dtype" else ValueError,
        )
    )
ROWS += [
    _own(
        "ConvSpec.of: op",
        lambda: jg.ConvSpec.of("conv4d", 4, 8, 3),
        "op must be one of conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, "
        "conv_transpose3d, but got op='conv4d'",
    ),
    _own(
        "ConvSpec: output_shape of an unknown input",
        lambda: jg.ConvSpec.parse("conv2d in=4 out=8 kernel=3").output_shape,
        "the input is unknown, use .with_input(shape) first: conv2d in=4 out=8 kernel=3",
    ),
    _own(
        "ConvSpec: output_size of another length",
        lambda: jg.ConvSpec.parse("conv_transpose2d in=4 out=8 kernel=3").with_output_size(
            (7,), (1, 4, 5, 5)
        ),
        "ConvTranspose2D: for 4D input, output_size must have 2 or 4 elements (got 1): "
        "the spatial sizes, or the whole shape",
    ),
]
for _text, _sentence in (
    ("", "op must be one of conv1d, conv2d, ..."),
    ("conv9d in=1", "op must be one of conv1d, conv2d, ..."),
    ("conv2d in=4 out=8 kernel=3 color=1", "unknown word 'color=1' in ..."),
    ("conv2d in=4 out=8 kernel", "unknown word 'kernel' in ..."),
    (
        "conv2d in=4 in=4 out=8 kernel=3",
        "duplicate in= in 'conv2d in=4 in=4 out=8 kernel=3'",
    ),
    ("conv2d in=4", "missing out=, kernel= in 'conv2d in=4'"),
    (
        "conv2d in=4 out=8 kernel=3 batch=2",
        "missing size= in 'conv2d in=4 out=8 kernel=3 batch=2', which has batch=",
    ),
    ("conv2d in=4 out=8 kernel=3 bias=no", "bias=no: expected True or False"),
    (
        "conv2d in=four out=8 kernel=3",
        "in=four: expected whole numbers such as 3, 3x5 or, for padding, 0:1",
    ),
    (
        "conv2d in=4 out=8 kernel=3x",
        "kernel=3x: expected whole numbers such as 3, 3x5 or, for padding, 0:1",
    ),
    (
        "conv2d in=4 out=8 kernel=-3",
        "kernel=-3: expected whole numbers such as 3, 3x5 or, for padding, 0:1",
    ),
    ("conv2d in=4 out=8 kernel=3x3x3", "kernel=3x3x3: 3 values for 2 spatial axes"),
    ("conv2d in=4 out=8 kernel=3 padding=1:2:3", "padding=1:2:3: a pair is low:high"),
    (
        "conv2d in=5 out=8 kernel=3 groups=2",
        "in_channels must be divisible by groups: got in_channels=5, groups=2, and 5 / 2 is not "
        "whole; 5 can be split into 1, 5 groups",
    ),
    (
        "conv2d in=4 out=8 kernel=3 size=2",
        "Calculated padded input size per channel: (2 x 2). Kernel size: (3 x 3). Kernel size "
        "can't be greater than actual input size: input (2 x 2), kernel_size=(3, 3), "
        "dilation=(1, 1); pad more or dilate less",
    ),
):
    ROWS += [
        _own(f"ConvSpec.parse: {_text}", lambda text=_text: jg.ConvSpec.parse(text), _sentence),
        _own(f"explain: {_text}", lambda text=_text: jg.explain(text), _sentence),
    ]


def _refused(*names: str) -> Any:
    """`dispatch.choose` with a table whose first lowering supports no problem."""
    table = dispatch.LOWERINGS
    never = replace(table[-1], name="never", unsupported_reason=lambda *_: "it is a test")
    dispatch.LOWERINGS = (never, *table)
    try:
        return jg.explain("conv1d in=1 out=1 kernel=1 size=1", implementation=names[0])
    finally:
        dispatch.LOWERINGS = table


ROWS += [
    _own(
        "explain: implementation",
        lambda: jg.explain("conv2d in=4 out=8 kernel=3 size=5", implementation="magic"),
        "implementation must be None or one of ...",
    ),
    _own(
        "explain: implementation, input unknown",
        lambda: jg.explain("conv2d in=4 out=8 kernel=3", implementation="magic"),
        "implementation must be None or one of ...",
    ),
    _own(
        "explain: an implementation that does not take it",
        lambda: _refused("never"),
        "implementation='never' does not take this convolution: it is a test; "
        "leave implementation=None for the best that does",
    ),
]

# --- conversion ----------------------------------------------------------------------------------

_KIND = "give one of conv, conv_transpose, flax_conv_transpose or a Conv or ConvTranspose instance"
ROWS += [
    _own(
        "convert: unknown kind",
        lambda: convert.kernel_from_torch(np.zeros((4, 4, 3)), "Conv2d"),
        "layer must be one of conv, conv_transpose, flax_conv_transpose, but got layer='Conv2d'",
    ),
    _own(
        "convert: no kind",
        lambda: convert.kernel_to_torch(np.zeros((4, 4, 3)), 2),
        f"layer must say which kind of convolution it is, but got 2: {_KIND}",
        TypeError,
    ),
    _own(
        "convert: weight of two axes",
        lambda: convert.kernel_from_torch(np.zeros((4, 4)), "conv"),
        "weight must have two channel axes and 1 to 3 spatial ones, but got shape (4, 4)",
    ),
    _own(
        "convert: kernel of six axes",
        lambda: convert.kernel_to_torch(np.zeros((1,) * 6), "conv_transpose"),
        "kernel must have two channel axes and 1 to 3 spatial ones, but got shape "
        "(1, 1, 1, 1, 1, 1)",
    ),
    _own(
        "convert: bias of two axes",
        lambda: convert.bias_from_torch(np.zeros((4, 1))),
        "a bias is 1-dimensional, but got one of shape (4, 1)",
    ),
    _own(
        "convert: bias without axes, back",
        lambda: convert.bias_to_torch(np.zeros(())),
        "a bias is 1-dimensional, but got one of shape ()",
    ),
    _own(
        "convert: shape, nnx",
        lambda: convert.kernel_from_torch(
            np.zeros((6, 4, 3, 3)), build("nnx", "Conv2d", 4, 6, 3, groups=2)
        ),
        "a kernel of shape (3, 3, 4, 6) does not fit this layer, which needs (3, 3, 2, 6): "
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), groups=2)",
    ),
    _own(
        "convert: shape, linen",
        lambda: convert.kernel_to_torch(
            np.zeros((3, 3, 4, 6)), build("linen", "Conv2d", 4, 6, 3, groups=2)
        ),
        "a kernel of shape (3, 3, 4, 6) does not fit this layer, which needs (3, 3, 2, 6): "
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), groups=2)",
    ),
]

# --- the command line: arguments and what it says, exit status 2 ---------------------------------

COMMANDS: dict[str, tuple[list[str], str]] = {
    "a broken rule": (
        ["explain", "conv2d in=5 out=8 kernel=3 groups=2"],
        "jaxgroups explain: in_channels must be divisible by groups: got in_channels=5, groups=2",
    ),
    "a dtype": (
        ["explain", "conv2d in=4 out=8 kernel=3 dtype=bool"],
        "jaxgroups explain: \"conv2d\" not implemented for 'Bool': got bool",
    ),
    "no convolution": (["explain", "dense"], "jaxgroups explain: op must be one of conv1d"),
    "nothing to explain": (
        ["explain"],
        "jaxgroups explain: error: the following arguments are required: spec",
    ),
    "unknown platform": (
        ["explain", "conv1d in=1 out=1 kernel=1", "--platform", "abacus"],
        "argument --platform: invalid choice: 'abacus'",
    ),
    "unknown implementation": (
        ["explain", "conv1d in=1 out=1 kernel=1", "--implementation", "magic"],
        "argument --implementation: invalid choice: 'magic'",
    ),
    "unknown command": (["convolve"], "argument command: invalid choice: 'convolve'"),
    "no command": ([], "jaxgroups: error: the following arguments are required: command"),
}

# --- two rules broken at once: the message is that of the rule that torch checks first -----------


@dataclass(frozen=True)
class Break:
    """One broken rule: its arguments, and a pattern of the message of torch and of jaxgroups."""

    name: str
    pattern: str
    sets: dict[str, Any]


def call_breaks(op: str) -> list[Break]:
    """Breaks of a call, in the order in which torch looks for them.

    ``input``, ``weight``, ``bias`` are shapes, ``dtype`` and the like dtypes, the rest arguments.
    """
    rank, transposed = int(op[-2]), "transpose" in op
    more, first = (1,) * (rank + 1), (4, 3) if transposed else (6, 2)
    length = "expected {} to be a single integer value or a list of"
    breaks = [
        Break("bias dtype", "Input type .* and bias type .*", {"bias dtype": "float32"}),
        Break("rank", r"Expected \dD \(unbatched\)", {"input": (1, 4, *(5,) * (rank + 1))}),
        Break("padding string", "Invalid padding string: 'foo'", {"padding": "foo"}),
        Break("weight of two axes", "weight should have at least three", {"weight": first}),
        Break("groups", "non-positive groups is not supported", {"groups": 0}),
        Break("same", "padding='same' is not supported", {"padding": "same", "stride": 2}),
        Break("stride length", length.format("stride"), {"stride": more}),
        Break("padding length", length.format("padding"), {"padding": more}),
        Break("dilation length", length.format("dilation"), {"dilation": more}),
        Break("output_padding length", length.format("output_padding"), {"output_padding": more}),
        Break("padding", "negative padding is not supported", {"padding": -1}),
        Break("output_padding", "negative output_padding is not", {"output_padding": -1}),
        Break("stride", "non-positive stride is not supported", {"stride": 0}),
        Break("dilation < 0", "dilation should be greater than zero", {"dilation": -1}),
        Break("weight rank", r"Expected 4-dimensional input", {"weight": (*first, 3, 3)}),
        Break("weight < groups", "Given groups=7, expected weight to be at", {"groups": 7}),
        Break("weight % groups", "Given groups=., expected weight to be div", {"groups": 3})
        if transposed
        else Break("weight % groups", "Given groups=., expected weight to be div", {"groups": 4}),
        Break("channels", "Given .* to have 4 channels", {"input": (1, 5, *(5,) * rank)}),
        Break("bias", "Given .* expected bias to be 1-dimensional", {"bias": (5,)}),
        Break("kernel fits", "Calculated padded input size", {"weight": (*first, *(9,) * rank)}),
        Break(
            "zero spatial",
            "Only zero batch or zero channel inputs",
            {"input": (1, 4, *(0,) * rank), "padding": 0 if transposed else 2},
        ),
        Break("kernel 0", "kernel size should be greater than", {"weight": (*first, *(0,) * rank)}),
        Break("dilation 0", "dilation should be greater than zero", {"dilation": 0}),
        Break("output_padding > stride", "output padding must be small", {"output_padding": 1}),
        Break("output", ".*Output size is too small", {"padding": 6}),
        Break(
            "dtype",
            "\"\\w+\" not implemented for 'Bool'",
            {"input dtype": "bool", "weight dtype": "bool", "bias dtype": "bool"},
        ),
        Break(
            "weight dtype", "expected scalar type \\w+ but found Float", {"weight dtype": "float32"}
        ),
    ]
    conv = ("bias dtype", "padding string", "same", "kernel fits")
    only_transposed = (
        "output_padding length",
        "output_padding",
        "output_padding > stride",
        "output",
    )
    leave = set(only_transposed if not transposed else conv)
    if rank > 1:
        leave.add("weight rank")  # INFERRED
    if op == "conv_transpose3d":
        leave.add("kernel 0")  # torch calls the weight empty, and later
    return [b for b in breaks if b.name not in leave]


# pairs for which torch reports the later one of `call_breaks`
LATER_WINS = {
    ("bias dtype", "padding string"),  # torch does not check the bias if padding is a string
    ("bias dtype", "same"),
    ("same", "weight rank"),
}
# pairs that are no pairs
LEFT_OUT = {
    ("same", "dilation length"): "torch says that dilation cannot broadcast",
    ("kernel fits", "dilation 0"): "a kernel of dilation 0 spans one element and fits",
    ("stride length", "weight rank"): "two values fit the two axes of that weight",
    ("padding length", "weight rank"): "two values fit the two axes of that weight",
    ("dilation length", "weight rank"): "two values fit the two axes of that weight",
    ("output_padding length", "weight rank"): "two values fit the two axes of that weight",
}


def broken_call(op: str, *breaks: Break) -> dict[str, Any]:
    """Arguments of a call that breaks only the rules `breaks`, by their names in `call_breaks`."""
    rank, transposed = int(op[-2]), "transpose" in op
    right = {
        "input": (1, 4, *(5,) * rank),
        "weight": (*((4, 3) if transposed else (6, 2)), *(3,) * rank),
        "bias": (6,),
        "input dtype": "float64",
        "weight dtype": "float64",
        "bias dtype": "float64",
        "groups": 2,
    }
    for broken in reversed(breaks):
        right |= broken.sets
    return right


# constructor arguments, in the order in which torch looks for them
CONSTRUCTOR_BREAKS = [
    Break("padding_mode, transposed", 'Only "zeros" padding mode', {"padding_mode": "circular"}),
    Break("groups", GROUPS, {"groups": 0}),
    Break("in % groups", IN, {"in_channels": 5}),
    Break("out % groups", OUT, {"out_channels": 5}),
    Break("padding", "Invalid padding string 'foo'", {"padding": "foo"}),
    Break("same", SAME, {"padding": "same", "stride": 2}),
    Break("padding_mode", "padding_mode must be one of", {"padding_mode": "edge"}),
    Break("kernel < 0", "Trying to create tensor with negative dimension", {"kernel_size": -1}),
    Break("dtype", GRADIENTS, {"dtype": "int32"}),
]
