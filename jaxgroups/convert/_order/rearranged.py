"""Functions of jaxgroups that rearrange channels, each as one equation of the traced program.

Their channels are in torch's order before and after, such as ``(C, r, r)`` flattened in a pixel
shuffle. Followed factor by factor, they would seem to turn channels into positions, in an order
that only Flax has.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import batching

# name -> the inner axes of input and output; the others are batch axes
_INNER = {
    "pixel_shuffle": (3, 3),
    "pixel_unshuffle": (3, 3),
    "channel_shuffle": (0, 0),
    "unfold": (3, 2),
    "fold": (2, 3),
}

rearranged_p = core.Primitive("jaxgroups_rearranged")
rearranged_p.def_abstract_eval(lambda x, *, shape, **axes: x.update(shape=shape))


def one_step(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call, as a single equation if the function rearranges channels."""
    if function.__name__ not in _INNER:
        return function(*args, **kwargs)
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    x = bound["input"]
    result = jax.eval_shape(lambda x: function(*((x, *args[1:]) if args else ()), **kwargs), x)
    inner, inner_out = _INNER[function.__name__]
    if inner == 0:  # all but the first axis
        inner = inner_out = x.ndim - 1
    last = bound.get("data_format") == "channels_last"
    axes = {"inner": inner, "channel": -1 if last else -inner}
    axes |= {"inner_out": inner_out, "channel_out": -1 if last else -inner_out}
    try:
        return rearranged_p.bind(x, shape=result.shape, **axes)
    except NotImplementedError:  # within a derivative
        return function(*args, **kwargs)


def _batched(args: Any, dims: Any, *, shape: tuple[int, ...], **axes: int) -> Any:
    (x,), (dim,) = args, dims
    x = jnp.moveaxis(x, dim, 0)
    return rearranged_p.bind(x, shape=(x.shape[0], *shape), **axes), 0


batching.primitive_batchers[rearranged_p] = _batched
