"""Recurrent networks as torch computes them: the cells, their scan over time, several layers.

The inputs of all steps are multiplied by their weights in one matrix product, before the scan.
float16 and bfloat16 are multiplied as they are; sums, gates and the state within a scan are
float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgroups._functional.dtypes import widened

State = tuple[jax.Array, ...]


class Weights(NamedTuple):
    """The tensors of one layer and direction, in torch's shapes; G is gates times hidden size.

    Attributes:
      ih: of the input, ``(G, input)``.
      hh: of the hidden state, ``(G, output)``.
      bias_ih, bias_hh: ``(G,)`` each, or None.
      hr: the projection of the hidden state, ``(output, hidden)``, or None.
    """

    ih: jax.Array
    hh: jax.Array
    bias_ih: jax.Array | None = None
    bias_hh: jax.Array | None = None
    hr: jax.Array | None = None


@dataclass(frozen=True)
class Cell:
    """A kind of cell.

    Attributes:
      gates: the number of gates.
      states: the number of arrays of the state: h, or h and c.
      step: ``(inputs, hidden, state)`` -> the next state. `inputs` and `hidden` are the products of
        the input and of h with their weights, plus the biases, for all gates.
    """

    gates: int
    states: int
    step: Callable[[jax.Array, jax.Array, State], State]


def _elman(activation: Callable[[jax.Array], jax.Array]) -> Cell:
    return Cell(1, 1, lambda inputs, hidden, state: (activation(inputs + hidden),))


def _lstm(inputs: jax.Array, hidden: jax.Array, state: State) -> State:
    i, f, g, o = jnp.split(inputs + hidden, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(inputs: jax.Array, hidden: jax.Array, state: State) -> State:
    (xr, xz, xn), (hr, hz, hn) = jnp.split(inputs, 3, -1), jnp.split(hidden, 3, -1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (n + z * (state[0] - n),)


CELLS = {
    "RNN_TANH": _elman(jnp.tanh),
    "RNN_RELU": _elman(jax.nn.relu),
    "LSTM": Cell(4, 2, _lstm),
    "GRU": Cell(3, 1, _gru),
}


def _product(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """``x weight^T + bias``, at least in float32."""
    axes = (((x.ndim - 1,), (1,)), ((), ()))
    y = lax.dot_general(
        x.astype(weight.dtype), weight, axes, preferred_element_type=widened(weight.dtype)
    )
    return y if bias is None else y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


# jit, so that a caller that is not compiled compiles it once for each shape and not at every call
@partial(jax.jit, static_argnames="cell", inline=True)
def one_step(cell: Cell, weights: Weights, x: jax.Array, state: State) -> State:
    """The next state of a cell.

    Args:
      cell: one of `CELLS`.
      weights: of the cell.
      x: ``(N, input)``.
      state: h, or h and c, ``(N, hidden)`` each.

    Returns:
      The new state, in the dtype of `x`.
    """
    wide = tuple(s.astype(widened(x.dtype)) for s in state)
    new = _next(cell, weights, _product(x, weights.ih, weights.bias_ih), wide)
    return tuple(s.astype(x.dtype) for s in new)


def _next(cell: Cell, weights: Weights, inputs: jax.Array, state: State) -> State:
    hidden = _product(state[0], weights.hh, weights.bias_hh)
    h, *rest = cell.step(inputs, hidden, state)
    return (h if weights.hr is None else _product(h, weights.hr), *rest)


@partial(jax.jit, static_argnames=("cell", "reverse"), inline=True)
def _direction(
    cell: Cell, weights: Weights, x: jax.Array, state: State, reverse: bool
) -> tuple[jax.Array, State]:
    """All steps of one layer and direction: outputs ``(L, N, output)``, and the last state."""

    def step(state: State, inputs: jax.Array) -> tuple[State, jax.Array]:
        state = _next(cell, weights, inputs, state)
        return state, state[0].astype(x.dtype)

    wide = tuple(s.astype(widened(x.dtype)) for s in state)
    inputs = _product(x, weights.ih, weights.bias_ih)
    last, outputs = lax.scan(step, wide, inputs, reverse=reverse)
    return outputs, tuple(s.astype(x.dtype) for s in last)


def recurrent(
    cell: Cell,
    layers: Sequence[Sequence[Weights]],
    x: jax.Array,
    state: State,
    between: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, State]:
    """A network of several layers, each in one direction or in both.

    Args:
      cell: one of `CELLS`.
      layers: for each layer the weights of its directions: forward, and backward if there are two.
      x: ``(L, N, input)``.
      state: h, or h and c, ``(layers * directions, N, size)`` each.
      between: applied to the outputs of every layer but the last, such as a dropout.

    Returns:
      The outputs of the last layer, ``(L, N, directions * output)``, and the last state of all.
    """
    last: list[State] = []
    for number, directions in enumerate(layers):
        outputs = []
        for reverse, weights in enumerate(directions):
            first = tuple(s[len(last)] for s in state)
            y, new = _direction(cell, weights, x, first, bool(reverse))
            outputs.append(y)
            last.append(new)
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
        if number < len(layers) - 1:
            x = between(x)
    return x, tuple(jnp.stack(arrays) for arrays in zip(*last, strict=True))
