"""A proposal of names: as Python text to paste, as TOML for the command line, as JSON."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jaxgroups.convert._files.show import counted

FORMAT = "jaxgroups.names-v1"
_SHOWN = 20


@dataclass(frozen=True)
class NameLine:
    """One line of the table.

    Attributes:
      flax, torch: a Flax path and its torch name.
      layers: the number of layers and single parameters at or below the path. They keep the rest of
        their names.
      evidence: the number of them for each kind of evidence: ``"only one of its shape"``,
        ``"order and similar name"``, ``"order, as many on both sides"``, ``"order alone"``,
        ``"similar name"``, ``"name no more similar than others"``,
        ``"only one left of its shape"``, or ``"equal name"``.
      check: whether the user must check the line, because another module fits too.
      others: other torch names that fit, at most three.
    """

    flax: str
    torch: str
    layers: int
    evidence: dict[str, int]
    check: bool
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class Proposal:
    """Proposed values of ``names=`` and ``prefix=``, with the evidence for each line.

    ``str(proposal)`` is Python text to paste into a call of `load_torch`.

    Attributes:
      model: name of the model's class.
      prefix: text before every torch key.
      lines: the table, in the model's order.
      same: the number of layers and single parameters that need no line.
      unmatched_flax: parameters to which no tensor was assigned.
      unmatched_torch: torch keys that no parameter uses.
      notes: what limits the evidence.
    """

    model: str
    prefix: str
    lines: list[NameLine]
    same: int
    unmatched_flax: list[str]
    unmatched_torch: list[str]
    notes: list[str]

    @property
    def names(self) -> dict[str, str]:
        """The table as a mapping for ``names=``."""
        return {line.flax: line.torch for line in self.lines}

    def __repr__(self) -> str:
        check = sum(line.check for line in self.lines)
        return f"Proposal({self.model}: {counted(len(self.lines), 'name')}, {check} to check)"

    def __str__(self) -> str:
        lines = [*self._head(), "names={"]
        lines += _rows(self.lines, lambda line: f"    {literal(line.flax)}: {literal(line.torch)},")
        lines += ["},"]
        lines += [f"prefix={literal(self.prefix)},"] if self.prefix else []
        return "\n".join([*lines, *self._tail()])

    def toml(self) -> str:
        """The table for the file that ``jaxgroups plan --rules`` reads."""
        lines = self._head()
        lines += [f"prefix = {_toml(self.prefix)}"] if self.prefix else []
        lines += ["[names]"]
        lines += _rows(self.lines, lambda line: f"{_toml(line.flax)} = {_toml(line.torch)}")
        return "\n".join([*lines, *self._tail()])

    def to_json(self) -> str:
        """The proposal as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2)

    def _head(self) -> list[str]:
        check = sum(line.check for line in self.lines)
        named = sum(line.layers for line in self.lines)
        names, layers = counted(len(self.lines), "name"), counted(named, "layer")
        first = f"{names} for {layers}, {check} to check"
        first += f"; {self.same} more need none" if self.same else ""
        return [_comment(line) for line in (f"proposed, not applied: {first}", *self.notes)]

    def _tail(self) -> list[str]:
        lines = []
        for what, found in (
            ("no tensor found for", self.unmatched_flax),
            ("not used by the model:", self.unmatched_torch),
        ):
            lines += [_comment(f"{what} {text}") for text in found[:_SHOWN]]
            more = len(found) - _SHOWN
            lines += [_comment(f"{what} {more} more")] if more > 0 else []
        return lines


def _comment(text: str) -> str:
    """A comment of Python and TOML, on one line for any text."""
    return "# " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _rows(lines: Sequence[NameLine], text: Callable[[NameLine], str]) -> list[str]:
    """The lines with their evidence in a column."""
    texts = [text(line) for line in lines]
    width = min(max(map(len, texts), default=0), 60)
    return [f"{t:<{width}}  # {_evidence(line)}" for t, line in zip(texts, lines, strict=True)]


def _evidence(line: NameLine) -> str:
    kinds = line.evidence
    if len(kinds) == 1 and line.layers == 1:
        found = next(iter(kinds))
    else:
        found = ", ".join(f"{kind}: {n}" for kind, n in kinds.items())
        found = f"{line.layers} layers, {found}"
    others = f"; fits as well: {', '.join(map(literal, line.others))}" if line.others else ""
    return f"{'CHECK ' if line.check else ''}{found}{others}"


def literal(text: str) -> str:
    """A Python string literal on one line, in double quotes if that needs no escapes."""
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" and '"' not in text else shown


def _toml(text: str) -> str:
    """A TOML string with escapes for what is not printable."""
    parts = []
    for char in text:
        if char in '"\\':
            parts.append(f"\\{char}")
        elif char.isprintable():
            parts.append(char)
        else:
            parts.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return f'"{"".join(parts)}"'


def lines_of(branches: Sequence[Any]) -> list[NameLine]:
    """The lines of a table's branches."""
    found = []
    for branch in branches:
        evidence = Counter(a.evidence for a in branch.assignments)
        check = any(a.check for a in branch.assignments)
        alone = check and len(branch.assignments) == 1
        others = branch.assignments[0].others if alone else ()
        flax = ".".join(map(str, branch.path))
        found.append(
            NameLine(
                flax, branch.name, len(branch.assignments), dict(evidence), check, list(others)
            )
        )
    return found
