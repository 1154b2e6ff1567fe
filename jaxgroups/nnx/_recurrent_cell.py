"""RNNCell, LSTMCell and GRUCell with torch's names, arguments, parameters and states."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups._functional.recurrent import CELLS, State, Weights, one_step
from jaxgroups._types import Shape
from jaxgroups.nnx._parameters import checked
from jaxgroups.nnx._recurrent_base import RecurrentBase, at_least, boolean, mode_of

_DOC = """One step of {layer}, with the arguments and parameters of ``torch.nn.{layer}Cell``.

    ``{last} = cell(input, {first})``.

    Shape:
      input ``(N, input_size)`` or ``(input_size,)``;
      {states} ``(N, hidden_size)`` or ``(hidden_size,)``.

    Args:
      input_size: the number of features of the input.
      hidden_size: the number of features of the hidden state.
      bias: whether there are `bias_ih` and `bias_hh`.
{nonlinearity}\
      dtype: the dtype to compute in. None by default: the common one of input, state and
        parameters. Sums and gates of float16 and bfloat16 are float32.
      param_dtype: the dtype of the parameters.
      rngs: ``nnx.Rngs``, whose ``params`` stream draws the parameters. Required.

    Attributes:
      weight_ih, weight_hh, bias_ih, bias_hh: the ``nnx.Param`` with torch's names and shapes:
        ``({gates}hidden_size, input_size)``, ``({gates}hidden_size, hidden_size)``, and
        ``({gates}hidden_size,)`` or None.

    Raises:
      TypeError: at construction, an argument of the wrong type, or no `rngs`; at the call, a state
        of another form.
      ValueError: what torch refuses, with torch's sentence.
    """
_ONE_STATE = {"first": "h", "last": "h", "states": "h"}


class _Cell(RecurrentBase):
    shown = ("input_size", "hidden_size", "bias")
    mode: str  # the key in `CELLS`

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self._build(input_size, hidden_size, bias, dtype, param_dtype, rngs)

    def _build(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        dtype: DTypeLike | None,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.input_size = at_least(1, "input_size", input_size)
        self.hidden_size = at_least(1, "hidden_size", hidden_size)
        self.bias = boolean("bias", bias)
        self.dtype = dtype
        rows = CELLS[self.mode].gates * hidden_size
        shapes: dict[str, Shape] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
        }
        self.bias_ih: nnx.Param | None = nnx.data(None)
        self.bias_hh: nnx.Param | None = nnx.data(None)
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        self._add(shapes, rngs, param_dtype)

    def _step(self, input: Any, hx: Any) -> State:
        """The new state: h, or h and c."""
        cell = CELLS[self.mode]
        x = self._array(input)
        given = self._states(hx, cell.states)
        self._check(x, given or [])
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = Weights(*(self._parameter(name) for name in names))  # type: ignore[arg-type]
        dtype = self._common(x, *(given or ()), weights.ih)
        if given is None:
            given = [jnp.zeros((*x.shape[:-1], self.hidden_size), dtype)] * cell.states
        weights = jax.tree.map(lambda w: w.astype(dtype), weights)
        arrays = [array.astype(dtype) for array in (x, *given)]
        batch = arrays if x.ndim == 2 else [array[None] for array in arrays]
        new = one_step(cell, weights, batch[0], tuple(batch[1:]))
        return new if x.ndim == 2 else tuple(state[0] for state in new)

    def _check(self, x: jax.Array, states: list[jax.Array]) -> None:
        name = type(self).__name__
        shapes = f"{name} got an input of shape {x.shape}"
        if x.ndim not in (1, 2):
            raise ValueError(
                f"{name}: Expected input to be 1D or 2D, got {x.ndim}D instead: shape {x.shape}"
            )
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"input has inconsistent input_size: got {x.shape[-1]} expected "
                f"{self.input_size}: {shapes}"
            )
        for place, state in enumerate(states):
            which = f"hx[{place}]" if len(states) == 2 else "hidden"
            shapes = f"{name} got an input of shape {x.shape} and a state of shape {state.shape}"
            if state.ndim not in (1, 2):
                raise ValueError(
                    f"{name}: Expected {which} to be 1D or 2D, got {state.ndim}D instead: {shapes}"
                )
            if state.shape[-1] != self.hidden_size:
                raise ValueError(
                    f"hidden{place} has inconsistent hidden_size: got {state.shape[-1]}, expected "
                    f"{self.hidden_size}: {shapes}"
                )
            if state.ndim != x.ndim:
                raise ValueError(
                    f"{name}: input and state must both have a batch axis, or neither: {shapes}"
                )
            if state.shape != (*x.shape[:-1], self.hidden_size):
                raise ValueError(
                    f"Input batch size {x.shape[0]} doesn't match hidden{place} batch size "
                    f"{state.shape[0]}: {shapes}"
                )


class RNNCell(_Cell):
    __doc__ = _DOC.format(
        layer="RNN",
        gates="",
        nonlinearity='      nonlinearity: ``"tanh"`` or ``"relu"``.\n',
        **_ONE_STATE,
    )
    shown = ("input_size", "hidden_size", "bias", "nonlinearity")

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.nonlinearity = nonlinearity
        self.mode = mode_of(nonlinearity)
        self._build(input_size, hidden_size, bias, dtype, param_dtype, rngs)

    def __call__(self, input: Any, hx: Any = None) -> jax.Array:
        """The next h, from the input and the last h, `hx`; zeros by default."""
        return self._step(input, hx)[0]


class LSTMCell(_Cell):
    __doc__ = _DOC.format(
        layer="LSTM",
        gates="4 * ",
        nonlinearity="",
        first="(h, c)",
        last="h, c",
        states="h and c",
    )
    mode = "LSTM"

    def __call__(self, input: Any, hx: Any = None) -> tuple[jax.Array, jax.Array]:
        """The next ``(h, c)``, from the input and the last pair, `hx`; zeros by default."""
        h, c = self._step(input, hx)
        return h, c


class GRUCell(_Cell):
    __doc__ = _DOC.format(layer="GRU", gates="3 * ", nonlinearity="", **_ONE_STATE)
    mode = "GRU"

    def __call__(self, input: Any, hx: Any = None) -> jax.Array:
        """The next h, from the input and the last h, `hx`; zeros by default."""
        return self._step(input, hx)[0]
