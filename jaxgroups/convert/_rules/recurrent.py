"""The rules of recurrent layers. torch has all gates in one tensor, and two biases.

    torch                       Flax
    weight_ih (gates * H, in)   one kernel (in, gates * H), or one (in, H) for each gate
    weight_hh (gates * H, H)    likewise, of the hidden state
    bias_ih + bias_hh           one bias, where only their sum matters

The gates are in the same order: i, f, g, o of an LSTM, and r, z, n of a GRU. The bias of the hidden
state in gate n of a GRU is inside a product, so it is not added to the other one: linen's GRUCell
has it separately, and nnx's has no such bias.

The layers of jaxgroups have torch's tensors, with torch's names and shapes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from flax import nnx

from jaxgroups import nnx as jg_nnx
from jaxgroups.convert._rules.layers import Shapes, TensorRule, register, rule_of
from jaxgroups.convert._rules.merges import FlaxOnly, GRUSum, Sum
from jaxgroups.convert._rules.ops import Chain, ChannelsLast, Identity, Op, Part, Permute


@dataclass(frozen=True)
class _Cell:
    """The linear layers of a cell.

    Attributes:
      inputs, hidden: those of the input and of h: one for all gates, or one for each gate.
      gru: whether it is a GRU cell.
    """

    inputs: tuple[str, ...]
    hidden: tuple[str, ...]
    gru: bool = False


def _by_gate(gates: str, gru: bool = False) -> _Cell:
    return _Cell(tuple(f"i{g}" for g in gates), tuple(f"h{g}" for g in gates), gru)


_FUSED = _Cell(("dense_i",), ("dense_h",))
_CELLS: dict[type, _Cell] = {
    nnx.LSTMCell: _Cell(("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")),
    nnx.OptimizedLSTMCell: _FUSED,
    nnx.GRUCell: _Cell(("dense_i",), ("dense_h",), gru=True),
    nnx.SimpleCell: _FUSED,
    nn.LSTMCell: _by_gate("ifgo"),
    nn.OptimizedLSTMCell: _by_gate("ifgo"),
    nn.GRUCell: _by_gate("rzn", gru=True),
    nn.SimpleCell: _Cell(("i",), ("h",)),
}
_RNN, _BOTH_WAYS = (nnx.RNN, nn.RNN), (nnx.Bidirectional, nn.Bidirectional)
RECURRENT = (*_CELLS, *_RNN, *_BOTH_WAYS)
OURS = (
    jg_nnx.RNN,
    jg_nnx.LSTM,
    jg_nnx.GRU,
    jg_nnx.RNNCell,
    jg_nnx.LSTMCell,
    jg_nnx.GRUCell,
)
_TRANSPOSED = Permute((1, 0))
Leaves = dict[str, TensorRule | FlaxOnly]


@register(*_CELLS)
def _cell(layer: Any, shapes: Shapes) -> Leaves:
    """torch's LSTMCell, GRUCell or RNNCell."""
    return _leaves(layer, shapes)


@register(*_RNN, *_BOTH_WAYS)
def _one_layer(layer: Any, shapes: Shapes) -> Leaves:
    """torch's LSTM, GRU or RNN of one layer; cells of other kinds have their own rules."""
    return RNNLayers()(layer, shapes)


@register(*OURS)
def _torchs_tensors(layer: Any, shapes: Shapes) -> Leaves:
    """torch's LSTM, GRU or RNN of any number of layers and directions, or its cell."""
    return {name: TensorRule(name) for name in shapes if name.startswith(("weight_", "bias_"))}


class RNNLayers:
    """The rule of recurrent layers that are one LSTM, GRU or RNN in torch; pass it in ``rules=``.

    A single RNN or Bidirectional layer of Flax is torch's layer 0 and needs no such rule. This rule
    is for

    * a container of several, torch's ``num_layers``: ``rules={"lstm": RNNLayers()}`` for an
      ``nnx.Sequential``, an ``nnx.List`` or a linen Sequential, in their order;
    * one of several that are attributes, with torch's name for each:
      ``names={"rnn2": "lstm"}, rules={"rnn2": RNNLayers(first=1)}``;
    * a cell that the model itself scans: ``names={"cell": "lstm"},
      rules={"cell": RNNLayers()}``.

    Args:
      *layers: names of the recurrent layers, in order, within a module that is none of these
        containers.
      first: torch's number of the first layer.
      reverse: whether an RNN or a cell is the backward direction.
      bias: whether torch's layer has biases; otherwise Flax's are filled with zeros.
      flatten: the sizes ``(c, h, w)`` of the feature map that is flattened at each step for the
        first layer, as ``(c, h, w)`` in torch and ``(h, w, c)`` in Flax.

    Raises:
      TypeError: an argument of another type.
      ValueError: sizes in `flatten` that are not positive.
    """

    def __init__(
        self,
        *layers: str,
        first: int = 0,
        reverse: bool = False,
        bias: bool = True,
        flatten: tuple[int, int, int] | None = None,
    ) -> None:
        if not all(isinstance(name, str) for name in layers):
            raise TypeError(f"RNNLayers: the names of layers must be strings, got {layers}")
        if type(first) is not int or first < 0:
            raise TypeError(f"RNNLayers: first must be an integer >= 0, got {first!r}")
        for name, given in (("reverse", reverse), ("bias", bias)):
            if not isinstance(given, bool):
                raise TypeError(f"RNNLayers: {name} must be True or False, got {given!r}")
        self.layers, self.first, self.reverse, self.bias = layers, first, reverse, bias
        self.flatten = flatten
        self._of_input: Op = Permute((1, 0))
        if flatten is not None:
            self._of_input = Chain((self._of_input, ChannelsLast(0, tuple(flatten))))

    def __call__(self, layer: Any, shapes: Shapes) -> Leaves:
        """The rules of all cells in the layer; an instance is a function for `register`.

        Raises:
          ValueError: a layer without recurrent layers.
        """
        leaves: Leaves = {}
        for number, (path, part) in enumerate(self._parts(layer), self.first):
            for front, cell, reverse in _cells(part, path, self.reverse):
                end = f"_l{number}{'_reverse' if reverse else ''}"
                of_input = self._of_input if number == self.first else Permute((1, 0))
                leaves |= _leaves(cell, shapes, front, end, self.bias, of_input)
        return leaves

    def _parts(self, layer: Any) -> list[tuple[str, Any]]:
        """The recurrent layers, with their paths."""
        if self.layers:
            return [(name, _attribute(layer, name)) for name in self.layers]
        if isinstance(layer, RECURRENT):
            return [("", layer)]
        items: list[tuple[str, Any]] = []
        if isinstance(layer, nnx.Sequential):
            items = [(f"layers.{i}", item) for i, item in enumerate(layer.layers)]
        elif isinstance(layer, nnx.List):
            items = [(str(i), item) for i, item in enumerate(layer)]
        elif isinstance(layer, nn.Sequential):
            items = [(f"layers_{i}", item) for i, item in enumerate(layer.layers)]
        found = [(path, item) for path, item in items if isinstance(item, RECURRENT)]
        if not found:
            raise ValueError(
                "RNNLayers is for recurrent layers of Flax, or for a Sequential or a List of them: "
                'give the names of those within this layer, as in RNNLayers("rnn1", "rnn2")'
            )
        return found

    def __repr__(self) -> str:
        given = [repr(name) for name in self.layers]
        given += [f"first={self.first}"] if self.first else []
        given += ["reverse=True"] if self.reverse else []
        given += [] if self.bias else ["bias=False"]
        given += [f"flatten={self.flatten}"] if self.flatten else []
        return f"RNNLayers({', '.join(given)})"


def _attribute(layer: Any, name: str) -> Any:
    found = layer
    for part in name.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part, None)
        if found is None:
            raise ValueError(f"RNNLayers: there is no {name!r} in it")
    return found


def _cells(layer: Any, path: str, reverse: bool) -> Iterator[tuple[str, Any, bool]]:
    """The cells in a layer that have a rule of this file, with their paths and directions."""
    front = f"{path}." if path else ""
    if isinstance(layer, _BOTH_WAYS):
        yield from _cells(layer.forward_rnn, f"{front}forward_rnn", False)
        yield from _cells(layer.backward_rnn, f"{front}backward_rnn", True)
    elif isinstance(layer, _RNN):
        yield from _cells(layer.cell, f"{front}cell", reverse)
    elif rule_of(layer) is _cell:
        yield front, layer, reverse


def _leaves(
    cell: Any,
    shapes: Shapes,
    front: str = "",
    end: str = "",
    bias: bool = True,
    of_input: Op = _TRANSPOSED,
) -> Leaves:
    """The rules of a cell's parameters.

    Args:
      cell: the cell.
      shapes: the shapes of the parameters.
      front: the path of the cell within the layer.
      end: the end of torch's names.
      bias: whether torch's layer has biases.
      of_input: the operation on the weights of the input.
    """
    if getattr(cell, "residual", False):
        raise ValueError("a residual SimpleCell has no counterpart in torch")
    kind = next(_CELLS[base] for base in type(cell).__mro__ if base in _CELLS)
    leaves: Leaves = {}
    count = len(kind.inputs)
    for gate, pair in enumerate(zip(kind.inputs, kind.hidden, strict=True)):
        kernels = (("ih", of_input), ("hh", _TRANSPOSED))
        for module, (side, op) in zip(pair, kernels, strict=True):
            rule = TensorRule(f"weight_{side}{end}", _gate(gate, count, op))
            leaves[f"{front}{module}.kernel"] = rule
        op = _gate(gate, count, Identity())
        ih, hh = f"bias_ih{end}", f"bias_hh{end}"
        held = [name for name in (f"{front}{module}.bias" for module in pair) if name in shapes]
        if not bias:
            leaves |= dict.fromkeys(held, FlaxOnly(0))
        elif len(held) == 2:
            leaves |= {held[0]: TensorRule(ih, op), held[1]: TensorRule(hh, op)}
        elif held:
            merge = GRUSum() if kind.gru and count == 1 else Sum()
            leaves[held[0]] = TensorRule(ih, op, plus=hh, merge=merge)
    return leaves


def _gate(index: int, count: int, op: Op) -> Op:
    """The operation on one gate of a tensor that holds all of them."""
    if count == 1:
        return op
    part = Part(index, count)
    return part if isinstance(op, Identity) else Chain((part, op))
