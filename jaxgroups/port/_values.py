"""The values of a body: how an operand is read in an order of axes, and how a result is named."""

import keyword
from collections.abc import Sequence
from typing import Any

from jaxgroups.port import _order as orders
from jaxgroups.port._errors import Unsupported
from jaxgroups.port._expr import Expr, Instance, Lit, Make, Named, Self, Statement, Use
from jaxgroups.port._graph import Call, Line, Node, Ref, Size, Value, hint, refs
from jaxgroups.port._layers import Layer, layer_of
from jaxgroups.port._lines import first_sentence, result_names
from jaxgroups.port._parts import ARITHMETIC, dtype_of, fill, joined
from jaxgroups.port._whole import Transposition, Whole


class Values:
    """The values of one call, while its body is made."""

    def __init__(self, whole: Whole, call: Call) -> None:
        self.whole = whole
        self.call = call
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
        return Expr([held, f".transpose({self._permutation(ref, order)})"])

    def _permutation(self, ref: Any, order: orders.Order) -> str:
        value, shape = self.value(ref), self.shape(ref.number)
        computed = value.source is None and value.constant is None
        if computed and orders.copies(self.order(ref), order, [n == 1 for n in shape]):
            line = self.node.line if self.node else self.call.line
            found = Transposition(self.path, str(line or ""), shape, order)
            self.whole.transpositions.append(found)
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
        usual = str(array.dtype) in ("float32", "float64")
        dtype = "" if usual else f", {dtype_of(str(array.dtype))}"
        return Expr([f"jnp.asarray({array.tolist()!r}{dtype})"])

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
        check_names(path)
        *owner, leaf = path
        module = self.whole.graph.modules.get(".".join([self.path, *owner]).strip("."))
        if owner and module is not None and layer_of(module) is not None:
            raise Unsupported(f"the parameter {'.'.join(path)} of a layer, used by itself")
        shape = tuple(hint(n) for n in value.shape or ())
        variable = "nnx.BatchStat" if value.buffer else "nnx.Param"
        sizes = joined([Lit(n, "size") for n in shape])
        dtype = "" if value.dtype in ("float32", "float64") else f", {dtype_of(value.dtype)}"
        name, value_of = _initial(getattr(module, leaf, None))
        dtype = ", " + value_of + dtype if value_of else dtype
        ends = ("", "") if len(shape) == 1 else ("(", ")")
        made = Expr([f"jnp.{name}({ends[0]}", *sizes, f"{ends[1]}{dtype})"])
        self.made.children[path] = Make(variable, [("", made)])

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
        if node is None or ref.number in seen or node.op not in ARITHMETIC:
            return None
        seen.add(ref.number)
        parts = []
        for arg in node.args:
            part = self._local_size(arg, near, seen) if isinstance(arg, Ref) else Expr([repr(arg)])
            if part is None:
                return None
            parts.append(part)
        return Expr(fill(ARITHMETIC[node.op], parts), atom=ARITHMETIC[node.op].endswith(")"))

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
        if _depends(expr):
            raise Unsupported("a setting that depends on the input")
        self.known.update(numbers)
        self.recent += numbers
        line = self.line or line
        key = line and (line.file, line.number)
        hinted = result_names(line)
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


def check_names(path: tuple[str, ...]) -> None:
    """Check the names of modules and arrays.

    Raises:
      Unsupported: one that is no attribute of Python, ``"a-b"``, and no number, ``"12"``.
    """
    for part in path:
        number = part.isdecimal() and str(int(part)) == part
        if not number and (not part.isidentifier() or keyword.iskeyword(part)):
            raise Unsupported(f"the name {part!r}, which cannot be written in Python")


def _depends(part: Any) -> bool:
    """Whether a literal within the expression is no constant of the original."""
    if isinstance(part, Expr):
        return any(map(_depends, part.parts))
    if isinstance(part, Named):
        return _depends(part.lit)
    if isinstance(part, Lit):
        return any(True for _ in refs(part.value))
    return False


def _initial(tensor: Any) -> tuple[str, str]:
    """The function that makes a tensor as the original has it, and its value, if all are alike."""
    if tensor is None or not hasattr(tensor, "numel") or not tensor.numel():
        return "zeros", ""
    low, high = tensor.detach().min().item(), tensor.detach().max().item()
    if low != high or low in (0, 1):
        return ("ones", "") if low == high == 1 else ("zeros", "")
    return "full", repr(float(f"{low:.6g}") if isinstance(low, float) else low)
