"""The text of the classes: variables get names, nested expressions of a line become one."""

import ast
import keyword
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jaxgroups.port._classes import Class, child_of
from jaxgroups.port._docs import docstring
from jaxgroups.port._expr import Expr, Instance, Lit, Named, Self, Statement, Use
from jaxgroups.port._graph import Ref, refs
from jaxgroups.port._layers import Source
from jaxgroups.port._loops import Loop, looped, repeated

_WIDTH = 88


def render(one: Class) -> str:
    """The text of a class."""
    return _Writer(one).text()


def literal(value: Any) -> str:
    """The value as Python writes it."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "jnp.inf" if value > 0 else "-jnp.inf"
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, str):
        return '"' + repr(value)[1:-1].replace('"', '\\"') + '"'
    return repr(value)


class _Writer:
    def __init__(self, one: Class) -> None:
        self.one = one
        self.made: Instance = one.instances[0]
        self.place = 0
        self.names: dict[int, str] = {}
        self.access: dict[int, str] = {}

    def text(self) -> str:
        one, made = self.one, self.made
        constructor = self._constructor()
        call = self._call()
        base = made.base.target if made.base else "nnx.Module"
        lines = [f"class {one.name}({base}):", *docstring(one), ""]
        constructor += [""] if constructor else []
        return "\n".join([*lines, *constructor, *call]).rstrip() + "\n"

    # settings

    def _setting(self, lit: Lit, called: bool) -> str | None:
        """The text of the next setting; None if it is left out."""
        place = self.place
        self.place += 1
        if place in self.one.omitted:
            return None
        if place in self.one.places:
            name = self.one.places[place]
            return f"self.{name}" if called else name
        return literal(lit.value)

    def _made(self, make: Any) -> str:
        """The text of a constructor call."""
        if isinstance(make, Lit):
            return self._setting(make, False) or literal(make.value)
        if isinstance(make, Expr):
            return self._expr(make, {}, called=False)
        if isinstance(make.target, Instance):
            group: Class = make.target.group
            parts = []
            for i, name in enumerate(group.arguments):
                text = self._setting(Lit(make.target.values[name], name), False) or "None"
                parts.append(text if i < 2 else f"{name}={text}")
            parts += ["rngs=rngs"] if group.random else []
            return f"{group.name}({', '.join(parts)})"
        parts = []
        for name, one in make.arguments:
            if isinstance(one, Lit):
                text = self._setting(one, False)
                if text is None and not name:
                    text = literal(one.value)
            else:
                text = self._made(one)
            if text is not None:
                parts.append(f"{name}={text}" if name else text)
        parts = repeated(parts)
        if make.rngs:
            parts.append("rngs=rngs")
        return f"{make.target}({', '.join(parts)})"

    # the constructor

    def _constructor(self) -> list[str]:
        one, made = self.one, self.made
        arguments = [f"{name}: {self._type(name)}" for name in one.arguments]
        random = one.random or one.root
        head = ", ".join(["self", *arguments, *(["*", "rngs: nnx.Rngs"] if random else [])])
        lines = [f"    def __init__({head}) -> None:"]
        body: list[str] = []
        if made.base is not None:
            inner = self._made(made.base)
            body.append(f"super().__init__{inner[inner.index('(') :]}")
        texts: dict[tuple[str, ...], str] = {}
        flags = self._child_flags()
        for path, make in made.children.items():
            texts[path] = self._made(make)
            if path in flags:
                texts[path] += f" if {flags[path]} else None"
        for name in dict.fromkeys(path[0] for path in texts):
            below = {path[1:]: text for path, text in texts.items() if path[0] == name}
            body.append(f"self.{name} = {_container(below)}")
        body += [f"self.{name} = {name}" for name in one.arguments if name in one.kept]
        if not body and one.root:
            body = ["del rngs  # a constructor like any other"]
        if not body:
            return []
        return [*lines, *(f"        {line}" for line in body)]

    def _child_flags(self) -> dict[tuple[str, ...], str]:
        """By child that some instances do not have, the argument that says so."""
        found = {}
        for i, flag in self.one.flags.items():
            path = child_of(self.made.statements[i])
            if path is not None:
                found[path] = flag
        return found

    def _type(self, name: str) -> str:
        kinds = dict.fromkeys(_kind(instance.values[name]) for instance in self.one.instances)
        found = [kind for kind in kinds if kind != "None"]
        if "float" in found and "int" in found:
            found.remove("int")
        return " | ".join([*found, *(["None"] if "None" in kinds else [])])

    # the call

    def _call(self) -> list[str]:
        made = self.made
        if made.base is not None and not made.statements:
            return []
        statements = [*made.statements]
        self._number_settings(statements)
        steps, results = self._arranged(statements)
        live = _last_uses(steps, results)
        taken: list[str] = []
        for name, structure in made.parameters.items():
            taken.append(self._parameter(name, structure, taken))
        lines: list[str] = []
        returned = False
        for i, step in enumerate(steps):
            if i == len(steps) - 1 and self._returns(step, results):
                lines.append(f"return {self._expr(step.expr, self.names)}")
                returned = True
                break
            lines += self._statement(step, i, live)
        if not returned:
            lines.append(f"return {self._structure(results)}")
        head = ", ".join(["self", *(f"{n}: {self._hint(n)}" for n in taken)])
        back = _annotation(made.returns)
        return [
            f"    def __call__({head}) -> {back}:",
            *(f"        {line}" for line in lines),
        ]

    def _number_settings(self, statements: list[Statement]) -> None:
        """Replace settings by their text while they are in the order of the class's places."""

        def fixed(part: Any) -> Any:
            if isinstance(part, Named):
                text = self._setting(part.lit, True)
                return "" if text is None else Named(Lit(Source(text), part.lit.name))
            if isinstance(part, Lit):
                return self._setting(part, True) or literal(part.value)
            if isinstance(part, Expr):
                return Expr([fixed(one) for one in part.parts], part.atom)
            return part

        for i, s in enumerate(statements):
            flag = self.one.flags.get(i, "")
            if flag:
                path = child_of(s)
                flag = f"{_member(path)} is not None" if path else f"self.{flag}"
            statements[i] = replace(s, expr=fixed(s.expr), when=flag)

        def walked(x: Any) -> Any:
            if isinstance(x, dict):
                return {key: walked(one) for key, one in x.items()}
            if isinstance(x, list | tuple) and not isinstance(x, Use | Ref | Lit):
                return type(x)(walked(one) for one in x)
            return fixed(x)

        self.results = walked(self.made.returns)

    def _arranged(self, statements: list[Statement]) -> tuple[list[Any], Any]:
        """Without what is not used; with loops; nested expressions of one line as one."""
        results = self.results
        steps: list[Any] = looped(_needed(statements, results), self.made)
        counts = _counts(steps, results)
        kept: list[Any] = []
        held: dict[int, Statement] = {}
        for i, step in enumerate(steps):
            if isinstance(step, Loop):
                kept.append(step)
                continue
            step.expr = _inlined(step.expr, held)
            number = step.target.number if isinstance(step.target, Ref) else None
            reader = next((s for s in steps[i + 1 :] if number in _read(s)), None)
            if (
                number is not None
                and counts.get(number) == 1
                and isinstance(reader, Statement)
                and step.line is not None
                and reader.line == step.line
                and not step.why
                and not step.when
                and not reader.when
                and _length(step.expr) + _length(reader.expr) < _WIDTH
            ):
                held[number] = step
            else:
                kept.append(step)
        return kept, results

    def _returns(self, step: Any, results: Any) -> bool:
        """Whether the last statement is what is returned."""
        return (
            isinstance(step, Statement)
            and isinstance(results, Use)
            and isinstance(step.target, Ref)
            and step.target.number == results.number
            and not step.hint
            and not step.why
            and not step.when
        )

    def _parameter(self, name: str, structure: Any, taken: list[str]) -> str:
        name = self._identifier(name)
        while name in taken:
            name += "_"
        self._bind(structure, name)
        return name

    def _identifier(self, name: str) -> str:
        if name.startswith("_"):
            name = "y" if self.names else "x"
        name = name.lstrip("_")
        if not name.isidentifier() or keyword.iskeyword(name) or name in ("self", "rngs"):
            name = "x"
        return name

    def _bind(self, structure: Any, text: str) -> None:
        if isinstance(structure, Ref):
            self.names.setdefault(structure.number, text)
        elif isinstance(structure, dict):
            for key, one in structure.items():
                self._bind(one, f"{text}[{literal(key)}]")
        elif isinstance(structure, list | tuple):
            for i, one in enumerate(structure):
                self._bind(one, f"{text}[{i}]")

    def _hint(self, name: str) -> str:
        for structure in self.made.parameters.values():
            if isinstance(structure, Ref) and self.names.get(structure.number) == name:
                return "int" if structure.number in self._integers() else "jax.Array"
        return "Any"

    def _integers(self) -> set[int]:
        """The parameters that are sizes."""
        return {
            s.number
            for n, s in self.made.parameters.items()
            if isinstance(s, Ref) and self.made.inputs.get(n) == [None]
        }

    def _statement(self, step: Any, i: int, live: dict[int, int]) -> list[str]:
        busy = {
            name.partition("[")[0]: number
            for number, name in self.names.items()
            if live.get(number, -1) > i
        }
        if isinstance(step, Loop):
            start = self.names[step.start]
            name = (
                start
                if start.isidentifier() and start not in busy
                else self._new(step.hint or "x", busy)
            )
            lines = [] if name == start else [f"{name} = {start}"]
            item = step.item
            lines.append(f"for {item} in self.{'.'.join(step.base)}:")
            self.names[step.last] = name
            inner = dict(self.names) | {step.start: name}
            text = self._expr(step.expr, inner, item=item)
            lines.append(f"    {name} = {text}")
            return lines
        text = self._expr(step.expr, self.names)
        lines = [f"# {step.why}"] if step.why else []
        if isinstance(step.target, Ref) and step.when:
            (read,) = {*step.expr.uses()}
            name = self._new(step.hint or self._dying(step, i, live), busy)
            self.names[step.target.number] = name
            if name == self.names[read]:
                return [*lines, f"if {step.when}:", f"    {name} = {text}"]
            return [*lines, f"{name} = {text} if {step.when} else {self.names[read]}"]
        if isinstance(step.target, Ref):
            name = self._new(step.hint or self._dying(step, i, live), busy)
            self.names[step.target.number] = name
            return [*lines, f"{name} = {text}"]
        flat = isinstance(step.target, list | tuple) and all(
            isinstance(one, Ref) for one in step.target
        )
        used = [n for n in refs(step.target) if live.get(n, -1) >= i]
        if flat and len(step.target) < 6:
            names = []
            taken = dict(busy)
            for ref in step.target:
                name = "_" if ref.number not in used else self._new(step.hint or "x", taken)
                taken[name] = ref.number
                self.names[ref.number] = name
                names.append(name)
            ends = ",".join(names) + ("," if len(names) == 1 else "")
            return [*lines, f"{ends} = {text}"]
        name = self._new(step.hint or "parts", busy)
        self._bind(step.target, name)
        return [*lines, f"{name} = {text}"]

    def _dying(self, step: Statement, i: int, live: dict[int, int]) -> str:
        """The name of the first operand, if this is its last use."""
        for number in step.expr.uses():
            name = self.names.get(number, "")
            if name.isidentifier() and live.get(number, -1) <= i:
                return name
        return "x"

    def _new(self, hint: str, busy: dict[str, int]) -> str:
        if keyword.iskeyword(hint) or hint in ("self", "jnp", "jnn", "jg", "nnx", "jax"):
            hint = "x"
        if hint not in busy:
            return hint
        letters = ["y", "z", "w"] if hint == "x" else []
        return next(n for n in [*letters, *(f"{hint}{i}" for i in range(1, 1000))] if n not in busy)

    # text

    def _expr(self, expr: Any, names: dict[int, str], called: bool = True, item: str = "") -> str:
        parts = list(_flattened(expr, self, names, called, item))
        text = ""
        for i, part in enumerate(parts):
            if isinstance(part, tuple):
                part, atom = part
                after = parts[i + 1] if i + 1 < len(parts) else ""
                after = after[0] if isinstance(after, tuple) else after
                alone = (not text or text.endswith(("(", "[", ", ", "="))) and (
                    not after or after.startswith((")", "]", ","))
                )
                part = part if atom or alone or _binds(part, text, after) else f"({part})"
            text += part
        return text.replace("[:, None][:, None]", "[:, None, None]")

    def _structure(self, x: Any, nested: bool = False) -> str:
        if isinstance(x, Use | Expr):
            return self._expr(x if isinstance(x, Expr) else Expr([x]), self.names)
        if isinstance(x, Lit):
            return literal(x.value)
        if isinstance(x, dict):
            inner = ", ".join(f"{literal(k)}: {self._structure(v, True)}" for k, v in x.items())
            return "{" + inner + "}"
        if isinstance(x, list | tuple):
            inner = ", ".join(self._structure(one, True) for one in x)
            if isinstance(x, list):
                return f"[{inner}]"
            inner += "," if len(x) == 1 else ""
            return f"({inner})" if nested else inner
        return x if isinstance(x, str) else literal(x)


def _binds(part: str, before: str, after: str) -> bool:
    """Whether the operator of the part binds closer than those around it."""
    try:
        tree = ast.parse(part, mode="eval").body
    except SyntaxError:
        return False
    if not isinstance(tree, ast.BinOp):
        return False
    sums_before = not before or before.endswith(("(", "[", ", ", "=", " + ", " - "))
    if isinstance(tree.op, ast.Mult | ast.Div | ast.FloorDiv | ast.MatMult | ast.Mod):
        return sums_before and (not after or after.startswith((")", "]", ",", " + ", " - ")))
    first = not before or before.endswith(("(", "[", ", ", "="))
    return first and after.startswith((" + ", " - "))


def _flattened(
    expr: Any, writer: _Writer, names: dict[int, str], called: bool, item: str
) -> Iterator[Any]:
    for part in expr.parts:
        if isinstance(part, str):
            if part:
                yield part
        elif isinstance(part, Use):
            yield names[part.number]
        elif isinstance(part, Self):
            yield item if item and part.path[-1] == "*" else _member(part.path)
        elif isinstance(part, Named):
            value = part.lit.value
            yield f", {part.lit.name}={value if isinstance(value, Source) else literal(value)}"
        elif isinstance(part, Lit):
            yield writer._setting(part, called) or literal(part.value)
        elif isinstance(part, Expr):
            yield writer._expr(part, names, called, item), part.atom
        else:
            yield str(part)


def _member(path: tuple[str, ...]) -> str:
    text = "self"
    for part in path:
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text


def _container(below: dict[tuple[str, ...], str]) -> str:
    """The text of what an attribute holds: a child, a list of children, a dictionary."""
    if () in below:
        return below[()]
    heads = list(dict.fromkeys(path[0] for path in below))
    inner = {
        head: _container({path[1:]: text for path, text in below.items() if path[0] == head})
        for head in heads
    }
    if all(head.isdigit() for head in heads):
        count = max(map(int, heads)) + 1
        items = repeated([inner.get(str(i), "nnx.Dict()") for i in range(count)])
        if len(items) == 1 and items[0].startswith("*["):
            return f"nnx.List({items[0][1:]})"
        return f"nnx.List([{', '.join(items)}])"
    return f"nnx.Dict({', '.join(repeated([f'{head}={text}' for head, text in inner.items()]))})"


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        inner = {_kind(one) for one in value}
        return f"tuple[{inner.pop()}, ...]" if len(inner) == 1 else "tuple"
    return "None" if value is None else type(value).__name__


def _annotation(returns: Any) -> str:
    if isinstance(returns, Use | Expr):
        return "jax.Array"
    if isinstance(returns, tuple) and all(isinstance(one, Use | Expr) for one in returns):
        return f"tuple[{', '.join(['jax.Array'] * len(returns))}]"
    if isinstance(returns, list) and all(isinstance(one, Use | Expr) for one in returns):
        return "list[jax.Array]"
    return "Any"


def _read(step: Any) -> list[int]:
    if isinstance(step, Loop):
        return [step.start, *(n for n in step.expr.uses() if n != step.start)]
    return list(step.expr.uses())


def _used(structure: Any) -> Iterator[int]:
    if isinstance(structure, Use | Ref):
        yield structure.number
    elif isinstance(structure, Expr):
        yield from structure.uses()
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from _used(one)
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from _used(one)


def _needed(statements: list[Statement], results: Any) -> list[Statement]:
    """The statements whose results are used; those of children stay."""
    needed = {*_used(results)}
    kept = []
    for step in reversed(statements):
        if needed & {*refs(step.target)}:
            kept.append(step)
            needed |= {*step.expr.uses()}
    return kept[::-1]


def _counts(steps: list[Any], results: Any) -> dict[int, int]:
    counts: dict[int, int] = {}
    for step in steps:
        for number in _read(step):
            counts[number] = counts.get(number, 0) + 1
    for number in _used(results):
        counts[number] = counts.get(number, 0) + 1
    return counts


def _last_uses(steps: list[Any], results: Any) -> dict[int, int]:
    live: dict[int, int] = {}
    for i, step in enumerate(steps):
        for number in _read(step):
            live[number] = i
    for number in _used(results):
        live[number] = len(steps)
    return live


def _inlined(expr: Expr, held: dict[int, Statement]) -> Expr:
    parts: list[Any] = []
    for part in expr.parts:
        if isinstance(part, Use) and part.number in held:
            parts.append(held[part.number].expr)
        elif isinstance(part, Expr):
            parts.append(_inlined(part, held))
        else:
            parts.append(part)
    return Expr(parts, expr.atom)


def _length(expr: Expr) -> int:
    """About how long the text is."""
    total = 0
    for part in expr.parts:
        if isinstance(part, Expr):
            total += _length(part)
        elif isinstance(part, Named):
            total += len(part.lit.name) + len(str(part.lit.value)) + 3
        elif isinstance(part, Self):
            total += len(".".join(part.path)) + 5
        else:
            total += len(str(part)) if isinstance(part, str) else 2
    return total
