"""The text of the classes: variables get names, nested expressions of a line become one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jaxgroups.port._classes import Class, is_channels
from jaxgroups.port._docs import docstring
from jaxgroups.port._expr import Expr, Instance, Lit, Named, Self, Statement, Use
from jaxgroups.port._flow import child_of, counts, inlined, last_uses, length, needed, read
from jaxgroups.port._graph import Ref, refs
from jaxgroups.port._layers import Source
from jaxgroups.port._loops import Loop, looped, repeated
from jaxgroups.port._names import fresh, identifier, single, unpackable, unpacked
from jaxgroups.port._text import annotation, binds, container, kind, literal, member

_WIDTH = 88


def render(one: Class, fixed: bool = False) -> str:
    """The text of a class; `fixed` writes the example's sizes of images into its docstring."""
    return _Writer(one, fixed).text()


class _Writer:
    def __init__(self, one: Class, fixed: bool) -> None:
        self.one, self.fixed = one, fixed
        self.made: Instance = one.instances[0]
        self.place = 0
        self.names: dict[int, str] = {}
        self.access: dict[int, str] = {}
        self.parameters: dict[str, str] = {}  # by name in the original

    def text(self) -> str:
        one, made = self.one, self.made
        constructor = self._constructor()
        call = self._call()
        base = made.base.target if made.base else "nnx.Module"
        if self._items():
            base = "nnx.List"
        lines = [f"class {one.name}({base}):", *docstring(one, self.fixed), ""]
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
                text = self._setting(Lit(make.target.values[name], name), False)
                if text is not None:
                    short = i < 2 and is_channels(name) and name not in group.defaults
                    parts.append(text if short else f"{name}={text}")
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
        arguments = [
            f"{name}: {self._type(name)}"
            + (f" = {literal(one.defaults[name])}" if name in one.defaults else "")
            for name in one.arguments
        ]
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
        if items := self._items():
            held = container({path: text for path, text in texts.items() if path[0] in items})
            body.append(f"super().__init__{held.removeprefix('nnx.List')}")
        for name in dict.fromkeys(path[0] for path in texts if path[0] not in items):
            below = {path[1:]: text for path, text in texts.items() if path[0] == name}
            if name.isdigit():
                body.append(f'setattr(self, "{name}", {container(below)})')
            else:
                body.append(f"self.{name} = {container(below)}")
        body += [f"self.{name} = {name}" for name in one.arguments if name in one.kept]
        if made.ties:
            body.append("# one module at several places")
            body += [f"self{place} = self{first}" for place, first in made.ties]
        if not body and one.root:
            body = ["del rngs  # a constructor like any other"]
        if not body:
            return []
        return [*lines, *(f"        {line}" for line in body)]

    def _items(self) -> set[str]:
        """The children, if all have numbers in place of names: the class extends ``nnx.List``."""
        names = {path[0] for path in self.made.children}
        return names if all(name.isdigit() for name in names) else set()

    def _member(self, path: tuple[str, ...]) -> str:
        """The text of a child or array."""
        if path and path[0].isdigit() and not self._items():  # Flax cannot sort 0 and "conv"
            return member(path).replace(f"self[{path[0]}]", f'getattr(self, "{path[0]}")', 1)
        return member(path)

    def _child_flags(self) -> dict[tuple[str, ...], str]:
        """By child that some instances do not have, the argument that says so."""
        found = {}
        for i, flag in self.one.flags.items():
            path = child_of(self.made.statements[i])
            if path is not None:
                found[path] = flag
        return found

    def _type(self, name: str) -> str:
        kinds = dict.fromkeys(kind(instance.values[name]) for instance in self.one.instances)
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
        live = last_uses(steps, results)
        taken: list[str] = []
        for name, structure in made.parameters.items():
            taken.append(self._parameter(name, structure, taken))
            self.parameters[name] = taken[-1]
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
        back = annotation(made.returns, iter(made.outputs))
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
                flag = f"{self._member(path)} is not None" if path else f"self.{flag}"
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
        steps: list[Any] = looped(needed(statements, results, self.made), self.made)
        uses = counts(steps, results)
        kept: list[Any] = []
        held: dict[int, Statement] = {}
        for i, step in enumerate(steps):
            if isinstance(step, Loop):
                kept.append(step)
                continue
            step.expr = inlined(step.expr, held)
            number = step.target.number if isinstance(step.target, Ref) else None
            reader = next((s for s in steps[i + 1 :] if number in read(s)), None)
            if (
                number is not None
                and uses.get(number) == 1
                and isinstance(reader, Statement)
                and step.line is not None
                and reader.line == step.line
                and not step.why
                and not step.when
                and not reader.when
                and length(step.expr) + length(reader.expr) < _WIDTH
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
        integer = self.made.inputs.get(name) == [None]
        name = "size" if integer and name.startswith("_") else identifier(name, not self.names)
        number, stem = 1, name
        while name in taken:
            number += 1
            name = f"{stem}{number}"
        self._bind(structure, name)
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
        (key,) = [key for key, text in self.parameters.items() if text == name]
        shapes = iter(self.made.inputs.get(key, ()))
        return annotation(self.made.parameters[key], shapes)

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
                else fresh(single(step.hint) or "x", busy)
            )
            lines = [] if name == start else [f"{name} = {start}"]
            item = step.item
            lines.append(f"for {item} in {self._member(tuple(step.base))}:")
            self.names[step.last] = name
            inner = dict(self.names) | {step.start: name}
            text = self._expr(step.expr, inner, item=item)
            lines.append(f"    {name} = {text}")
            return lines
        text = self._expr(step.expr, self.names)
        lines = [f"# {step.why}"] if step.why else []
        if not any(number in live for number in refs(step.target)):  # called for its statistics
            return [*lines, *([f"if {step.when}:", f"    {text}"] if step.when else [text])]
        if isinstance(step.target, Ref) and step.when:
            (read,) = {*step.expr.uses()}
            name = fresh(single(step.hint) or self._dying(step, i, live), busy)
            self.names[step.target.number] = name
            if name == self.names[read]:
                return [*lines, f"if {step.when}:", f"    {name} = {text}"]
            return [*lines, f"{name} = {text} if {step.when} else {self.names[read]}"]
        if isinstance(step.target, Ref):
            name = fresh(single(step.hint) or self._dying(step, i, live), busy)
            self.names[step.target.number] = name
            return [*lines, f"{name} = {text}"]
        used = [n for n in refs(step.target) if n in live]
        whole = isinstance(step.hint, str) and step.hint and len(used) > 1
        if len([*refs(step.target)]) < 6 and not whole and unpackable(step.target):
            chosen: dict[int, str] = {}
            names = unpacked(step.target, step.hint, {*used}, dict(busy), chosen)
            self.names |= chosen
            return [*lines, f"{names.removeprefix('(').removesuffix(')')} = {text}"]
        name = fresh(single(step.hint) or "parts", busy)
        self._bind(step.target, name)
        return [*lines, f"{name} = {text}"]

    def _dying(self, step: Statement, i: int, live: dict[int, int]) -> str:
        """The name of the first operand, if this is its last use."""
        for number in step.expr.uses():
            name = self.names.get(number, "")
            if name.isidentifier() and live.get(number, -1) <= i:
                return name
        return "x"

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
                part = part if atom or alone or binds(part, text, after) else f"({part})"
            text += part
        for index in (":, None", "..., None"):
            text = text.replace(f"[{index}][{index}]", f"[{index}, None]")
        return text

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
            yield item if item and part.path[-1] == "*" else writer._member(part.path)
        elif isinstance(part, Named):
            value = part.lit.value
            yield f", {part.lit.name}={value if isinstance(value, Source) else literal(value)}"
        elif isinstance(part, Lit):
            yield writer._setting(part, called) or literal(part.value)
        elif isinstance(part, Expr):
            yield writer._expr(part, names, called, item), part.atom
        else:
            yield str(part)
