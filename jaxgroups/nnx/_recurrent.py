"""RNN, LSTM and GRU with torch's names, arguments, parameters and states."""

import os
import sys
import warnings
from numbers import Real
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxgroups._functional.recurrent import CELLS, Weights, recurrent
from jaxgroups._types import Shape
from jaxgroups.nnx._parameters import checked
from jaxgroups.nnx._recurrent_base import RecurrentBase, at_least, boolean, mode_of

_INSIDE = tuple(str(Path(file).parent) + os.sep for file in (Path(__file__).parent, flax.__file__))
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
_SIZES = ("input_size", "hidden_size", "num_layers")
_OPTIONS = ("bias", "batch_first", "dropout", "bidirectional")

_DOC = """{name} over sequences, with the arguments, parameters and states of ``torch.nn.{name}``.

    ``output, {last} = layer(input, {first})``. ``model.train()`` and ``model.eval()`` switch the
    dropout between the layers, as they switch ``nnx.Dropout``.

    Shape:
      input ``(L, N, input_size)``; with `batch_first` ``(N, L, input_size)``; without a batch
      ``(L, input_size)``;
      output the same with ``D * {out}`` features, where D is 2 if bidirectional and else 1;
      {states}; without a batch, they have no axis N.

    Args:
      input_size: the number of features of the input.
      hidden_size: the number of features of the hidden state.
      num_layers: the number of layers; each layer after the first reads the outputs of the one
        before it.
{nonlinearity}\
      bias: whether there are `bias_ih` and `bias_hh`.
      batch_first: whether input and output are ``(N, L, features)``. The states are not.
      dropout: the probability of a zero in the outputs of every layer but the last, in training.
      bidirectional: whether each layer has a second direction, from the last step to the first.
{projection}\
      deterministic: whether to begin in evaluation mode, without dropout.
      dtype: the dtype to compute in. None by default: the common one of input, state and
        parameters. Sums and gates of float16 and bfloat16 are float32.
      param_dtype: the dtype of the parameters.
      rngs: ``nnx.Rngs``, whose ``params`` stream draws the parameters, and whose ``dropout``
        stream is for the dropout. Required.

    Attributes:
      weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0{hr}: the ``nnx.Param`` of layer 0, with
        torch's names and shapes: ``({gates}hidden_size, input_size)`` and so on. The names of layer
        k end in ``_lk``, those of the second direction in ``_lk_reverse``.

    Raises:
      TypeError: at construction, an argument of the wrong type, or no `rngs`; at the call, a
        PackedSequence, or a state of another form.
      ValueError: what torch refuses, with torch's sentence.
    """
_STATE = "{0} ``(D * num_layers, N, hidden_size)``"
_ONE_STATE = {
    "first": "h_0",
    "last": "h_n",
    "out": "hidden_size",
    "states": _STATE.format("h_0 and h_n"),
    "projection": "",
    "hr": "",
}


class _Recurrent(RecurrentBase):
    shown = (*_SIZES, *_OPTIONS)
    layer_dropout: nnx.Dropout | None

    def _build(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        deterministic: bool,
        dtype: DTypeLike | None,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        if not isinstance(dropout, Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                f"element being zeroed, got dropout={dropout!r}"
            )
        self.mode = mode
        self.bias = boolean("bias", bias)
        self.batch_first = boolean("batch_first", batch_first)
        self.bidirectional = boolean("bidirectional", bidirectional)
        self.input_size = at_least(1, "input_size", input_size)
        self.hidden_size = at_least(1, "hidden_size", hidden_size)
        self.num_layers = at_least(1, "num_layers", num_layers)
        if dropout > 0 and num_layers == 1:
            _warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                "dropout expects num_layers greater than 1, but got "
                f"dropout={dropout} and num_layers={num_layers}"
            )
        sentence = "proj_size should be a positive integer or zero to disable projections"
        self.proj_size = at_least(0, "proj_size", proj_size, sentence)
        if proj_size >= hidden_size:
            raise ValueError(
                f"proj_size has to be smaller than hidden_size, got proj_size={proj_size} and "
                f"hidden_size={hidden_size}"
            )
        self.dropout = float(dropout)
        self.dtype = dtype
        self._add(self._shapes(), rngs, param_dtype)
        self.layer_dropout = nnx.data(None)
        if dropout > 0 and num_layers > 1:
            self.layer_dropout = nnx.Dropout(self.dropout, deterministic=deterministic, rngs=rngs)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _shapes(self) -> dict[str, Shape]:
        """The shapes of the parameters, in torch's order."""
        rows = CELLS[self.mode].gates * self.hidden_size
        shapes: dict[str, Shape] = {}
        for layer in range(self.num_layers):
            inputs = len(self._suffixes) * self._output_size if layer else self.input_size
            for suffix in self._suffixes:
                own = {"weight_ih": (rows, inputs), "weight_hh": (rows, self._output_size)}
                if self.bias:
                    own |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if self.proj_size:
                    own["weight_hr"] = (self.proj_size, self.hidden_size)
                shapes |= {f"{name}_l{layer}{suffix}": shape for name, shape in own.items()}
        return shapes

    def __call__(
        self,
        input: Any,
        hx: Any = None,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """The outputs of the last layer, and the last state of every layer and direction.

        Args:
          input: the sequences.
          hx: the first state: an array, of an LSTM a pair of two. None by default: zeros.
          deterministic: overrides the layer's setting.
          rngs: overrides the layer's random stream.
        """
        name = type(self).__name__
        cell = CELLS[self.mode]
        x = self._array(input)
        if x.ndim not in (2, 3):
            raise ValueError(
                f"{name}: Expected input to be 2D or 3D, got {x.ndim}D instead: shape {x.shape}"
            )
        given = self._states(hx, cell.states)
        if given is not None:
            _check_ndim(x.ndim, given)
        batched, first = x.ndim == 3, self.batch_first and x.ndim == 3
        if not batched:
            x = x[:, None]
            given = None if given is None else [state[:, None] for state in given]
        x = jnp.swapaxes(x, 0, 1) if first else x
        if x.shape[2] != self.input_size:
            raise ValueError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {x.shape[2]}: {name} got an input of shape "
                f"{jnp.shape(input)}"
            )
        sizes = (self._output_size, self.hidden_size)[: cell.states]
        shapes = [(self.num_layers * len(self._suffixes), x.shape[1], size) for size in sizes]
        if given is not None:
            for place, (state, shape) in enumerate(zip(given, shapes, strict=True)):
                if state.shape != shape:
                    which = f"hidden[{place}]" if len(shapes) == 2 else "hidden"
                    raise ValueError(
                        f"Expected {which} size {shape}, got {list(state.shape)}: {name} got an "
                        f"input of shape {jnp.shape(input)}"
                    )
        if not x.shape[0]:
            raise ValueError(
                f"Expected sequence length to be larger than 0 in RNN: {name} got an input of "
                f"shape {jnp.shape(input)}"
            )
        dtype, layers = self._weights(x, given)
        if given is None:
            given = [jnp.zeros(shape, dtype) for shape in shapes]

        def between(y: jax.Array) -> jax.Array:
            drop = self.layer_dropout
            return y if drop is None else drop(y, deterministic=deterministic, rngs=rngs)

        state = tuple(s.astype(dtype) for s in given)
        y, state = recurrent(cell, layers, x.astype(dtype), state, between)
        y = jnp.swapaxes(y, 0, 1) if first else y
        if not batched:
            y, state = y[:, 0], tuple(s[:, 0] for s in state)
        return y, state if len(state) == 2 else state[0]

    def _weights(
        self, x: jax.Array, states: list[jax.Array] | None
    ) -> tuple[Any, list[list[Weights]]]:
        """The dtype to compute in, and in it the weights of each layer and direction."""
        layers = [
            [self._layer_weights(f"_l{layer}{suffix}") for suffix in self._suffixes]
            for layer in range(self.num_layers)
        ]
        dtype = self._common(x, *(states or ()), layers[0][0].ih)
        return dtype, jax.tree.map(lambda weight: weight.astype(dtype), layers)

    def _layer_weights(self, suffix: str) -> Weights:
        return Weights(*(self._parameter(name + suffix) for name in _NAMES))  # type: ignore[arg-type]


def _check_ndim(ndim: int, states: list[jax.Array]) -> None:
    """Refuse a state with a batch axis for an input without one, and the other way round."""
    if all(state.ndim == ndim for state in states):
        return
    batched = "batched" if ndim == 3 else "unbatched"
    ranks = [f"{state.ndim}-D" for state in states]
    which, given = "hx", f"{ranks[0]} tensor"
    if len(states) == 2:
        which, given = "hx and cx", f"({', '.join(ranks)}) tensors"
    raise ValueError(
        f"For {batched} {ndim}-D input, {which} should also be {ndim}-D but got {given}"
    )


def _warn(text: str) -> None:
    """Warn at the first line of the stack that is outside of jaxgroups.nnx and Flax."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


class RNN(_Recurrent):
    __doc__ = _DOC.format(
        name="RNN",
        gates="",
        nonlinearity='      nonlinearity: of the cells, ``"tanh"`` or ``"relu"``.\n',
        **_ONE_STATE,
    )
    shown = (*_SIZES, "nonlinearity", *_OPTIONS)

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.nonlinearity = nonlinearity
        self._build(
            mode_of(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            deterministic,
            dtype,
            param_dtype,
            rngs,
        )


class GRU(_Recurrent):
    __doc__ = _DOC.format(name="GRU", gates="3 * ", nonlinearity="", **_ONE_STATE)

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self._build(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            deterministic,
            dtype,
            param_dtype,
            rngs,
        )


class LSTM(_Recurrent):
    __doc__ = _DOC.format(
        name="LSTM",
        gates="4 * ",
        nonlinearity="",
        first="(h_0, c_0)",
        last="(h_n, c_n)",
        out="(proj_size or hidden_size)",
        states="h_0 and h_n ``(D * num_layers, N, proj_size or hidden_size)``;\n      "
        + _STATE.format("c_0 and c_n"),
        projection="      proj_size: the number of features that `weight_hr` projects the hidden"
        " state to;\n        the outputs and h then have as many. 0 by default: no projection.\n",
        hr=", weight_hr_l0",
    )
    shown = (*_SIZES, *_OPTIONS, "proj_size")

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self._build(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            deterministic,
            dtype,
            param_dtype,
            rngs,
        )
