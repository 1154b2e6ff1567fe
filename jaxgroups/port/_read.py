"""From an exported program of torch to a `Graph`."""

import re
from collections.abc import Sequence
from typing import Any

from jaxgroups.port._errors import PortError
from jaxgroups.port._graph import Call, Graph, Line, Node, Ref, Size, Value, refs
from jaxgroups.port._marks import NO_GRAD
from jaxgroups.port._training import Modes

_FRAME = re.compile(r'File "(.+)", line (\d+), in (\w+)\n\s*(.*)')


class Reader:
    """Reads an exported program into a graph."""

    def __init__(
        self,
        program: Any,
        module: Any,
        calls: dict[str, Call],
        trees: dict[str, Any],
        modes: Modes,
    ) -> None:
        import sympy
        import torch

        self.torch = torch
        self.sympy = sympy
        self.program = program
        self.module = module
        self.calls = calls
        self.trees = trees
        self.values: list[Value] = []
        self.at: dict[Any, Any] = {}  # by fx node: a Ref, or a list of them
        self.modes = modes
        self.dropped = 0
        self.blocks: list[int] = []  # where the running blocks of no_grad began
        self.storage: dict[Any, Any] = {}  # by fx node: the node that owns the memory
        self.symbols: dict[Any, int] = {}  # by symbol of a size, see `_distinct`
        self.literals: dict[Any, Any] = {}  # by expression of sizes, what the program says it is

    def graph(self) -> Graph:
        modules = dict(self.module.named_modules(remove_duplicate=False))
        inputs: list[int] = []
        root = Call("", type(self.module).__qualname__)
        stack = [root]
        nodes = list(self.program.graph.nodes)
        self.order = {node: i for i, node in enumerate(nodes)}
        signature = self.program.graph_signature
        self.names = dict(signature.inputs_to_parameters)
        self.buffers = dict(signature.inputs_to_buffers)
        self.constants = dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        for node in nodes:
            if node.op == "placeholder":
                self._placeholder(node, inputs)
            elif node.op == "get_attr":
                self._constant(node, getattr(self.program.graph_module, node.target, None))
            elif node.op == "call_function":
                self._function(node, stack)
        if self.blocks:
            raise PortError("a block of torch.no_grad that does not end cannot be ported")
        (whole,) = [step for step in root.steps if isinstance(step, Call)]
        notes = [self.modes.difference] if self.modes.difference else []
        return Graph(self.values, whole, modules, inputs, notes)

    def _new(self, node: Any, **more: Any) -> Ref:
        return Ref(self._value(node.meta.get("val"), **more).number)

    def _value(self, val: Any, **more: Any) -> Value:
        number = len(self.values)
        if isinstance(val, self.torch.Tensor):
            shape = tuple(self._dim(n) for n in val.shape)
            value = Value(number, shape, str(val.dtype).removeprefix("torch."), **more)
        else:
            value = Value(number, None, size=self._dim(val) if val is not None else None, **more)
        self.values.append(value)
        return value

    def _dim(self, n: Any) -> Any:
        if isinstance(n, self.torch.SymInt):
            expr = self._known(n)
            if expr.is_Integer:
                return int(expr)
            if n.node.hint is None:
                raise PortError(f"a size that depends on the data cannot be ported: {expr}")
            return Size(str(expr), int(n.node.hint), self._distinct(expr))
        return n if isinstance(n, int | float | bool) else None

    def _distinct(self, expr: Any) -> int:
        """The value for sizes that all differ: primes times 128, so that they can be halved."""
        for symbol in sorted(expr.free_symbols, key=str):
            self.symbols.setdefault(symbol, 128 * int(self.sympy.prime(26 + len(self.symbols))))
        value = expr.subs(self.symbols)
        return int(value) if value.is_Integer else 0

    def _placeholder(self, node: Any, inputs: list[int]) -> None:
        name = node.target
        source = self.names.get(name) or self.buffers.get(name)
        if name in self.constants:
            self._constant(node, self.program.constants[self.constants[name]])
            return
        ref = self._new(node, source=source, buffer=name in self.buffers)
        self.at[node] = ref
        if source is None:
            inputs.append(ref.number)
        elif source not in self.program.state_dict:  # a buffer that is not saved
            self.values[ref.number].source = None
            self.values[ref.number].constant = self._held(self.program.constants.get(source))

    def _constant(self, node: Any, tensor: Any) -> None:
        if tensor is None:
            raise PortError(f"a constant of the traced program is missing: {node.target}")
        if isinstance(tensor, self.torch.nn.Module):
            user = next(iter(node.users), node)
            raise PortError(
                "a block that torch traces as a graph of its own cannot be ported, such as one of "
                f"torch.autocast or torch.enable_grad: {user.target} at {_line(user)}"
            )
        value = self._value(node.meta.get("val", tensor), constant=self._held(tensor))
        self.at[node] = Ref(value.number)

    def _held(self, tensor: Any) -> Any:
        return None if tensor is None else tensor.detach().cpu().numpy()

    def _function(self, node: Any, stack: list[Call]) -> None:
        text = str(node.target)
        if text == "jaxgroups_port.mark.default":
            self._mark(node, stack)
            return
        if text.startswith(("aten.sym_constrain", "aten._assert")):
            return
        args, kwargs = self._mapped(node.args), self._mapped(node.kwargs)
        if text.startswith("<built-in function getitem>"):
            whole = self.at[node.args[0]]
            if isinstance(whole, list):
                self.at[node] = whole[node.args[1]]
                return
        op, variant = _op_of(node.target)
        written = self._written(node)
        if written:
            op = op.rstrip("_")
        if op in ("aten.view", "aten.reshape"):
            self._learn(args[1], node.meta["val"].shape)
        val = node.meta.get("val")
        if op.startswith("python.") and isinstance(val, self.torch.SymInt) and self._fixed(args):
            self._learn([int(val.node.hint)], [val])
        if op in _DROPOUTS:
            self.dropped += 1
            drops = self.modes.dropouts[self.dropped - 1 : self.dropped]
            kwargs = kwargs | {"drops": drops == [True]}
        outputs, at = self._outputs(node)
        self.at[node] = at
        stack[-1].steps.append(Node(op, args, kwargs, outputs, _line(node), variant))
        self._alias(node)
        for target in written:
            if self.blocks:
                self._check_written(target, node)
            self._rebind(target, node)

    def _learn(self, given: Sequence[Any], shape: Any) -> None:
        """Note the sizes of a reshape that the program gives as numbers, torch as expressions."""
        for n, dim in zip(given, shape, strict=True):
            if isinstance(n, int) and n >= 0 and isinstance(dim, self.torch.SymInt):
                self.literals[self._known(dim)] = self.sympy.Integer(n)

    def _known(self, n: Any) -> Any:
        """The expression of a size, with numbers for what is known to be one."""
        expr = n.node.expr
        while self.literals and (simpler := expr.xreplace(self.literals)) != expr:
            expr = simpler
        return expr

    def _fixed(self, args: Sequence[Any]) -> bool:
        """Whether all arguments are integers that do not depend on the input."""
        sizes = [self.values[x.number].size if isinstance(x, Ref) else x for x in args]
        return all(isinstance(n, int) for n in sizes)

    def _outputs(self, node: Any) -> tuple[list[int], Any]:
        val = node.meta.get("val")
        if isinstance(val, list | tuple):
            made = [Ref(self._value(one).number) for one in val]
            return [ref.number for ref in made], made
        ref = self._new(node)
        return [ref.number], ref

    def _mapped(self, x: Any) -> Any:
        if isinstance(x, self.torch.fx.Node):
            return self.at[x]
        if isinstance(x, dict):
            return {key: self._mapped(one) for key, one in x.items()}
        if isinstance(x, tuple):
            return tuple(self._mapped(one) for one in x)
        if isinstance(x, list):
            return [self._mapped(one) for one in x]
        if isinstance(x, self.torch.dtype):
            return str(x).removeprefix("torch.")
        return x

    def _schema(self, node: Any) -> Any:
        return getattr(node.target, "_schema", None)

    def _written(self, node: Any) -> list[Any]:
        """The arguments that the operation changes in place."""
        schema = self._schema(node)
        if schema is None:
            return []
        return [
            node.args[i]
            for i, argument in enumerate(schema.arguments)
            if argument.alias_info is not None
            and argument.alias_info.is_write
            and i < len(node.args)
        ]

    def _alias(self, node: Any) -> None:
        """Note whose memory a result may share."""
        schema, first = self._schema(node), node.args[0] if node.args else None
        if schema is None or not isinstance(first, self.torch.fx.Node):
            return
        shares = any(r.alias_info is not None for r in schema.returns)
        if shares or _op_of(node.target)[0] in _MAY_SHARE:
            self.storage[node] = self.storage.get(first, first)

    def _rebind(self, target: Any, node: Any) -> None:
        """After an operation in place the names of the same tensor mean its result."""
        owner = self.storage.get(target, target)
        now = self.order[node]
        for other in list(self.at):
            if other is node or self.storage.get(other, other) is not owner:
                continue
            if not any(self.order[user] > now for user in other.users):
                continue
            if other is target or self.at[other] == self.at[target]:
                continue
            same = _op_of(other.target)[0] in _SAME if other.op == "call_function" else True
            if not same or other.meta["val"].shape != target.meta["val"].shape:
                line = _line(node)
                raise PortError(
                    "an operation in place on a view, whose other views are used later, cannot be "
                    f"ported: {node.target} at {line}"
                )
        result = self.at[node]
        for other in list(self.at):
            if other is not node and self.storage.get(other, other) is owner:
                self.at[other] = result

    def _mark(self, node: Any, stack: list[Call]) -> None:
        tensors, name, returns = node.args
        if name == NO_GRAD:
            self._without_gradient(node, returns, stack[-1])
            return
        made = [self.at[x] for x in tensors]
        if not returns:
            call = self.calls[name]
            given = {key: _filled(x, made) for key, x in call.inputs.items()}
            call.inputs = {key: x for key, x in given.items() if [*refs(x)]}
            stack[-1].steps.append(call)
            stack.append(call)
        else:
            call = stack.pop()
            call.output = _filled(self.trees[name], made)

    def _without_gradient(self, node: Any, ends: bool, call: Call) -> None:
        """After a block of ``no_grad``, detach what it computed and others read."""
        if not ends:
            self.blocks.append(self.order[node])
            return
        first, last = self.blocks.pop(), self.order[node]
        for made in list(self.at):
            ref = self.at[made]
            if not first < self.order[made] < last or not isinstance(ref, Ref):
                continue
            if self.values[ref.number].shape is None:
                continue  # an integer
            if any(self.order[user] > last for user in made.users):
                new = self._new(made)
                call.steps.append(Node("aten.detach", (ref,), {}, [new.number], _line(made)))
                self.at[made] = new

    def _check_written(self, target: Any, node: Any) -> None:
        """Within a block of ``no_grad``, refuse to change what others compute gradients through."""
        owner = self.storage.get(target, target)
        ref = self.at[owner]
        value = self.values[ref.number] if isinstance(ref, Ref) else None
        if value is None or value.buffer or value.constant is not None:
            return
        if self.order[owner] < self.blocks[0] and value.dtype.startswith("float"):
            raise PortError(
                "an operation in place within torch.no_grad, on a tensor from before it, cannot be "
                f"ported: {node.target} at {_line(node)}"
            )


_DROPOUTS = {"aten.dropout", "aten.feature_dropout", "aten.alpha_dropout"}
_MAY_SHARE = {"aten.contiguous", "aten.dropout", "aten.to", "aten.reshape", "aten.flatten"}
_SAME = {"aten.contiguous", "aten.dropout", "aten.to", "aten.alias", "aten.detach"}


def _filled(x: Any, made: Sequence[Any]) -> Any:
    if isinstance(x, Ref):
        return made[x.number]
    if isinstance(x, dict):
        return {key: _filled(one, made) for key, one in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(_filled(one, made) for one in x)
    return x


def _op_of(target: Any) -> tuple[str, str]:
    """``aten.add.Tensor`` -> ``aten.add`` and ``Tensor``; a function of Python by its name."""
    text = str(target)
    if text.startswith("<"):
        return f"python.{target.__name__}", "default"
    parts = text.split(".")
    return ".".join(parts[:2]), ".".join(parts[2:]) or "default"


def _line(node: Any) -> Line | None:
    """The line of the innermost ``forward`` outside of torch that ran the operation."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [f for f in frames if "/torch/" not in f[0]]
    forward = [f for f in own if f[2] == "forward"] or own
    if not forward:
        return None
    file, number, _, text = forward[-1]
    return Line(file, int(number), text)
