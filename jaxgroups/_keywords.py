"""Wrong and missing keyword arguments of the layers' constructors, answered with the right name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

from jaxgroups._spec import arguments

Init = TypeVar("Init", bound=Callable[..., None])

# names of lax, Flax, Keras and Haiku -> torch's name
TORCH_NAMES = {
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
HINTS = {
    "input_dilation": "the stride of a transposed convolution dilates its input",
    "lhs_dilation": "the stride of a transposed convolution dilates its input",
    "output_padding": "only transposed convolutions have one",
    "proj_size": "proj_size argument is only supported for LSTM, not RNN or GRU",
    "device": "jax.device_put and jax.default_device place arrays",
    "rngs": "a linen layer gets its random keys from init(key, x)",
    "kernel_metadata": "on linen, kernel_init sets it: nn.with_partitioning(init, names)",
    "bias_metadata": "on linen, bias_init sets it: nn.with_partitioning(init, names)",
}


def checked(init: Init, needed: Mapping[str, str] | None = None) -> Init:
    """A layer's `__init__` that explains a wrong keyword.

    `needed` holds the required keywords, each with an example for the message.

    The signature stays that of `init`, for ``help()``, completion and type checkers.
    """
    known = [name for name in inspect.signature(init).parameters if name != "self"]
    required = dict(needed or {})

    @wraps(init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        layer = arguments.layer_name(self.op) if hasattr(self, "op") else type(self).__name__
        for name in kwargs:
            if name not in known:
                raise TypeError(unexpected(layer, name, known))
        for name, example in required.items():
            if kwargs.get(name) is None:
                raise TypeError(f"{layer}() needs the keyword argument '{name}': add {example}")
        init(self, *args, **kwargs)

    return checked_init  # type: ignore[return-value]


def unexpected(layer: str, name: str, known: Iterable[str]) -> str:
    """The message for a keyword that `layer` does not have."""
    known = list(known)
    start = f"{layer}() got an unexpected keyword argument '{name}'"
    if TORCH_NAMES.get(name) in known:
        return f"{start}: torch's name is '{TORCH_NAMES[name]}'"
    if name in HINTS:
        return f"{start}: {HINTS[name]}"
    close = get_close_matches(name, known, n=1)
    if close:
        return f"{start}: did you mean '{close[0]}'?"
    return f"{start}: the arguments are {', '.join(known)}"
