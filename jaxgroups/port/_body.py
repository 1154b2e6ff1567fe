"""From the traced calls to the bodies of the classes that are written, one instance a call."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._errors import Missing, Unsupported
from jaxgroups.port._expr import Expr, Instance, Make, Self
from jaxgroups.port._graph import Call, Graph, Node, Ref, hint, refs
from jaxgroups.port._inherit import inherited
from jaxgroups.port._layers import Layer, layer_of
from jaxgroups.port._lines import result_names
from jaxgroups.port._parts import ARITHMETIC, joined
from jaxgroups.port._sequential import chain, first_order, is_sequential, is_transparent
from jaxgroups.port._signature import identity
from jaxgroups.port._values import Values, check_names
from jaxgroups.port._whole import Whole, reads_map, survey, taken

Rule = Callable[["Body", Node], None]
RULES: dict[str, Rule] = {}


def op(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations of torch, ``"aten.relu"``."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def build(graph: Graph) -> tuple[Instance, Whole]:
    """The body of the whole, which makes those of its children.

    Operations and layers without a rule are collected in `Whole.missing`.
    """
    whole = Whole(graph)
    survey(whole, graph.root)
    for number in graph.inputs:
        shape = graph.values[number].shape
        if shape is not None:
            whole.orders[number] = (
                orders.channels_last(len(shape))
                if reads_map(whole, number)
                else orders.natural(len(shape))
            )
    body = Body(whole, graph.root)
    module = graph.modules[""]
    if is_sequential(module):
        (x,) = graph.root.inputs.values()
        body.made.parameters = {"x": x}
        before = len(whole.transpositions), len(whole.missing)
        try:
            body.made.base = chain(lambda: Body(whole, graph.root), graph.root, x)
            return body.made, whole
        except Unsupported:  # its items are called one by one
            del whole.transpositions[before[0] :], whole.missing[before[1] :]
            return Body(whole, graph.root).instance(), whole
    return body.instance(), whole


class Body(Values):
    """Makes the body of one call: an instance of a class that is written."""

    def instance(self) -> Instance:
        call, made = self.call, self.made
        base = inherited(self.whole.graph, call)
        if base is not None:
            made.base, self.inherits = base[0].make, base
        for name, structure in call.inputs.items():
            made.parameters[name] = structure
            self.known.update(refs(structure))
            self.recent += refs(structure)
        for step in call.steps:
            self._step(step)
        made.returns = call.output
        self._finish_returns()
        return made

    def _finish_returns(self) -> None:
        def resolved(x: Any) -> Any:
            if isinstance(x, Ref):
                if self.whole.value(x).shape is None:
                    return self.size(x)
                if self.call is self.whole.graph.root:
                    return self._returned(x)
                return self._handed(x)
            if isinstance(x, dict):
                return {key: resolved(one) for key, one in x.items()}
            if isinstance(x, list | tuple):
                return type(x)(resolved(one) for one in x)
            return x

        self.node = None
        self.made.returns = resolved(self.call.output)
        for name, structure in self.call.inputs.items():
            self.made.inputs[name] = [self._shape(n) for n in refs(structure)]
        self.made.outputs = [self._shape(n) for n in refs(self.call.output)]
        for number, _ in self.free.items():
            self.made.parameters[f"_{number}"] = Ref(number)
            self.made.inputs[f"_{number}"] = [self._shape(number)]

    def _handed(self, x: Ref) -> Any:
        """A result for the caller: channels last where a layer reads it as a feature map."""
        rank, order = self.rank(x), self.order(x)
        wanted = orders.channels_last(rank)
        if rank < 4 or order != orders.natural(rank) or not reads_map(self.whole, x.number):
            return self.read(x)
        held = self.read(x, wanted)
        self.whole.orders[x.number] = wanted
        return held

    def _returned(self, x: Ref) -> Any:
        """An output of the whole: channels last or in torch's order, no other."""
        order, rank = self.order(x), self.rank(x)
        if order in (orders.natural(rank), orders.channels_last(rank)):
            return self.read(x)
        held = self.read(x, orders.natural(rank))
        self.whole.orders[x.number] = orders.natural(rank)
        return held

    def _shape(self, number: int) -> Any:
        """The shape in memory for the example, and the order of its axes."""
        shape = self.whole.graph.values[number].shape
        if shape is None:
            return None
        order = self.whole.orders.get(number, orders.natural(len(shape)))
        return tuple(hint(shape[axis]) for axis in order), order

    def _step(self, step: Node | Call) -> None:
        if isinstance(step, Node):
            self._node(step)
            return
        try:
            self.call_step(step)
        except Unsupported as error:
            missing = Missing(step.kind, step.path, str(step.line or ""), str(error))
            self.whole.missing.append(missing)
            for number in refs(step.output):
                self._unknown(number)

    def _node(self, node: Node) -> None:
        if all(self.whole.graph.values[n].shape is None for n in node.outputs) and (
            node.op in ARITHMETIC or node.op.startswith(("python.", "aten.sym_"))
        ):
            return  # an integer: written where it is used
        rule = RULES.get(node.op)
        self.node = node
        if self.inherits is not None and node is self.inherits[1]:
            self._super(node, self.inherits[0])
            return
        try:
            if rule is None:
                raise Unsupported("")
            rule(self, node)
        except Unsupported as error:
            name = node.op + ("" if rule is None else f".{node.variant}")
            self.whole.missing.append(Missing(name, self.path, str(node.line or ""), str(error)))
            self._absent(node)

    def _super(self, node: Node, layer: Layer) -> None:
        """The call of the layer that the class extends."""
        x = node.args[0]
        order = taken(self.whole, layer, x.number)
        self.define(node, Expr(["super().__call__(", self.read(x, order), ")"]), order)

    def _absent(self, node: Node) -> None:
        text = f"{node.op} has no counterpart: {node.line or self.path}"
        for number in node.outputs:
            shape = self.whole.graph.values[number].shape
            if shape is not None:
                self.whole.orders[number] = orders.natural(len(shape))
        target = [Ref(n) for n in node.outputs]
        inputs = []
        for n in refs([list(node.args), node.kwargs]):
            if self.whole.graph.values[n].shape is not None:
                with suppress(Unsupported):  # what cannot be read is missing as well
                    inputs.append(self.read(Ref(n)))
        expr = Expr(["_not_ported(", *joined([repr(text), *inputs]), ")"])
        self._state(target[0] if len(target) == 1 else target, expr, node.outputs, node.line)

    def call_step(self, call: Call) -> None:
        """A call of a child, however it is written.

        Raises:
          Unsupported: a call that cannot be written.
        """
        module = self.whole.graph.modules[call.path]
        layer = layer_of(module)
        if layer is not None:
            self._layer(call, layer)
        elif is_sequential(module):
            self._sequential(call)
        elif is_transparent(module):
            outer, self.line = self.line, call.line if call.line else self.line
            self.origin = call.path.rpartition(".")[2]
            for step in call.steps:
                self._step(step)
            self.line, self.origin = outer, ""
        else:
            self._module(call)

    def _layer(self, call: Call, layer: Layer) -> None:
        """A call of a layer that jaxgroups or Flax has."""
        self.node = None
        if layer.write is not None and not layer.problem:
            self._written(call, layer)
            return
        inputs = [x for x in call.inputs.values() if isinstance(x, Ref)]
        outputs = list(refs(call.output))
        if not inputs or not outputs or layer.problem:
            line = str(call.line or "")
            self.whole.missing.append(Missing(call.kind, call.path, line, layer.problem))
            for number in outputs:
                self._unknown(number)
            return
        x = inputs[0]
        order = taken(self.whole, layer, x.number)
        if x.number in self.whole.permuted:
            sizes = self.whole.permuted[x.number]
            if layer.make.target == "nnx.Linear":
                self.whole.rules[call.path] = ("FlattenLinear", sizes)
            else:
                self.whole.permuted[outputs[0]] = sizes
                if layer.make.target.startswith("jnn."):
                    self.whole.rules[call.path] = ("FlattenVector", sizes)
        if layer.make.target in ("jnn.LayerNorm", "jnn.RMSNorm") and layer.order == "natural":
            self.whole.rules[call.path] = ("Identity", ())  # of axes in torch's order
        where = self._child(call.path, layer.make)
        given = [self.read(x, order)]
        given += [self.read(one, layer_order(self, layer, one)) for one in inputs[1:]]
        shape = self.shape(outputs[0])
        out = order if len(shape) == len(order) else orders.natural(len(shape))
        if layer.order == "channels_last":
            out = orders.channels_last(len(shape))
        for number in outputs:
            self.whole.orders[number] = out
        expr = Expr([Self(where), "(", *joined(given), ")"])
        self._called(call, expr, outputs)

    def _written(self, call: Call, layer: Layer) -> None:
        """A call that the layer's rule writes."""
        try:
            if layer.write is not None:
                layer.write(self, call, layer)
        except Unsupported as error:
            missing = Missing(call.kind, call.path, str(call.line or ""), str(error))
            self.whole.missing.append(missing)
            for number in refs(call.output):
                self._unknown(number)

    def called(
        self, call: Call, make: Make, given: Sequence[Any], order: orders.Order, target: Any = None
    ) -> None:
        """A call of a child whose first result lies in the order, and others in torch's.

        Args:
          target: the results that are read, if not the first alone.
        """
        number = next(iter(refs(call.output)))
        target = Ref(number) if target is None else target
        self.whole.orders[number] = order
        where = self._child(call.path, make)
        self._called(call, Expr([Self(where), "(", *joined(given), ")"]), [*refs(target)])
        self.made.statements[-1].target = target
        self.recent = [n for n in self.recent if n not in {*refs(target)} - {number}]

    def _unknown(self, number: int) -> None:
        shape = self.whole.graph.values[number].shape
        if shape is not None:
            self.whole.orders[number] = orders.natural(len(shape))
        self._state(Ref(number), Expr(["_not_ported('a layer')"]), [number], None)

    def _sequential(self, call: Call) -> None:
        self.node = None
        (x,) = call.inputs.values()
        if not isinstance(x, Ref):  # a list or tuple that its items hand on
            for step in call.steps:
                self._step(step)
            return
        if not call.steps:
            self.alias[call.output.number] = self._use(x.number).number
            return
        whole = self.whole
        before = len(whole.transpositions), len(whole.missing)
        order = self.order(x)
        wanted = first_order(whole, call) or order
        whole.orders[x.number] = wanted
        try:
            make = chain(lambda: Body(whole, call), call, x)
        except Unsupported:  # its items are called one by one
            del whole.transpositions[before[0] :], whole.missing[before[1] :]
            whole.orders[x.number] = order
            for step in call.steps:
                self._step(step)
            return
        whole.orders[x.number] = order
        where = self._child(call.path, make)
        given = self.read(x, wanted)
        self._called(call, Expr([Self(where), "(", given, ")"]), list(refs(call.output)))

    def _called(self, call: Call, expr: Expr, outputs: list[int]) -> None:
        """The statement of a child's call."""
        self._state(call.output, expr, outputs, call.line)
        statement = self.made.statements[-1]
        statement.line = call.line and (call.line.file, call.line.number)
        statement.hint = result_names(call.line)

    def _module(self, call: Call) -> None:
        """A call of a module that becomes a class."""
        body = Body(self.whole, call)
        made = body.instance()
        where = self._child(call.path, Make(made, rngs=True))
        given: list[Any] = []
        for name, structure in made.parameters.items():
            given.append(self._argument(structure, name))
        expr = Expr([Self(where), "(", *joined(given), ")"])
        outputs = list(refs(call.output))
        passed = [n for n in outputs if n in self.known]
        if passed and isinstance(call.output, Ref):  # an identity
            self.alias[outputs[0]] = self.alias.get(outputs[0], outputs[0])
            return
        self._called(call, expr, outputs)

    def _argument(self, structure: Any, name: str) -> Any:
        if isinstance(structure, Ref):
            if self.whole.value(structure).shape is None:
                return self.size(structure, name=name)
            return self.read(structure)
        if isinstance(structure, dict):
            parts: list[Any] = []
            for key, one in structure.items():
                parts += [", " if parts else "", f"{key!r}: ", self._argument(one, name)]
            return Expr(["{", *parts, "}"])
        if isinstance(structure, list | tuple):
            inner = joined([self._argument(one, name) for one in structure])
            ends = ("(", ",)" if len(structure) == 1 else ")")
            ends = ("[", "]") if isinstance(structure, list) else ends
            return Expr([ends[0], *inner, ends[1]])
        return Expr([repr(structure)])

    def new_child(self, name: str, make: Make) -> tuple[str, ...]:
        """The path of a child that the original does not have as a module."""
        taken = {path[0] for path in self.made.children}
        module = self.whole.graph.modules[self.path]
        number = 1
        chosen = name
        while chosen in taken or hasattr(module, chosen):
            number += 1
            chosen = f"{name}{number}"
        self.made.children[(chosen,)] = make
        return (chosen,)

    def _child(self, path: str, make: Make) -> tuple[str, ...]:
        """The path below this module of a child, which the constructor makes."""
        below = self._below(path)
        if below is None or not path:
            raise Unsupported(f"the module {path} is used outside of the module that has it")
        check_names(below)
        before = self.made.children.setdefault(below, make)
        if identity(before) != identity(make):
            raise Unsupported("a module that does something else at another call")
        return below


def layer_order(body: Body, layer: Layer, ref: Any) -> orders.Order | None:
    """The order of a layer's further inputs."""
    if layer.order == "channels_last":
        return orders.channels_last(body.rank(ref))
    return None
