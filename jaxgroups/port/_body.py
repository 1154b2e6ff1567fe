"""From the traced calls to the bodies of the classes that are written, one instance a call."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._errors import Missing, Unsupported
from jaxgroups.port._expr import Expr, Instance, Lit, Make, Self, Statement, Use
from jaxgroups.port._graph import Call, Graph, Line, Node, Ref, Size, Value, hint, refs
from jaxgroups.port._inherit import inherited
from jaxgroups.port._layers import Layer, layer_of
from jaxgroups.port._lines import first_sentence, result_name
from jaxgroups.port._sequential import chain, is_sequential

Rule = Callable[["Body", Node], None]
RULES: dict[str, Rule] = {}


def op(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations of torch, ``"aten.relu"``."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


@dataclass
class Move:
    """A transposition of a value that is not free."""

    path: str
    line: str
    shape: tuple[Any, ...]
    order: tuple[int, ...]


@dataclass
class Whole:
    """What the bodies of one graph share."""

    graph: Graph
    orders: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bodies: dict[str, list[Instance]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    makers: dict[int, Node] = field(default_factory=dict)  # of integers
    users: dict[int, list[Node | Call]] = field(default_factory=dict)
    permuted: dict[int, tuple[int, ...]] = field(
        default_factory=dict
    )  # flattened as it lies: (C, *spatial)
    rules: dict[str, Any] = field(default_factory=dict)  # of `load_torch`, for what reads them

    def value(self, ref: Any) -> Value:
        return self.graph.values[ref.number]


def build(graph: Graph, partial: bool = False) -> tuple[Instance, Whole]:
    """The body of the whole, which makes those of its children.

    Operations and layers without a rule are collected in `Whole.missing`.
    """
    whole = Whole(graph)
    _survey(whole, graph.root)
    for number in graph.inputs:
        shape = graph.values[number].shape
        if shape is not None:
            whole.orders[number] = (
                orders.channels_last(len(shape))
                if _reads_map(whole, number)
                else orders.natural(len(shape))
            )
    body = Body(whole, graph.root, partial)
    module = graph.modules[""]
    if is_sequential(module):
        (x,) = graph.root.inputs.values()
        body.made.parameters = {"x": x}
        try:
            body.made.base = chain(lambda: Body(whole, graph.root, partial), graph.root, x)
        except Unsupported as error:
            whole.missing.append(Missing(graph.root.kind, "", "", str(error)))
        return body.made, whole
    return body.instance(), whole


def _survey(whole: Whole, call: Call) -> None:
    """Note who makes each integer, and who uses each value."""
    leaf = layer_of(whole.graph.modules[call.path]) is not None
    for number in refs(call.inputs):
        whole.users.setdefault(number, []).append(call)
    for step in call.steps:
        if isinstance(step, Call):
            _survey(whole, step)
            continue
        for number in step.outputs:
            if whole.graph.values[number].shape is None:
                whole.makers[number] = step
        if not leaf:
            for number in refs([list(step.args), step.kwargs]):
                whole.users.setdefault(number, []).append(step)


_LOOK = {"aten.add", "aten.sub", "aten.mul", "aten.div", "aten.pad", "aten.cat", "aten.contiguous"}
_MAPS = re.compile(
    r"aten\.(conv|.*pool|batch_norm|instance_norm|upsample|pixel|grid|prelu|group_n)"
)


def _reads_map(whole: Whole, number: int, depth: int = 0) -> bool:
    """Whether an input is a feature map: the first layer that has an order of axes reads one."""
    for user in whole.users.get(number, ()) if depth < 20 else ():
        if isinstance(user, Call):
            layer = layer_of(whole.graph.modules[user.path])
            if layer is not None and layer.order != "any":
                return layer.order == "channels_last"
        elif _MAPS.match(user.op) or (
            (user.op in _LOOK or (len(user.args) == 1 and not user.kwargs))
            and user.outputs
            and _reads_map(whole, user.outputs[0], depth + 1)
        ):
            return True
    return False


class Body:
    """Makes the body of one call."""

    def __init__(self, whole: Whole, call: Call, partial: bool = False) -> None:
        self.whole = whole
        self.call = call
        self.partial = partial
        self.path = call.path
        kind = call.kind.rpartition(".")[2]
        text = vars(type(whole.graph.modules[call.path])).get("__doc__") or ""
        self.made = Instance(call.path, kind, first_sentence(text))
        self.known: set[int] = set()
        self.alias: dict[int, int] = {}
        self.recent: list[int] = []
        self.free: dict[int, str] = {}
        self.line: Any = None
        self.origin = ""
        self.node: Node | None = None
        self.inherits: tuple[Layer, Node] | None = None

    # what the rules use

    def value(self, ref: Any) -> Value:
        return self.whole.value(ref)

    def rank(self, ref: Any) -> int:
        return len(self.shape(ref.number))

    def shape(self, number: int) -> tuple[Any, ...]:
        """The shape of a tensor, in torch's order.

        Raises:
          Unsupported: an integer.
        """
        shape = self.whole.graph.values[number].shape
        if shape is None:
            raise Unsupported("an integer where a tensor is expected")
        return shape

    def order(self, ref: Any) -> orders.Order:
        """The order of a tensor's axes in memory."""
        return self.whole.orders.setdefault(ref.number, orders.natural(self.rank(ref)))

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, Ref) and self.value(x).shape is not None

    def read(self, ref: Any, order: orders.Order | None = None) -> Any:
        """A use of a tensor, brought into an order."""
        held = self._held(ref)
        if order is None or order == self.order(ref):
            return held
        return Expr([self._atom(held), f".transpose({self._permutation(ref, order)})"])

    def _atom(self, part: Any) -> Any:
        return part

    def _permutation(self, ref: Any, order: orders.Order) -> str:
        value, shape = self.value(ref), self.shape(ref.number)
        computed = value.source is None and value.constant is None
        if computed and orders.moves(self.order(ref), order, [n == 1 for n in shape]):
            line = self.node.line if self.node else self.call.line
            self.whole.moves.append(Move(self.path, str(line or ""), shape, order))
        return ", ".join(map(str, orders.between(self.order(ref), order)))

    def _held(self, ref: Any) -> Any:
        """The expression of a value: a variable, a parameter, a constant."""
        value = self.value(ref)
        if value.source is not None:
            owner = self._below(value.source)
            if owner is not None:
                self._declare(owner, value)
                return Expr([Self(owner), "[...]"])
        if value.constant is not None:
            return self._constant(value)
        return self._use(ref.number)

    def _use(self, number: int) -> Use:
        number = self.alias.get(number, number)
        if number not in self.known:
            self.free.setdefault(number, "")
            self.known.add(number)
        return Use(number)

    def _constant(self, value: Value) -> Expr:
        array = value.constant
        if array.size > 64:
            raise Unsupported(f"a constant tensor of shape {list(array.shape)}")
        if not array.shape:
            return Expr([repr(array.item())])
        return Expr([f"jnp.asarray({array.tolist()!r}, {str(array.dtype)!r})"])

    def _below(self, source: str) -> tuple[str, ...] | None:
        """The path below this module of an array of the state_dict; None if it is elsewhere."""
        if not self.path:
            return tuple(source.split("."))
        if source.startswith(self.path + "."):
            return tuple(source[len(self.path) + 1 :].split("."))
        return None

    def _declare(self, path: tuple[str, ...], value: Value) -> None:
        """Make the constructor have a parameter or buffer that belongs to no layer."""
        if path in self.made.children:
            return
        module = self.whole.graph.modules.get(".".join([self.path, *path[:-1]]).strip("."))
        if len(path) > 1 and module is not None and layer_of(module) is not None:
            raise Unsupported(f"the parameter {'.'.join(path)} of a layer, used by itself")
        shape = tuple(hint(n) for n in value.shape or ())
        variable = "nnx.BatchStat" if value.buffer else "nnx.Param"
        sizes = joined([Lit(n, "size") for n in shape])
        dtype = "" if value.dtype in ("float32", "float64") else f", {dtype_of(value.dtype)}"
        if len(shape) == 1:
            zeros = Expr(["jnp.zeros(", *sizes, f"{dtype})"])
        else:
            zeros = Expr(["jnp.zeros((", *sizes, f"){dtype})"])
        self.made.children[path] = Make(variable, [("", zeros)])

    def aligned(self, ref: Any, order: orders.Order) -> Any:
        """A use of a tensor that broadcasts against one of the order."""
        rank = self.rank(ref)
        if not rank:
            return self.read(ref)
        skipped = len(order) - rank
        inner = tuple(axis - skipped for axis in order if axis >= skipped)
        held = self.read(ref, inner)
        first = next((i for i, axis in enumerate(order) if axis >= skipped), 0)
        index = [":" if axis >= skipped else "None" for axis in order[first:]]
        if "None" not in index:
            return held
        return Expr([held, f"[{', '.join(index)}]"])

    def common(self, given: Sequence[Any]) -> orders.Order:
        """The order for operands that broadcast: of the one with the most axes and elements."""
        tensors = [x for x in given if self.is_tensor(x)]
        rank = max(self.rank(x) for x in tensors)

        def weight(x: Any) -> tuple[int, int, int]:
            value = self.value(x)
            shape = value.shape or ()
            elements = 1
            for n in shape:
                elements *= hint(n)
            own = value.source is None and value.constant is None
            order = self.order(x)
            last = order == orders.channels_last(rank)
            return own, elements, 2 if last and rank > 3 else order == orders.natural(rank)

        return self.order(max((x for x in tensors if self.rank(x) == rank), key=weight))

    def axis(self, ref: Any, dim: int) -> int:
        """The place in memory of torch's axis."""
        return orders.place(self.order(ref), dim)

    def size(self, n: Any, near: Sequence[Any] = (), name: str = "size") -> Any:
        """An integer: a literal, or an expression of the shapes of tensors at hand."""
        if not isinstance(n, Ref):
            return Lit(n, name)
        value = self.value(n)
        if not isinstance(value.size, Size):
            return Lit(value.size, name)
        found = self._local_size(n, list(near), set())
        return found if found is not None else self._use(n.number)

    def dim(self, ref: Any, axis: int) -> Expr:
        """The size of torch's axis of a tensor, ``x.shape[2]``."""
        return Expr([self.read(ref), f".shape[{self.axis(ref, axis)}]"])

    def _local_size(self, ref: Any, near: list[Any], seen: set[int]) -> Any:
        wanted = self.value(ref).size
        if not isinstance(wanted, Size):
            return Expr([repr(wanted)])
        for number in [*(x.number for x in near), *reversed(self.recent)]:
            shape = self.whole.graph.values[number].shape
            for axis, n in enumerate(shape or ()):
                if isinstance(n, Size) and n.text == wanted.text:
                    return self.dim(Ref(number), axis)
        node = self.whole.makers.get(ref.number)
        if node is None or ref.number in seen or node.op not in _ARITHMETIC:
            return None
        seen.add(ref.number)
        parts = []
        for arg in node.args:
            part = self._local_size(arg, near, seen) if isinstance(arg, Ref) else Expr([repr(arg)])
            if part is None:
                return None
            parts.append(part)
        return Expr(_fill(_ARITHMETIC[node.op], parts), atom=_ARITHMETIC[node.op].endswith(")"))

    def same(self, node: Node, ref: Any, order: orders.Order | None = None) -> None:
        """The result is the argument, perhaps with its axes in another order."""
        (number,) = node.outputs[:1]
        self.whole.orders[number] = self.order(ref) if order is None else order
        value = self.value(ref)
        if value.source is not None or value.constant is not None:
            self.define(node, Expr([self.read(ref)]), self.whole.orders[number])
            return
        self.alias[number] = self._use(ref.number).number
        if ref.number in self.whole.permuted:
            self.whole.permuted[number] = self.whole.permuted[ref.number]

    def define(
        self, node: Node, expr: Expr, order: orders.Order | None = None, why: str = ""
    ) -> None:
        """The first result of the operation is the expression."""
        number = node.outputs[0]
        shape = self.whole.graph.values[number].shape
        if shape is not None:
            self.whole.orders[number] = orders.natural(len(shape)) if order is None else order
        self._state(Ref(number), expr, [number], node.line, why)

    def define_all(self, node: Node, expr: Expr, order: orders.Order) -> None:
        """All results, as a tuple or list of arrays of one order."""
        for number in node.outputs:
            self.whole.orders[number] = order
        self._state([Ref(n) for n in node.outputs], expr, node.outputs, node.line)

    def _state(
        self, target: Any, expr: Expr, numbers: Sequence[int], line: Line | None, why: str = ""
    ) -> None:
        self.known.update(numbers)
        self.recent += numbers
        line = self.line or line
        key = line and (line.file, line.number)
        hinted = result_name(line)
        uses = {*expr.uses()}
        keeps = False
        if len(uses) == len(numbers) == 1 and isinstance(target, Ref):
            before, after = (self.whole.graph.values[n] for n in (uses.pop(), numbers[0]))
            if before.shape is not None and after.shape is not None:
                order = self.whole.orders.get(before.number)
                keeps = len(before.shape) == len(after.shape) and order == self.whole.orders.get(
                    after.number
                )
        self.made.statements.append(Statement(target, expr, key, hinted, why, self.origin, keeps))

    # the way through a call

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
            if isinstance(step, Call):
                self.call_step(step)
            else:
                self._node(step)
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
                return self.read(x)
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

    def _node(self, node: Node) -> None:
        if all(self.whole.graph.values[n].shape is None for n in node.outputs) and (
            node.op in _ARITHMETIC or node.op.startswith(("python.", "aten.sym_"))
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
        order = _taken(self.whole, layer, x.number)
        self.define(node, Expr(["super().__call__(", self.read(x, order), ")"]), order)

    def _absent(self, node: Node) -> None:
        text = f"{node.op} has no counterpart: {node.line or self.path}"
        for number in node.outputs:
            shape = self.whole.graph.values[number].shape
            if shape is not None:
                self.whole.orders[number] = orders.natural(len(shape))
        target = [Ref(n) for n in node.outputs]
        inputs = [
            self.read(Ref(n))
            for n in refs([list(node.args), node.kwargs])
            if self.whole.graph.values[n].shape is not None
        ]
        expr = Expr(["_not_ported(", *joined([repr(text), *inputs]), ")"])
        self._state(target[0] if len(target) == 1 else target, expr, node.outputs, node.line)

    def call_step(self, call: Call) -> None:
        """A call of a child, however it is written."""
        module = self.whole.graph.modules[call.path]
        layer = layer_of(module)
        if layer is not None:
            self._layer(call, layer)
        elif is_sequential(module):
            self._sequential(call)
        elif _transparent(module):
            outer, self.line = self.line, call.line if call.line else self.line
            self.origin = call.path.rpartition(".")[2]
            for step in call.steps:
                self.call_step(step) if isinstance(step, Call) else self._node(step)
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
        order = _taken(self.whole, layer, x.number)
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
        assert layer.write is not None
        try:
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
        if self.made.children[where] != make:
            raise Unsupported("a layer that is called with axes in several orders")
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
        if not call.steps:
            self.alias[call.output.number] = self._use(x.number).number
            return
        whole = self.whole
        before = len(whole.moves), len(whole.missing)
        order = self.order(x)
        wanted = _wanted(whole, call) or order
        whole.orders[x.number] = wanted
        try:
            make = chain(lambda: Body(whole, call, self.partial), call, x)
        except Unsupported:  # its items are called one by one
            del whole.moves[before[0] :], whole.missing[before[1] :]
            whole.orders[x.number] = order
            for step in call.steps:
                assert isinstance(step, Call)
                self.call_step(step)
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
        statement.hint = result_name(call.line)

    def _module(self, call: Call) -> None:
        """A call of a module that becomes a class."""
        body = Body(self.whole, call, self.partial)
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
        before = self.made.children.get(below)
        if before is None:
            self.made.children[below] = make
        return below


def layer_order(body: Body, layer: Layer, ref: Any) -> orders.Order | None:
    """The order of a layer's further inputs."""
    if layer.order == "channels_last":
        return orders.channels_last(body.rank(ref))
    return None


def _wanted(whole: Whole, call: Call) -> orders.Order | None:
    """The order in which the first layer of a Sequential that has one takes its input."""
    for step in call.steps:
        if not isinstance(step, Call):
            return None
        module = whole.graph.modules[step.path]
        layer = layer_of(module)
        if layer is not None and layer.order != "any":
            (number,) = [*refs(step.inputs)][:1]
            return _taken(whole, layer, number)
        if layer is None and is_sequential(module) and step.steps:
            return _wanted(whole, step)
        inner = [one.op for one in step.steps if isinstance(one, Node)]
        if layer is None and not (_transparent(module) and {*inner} <= _ELEMENTWISE):
            return None
    return None


def _taken(whole: Whole, layer: Layer, number: int) -> orders.Order:
    """The order in which a layer takes its first input."""
    shape = whole.graph.values[number].shape
    assert shape is not None
    rank = len(shape)
    order = whole.orders.get(number, orders.natural(rank))
    if layer.order == "channels_last":
        return orders.channels_last(rank)
    if layer.order == "last" and order[-1] != rank - 1:
        return orders.natural(rank)
    return orders.natural(rank) if layer.order == "natural" else order


_ELEMENTWISE = {
    "aten.relu", "aten.relu6", "aten.hardtanh", "aten.silu", "aten.gelu", "aten.tanh",
    "aten.sigmoid", "aten.leaky_relu", "aten.elu", "aten.hardswish", "aten.dropout",
}  # fmt: skip


def dtype_of(name: str) -> str:
    """The text of a dtype; integers have JAX's own width, else it warns."""
    return {"int64": "int", "bool": "bool"}.get(name, f'"{name}"')


def _transparent(module: Any) -> bool:
    """Torch's own module without parameters or children: its operations are written in place."""
    kind = type(module).__module__
    if not kind.startswith("torch.nn.modules") or [*module.children()]:
        return False
    return not [*module.parameters(recurse=False)] and not [*module.buffers(recurse=False)]


def joined(parts: Sequence[Any], separator: str = ", ") -> list[Any]:
    """The parts with a separator in between."""
    found: list[Any] = []
    for part in parts:
        found += [separator, part] if found else [part]
    return found


def _fill(template: str, parts: Sequence[Any]) -> list[Any]:
    """``"{0} + {1}"`` with the parts in it."""
    found: list[Any] = []
    for text in re.split(r"(\{\d+\})", template):
        found.append(parts[int(text[1:-1])] if re.fullmatch(r"\{\d+\}", text) else text)
    return [part for part in found if part != ""]


fill = _fill

_ARITHMETIC = {
    "python.add": "{0} + {1}",
    "python.sub": "{0} - {1}",
    "python.mul": "{0} * {1}",
    "python.floordiv": "{0} // {1}",
    "python.truediv": "{0} / {1}",
    "python.mod": "{0} % {1}",
    "python.neg": "-{0}",
    "python.pow": "{0} ** {1}",
    "python.sym_max": "max({0}, {1})",
    "python.sym_min": "min({0}, {1})",
    "python.sym_float": "float({0})",
    "python.ceil": "math.ceil({0})",
    "python.floor": "math.floor({0})",
    "python.trunc": "math.trunc({0})",
    "python.round": "round({0})",
    "python.sym_sqrt": "math.sqrt({0})",
}
