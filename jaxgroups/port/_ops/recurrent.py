"""RNN, LSTM and GRU, whose first two axes may lie in either order."""

from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._body import Body
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Make
from jaxgroups.port._graph import Call, Ref, refs
from jaxgroups.port._layers import Layer, layer, made
from jaxgroups.port._parts import joined


@layer("torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.GRU", "torch.nn.modules.rnn.RNN")
def _recurrent(m: Any) -> Layer:
    return Layer(_make(m, m.batch_first), "natural", write=_run)


def _make(m: Any, batch_first: bool) -> Make:
    name = next(
        base.__name__ for base in type(m).__mro__ if base.__module__.endswith("nn.modules.rnn")
    )
    own = {"nonlinearity": (m.nonlinearity, "tanh")} if name == "RNN" else {}
    own |= {"proj_size": (m.proj_size, 0)} if name == "LSTM" else {}
    return made(
        f"jnn.{name}",
        ("input_size", m.input_size),
        ("hidden_size", m.hidden_size),
        rngs=True,
        num_layers=(m.num_layers, 1),
        bias=(m.bias, True),
        batch_first=(batch_first, False),
        dropout=(m.dropout, 0.0),
        bidirectional=(m.bidirectional, False),
        **own,
    )


def _run(b: Body, call: Call, layer: Layer) -> None:
    """``output, state = self.rnn(x, state)``, batch first if the input lies so."""
    module = b.whole.graph.modules[call.path]
    x, first = call.inputs["input"], call.inputs.get("hx")
    rank = b.rank(x)
    swapped = rank == 3 and b.order(x) == (1, 0, 2)
    order = (1, 0, 2) if swapped else orders.natural(rank)
    make = _make(module, module.batch_first != swapped)
    given: list[Any] = [b.read(x, order)]
    if isinstance(first, Ref):
        given.append(b.read(first, orders.natural(rank)))
    elif first is not None:
        given.append(Expr(["(", *joined([b.read(h, orders.natural(rank)) for h in first]), ")"]))
    output, last = call.output
    states = [*refs(last)]
    if not isinstance(output, Ref):
        raise Unsupported("sequences that are packed")
    used = any(b.whole.users.get(n) for n in states)
    used |= bool({*states} & {*refs(b.whole.graph.root.output)})
    b.called(call, make, given, order, call.output if used else (output, Ref(states[0])))
