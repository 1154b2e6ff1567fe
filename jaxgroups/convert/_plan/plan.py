"""Plan: one entry for each tensor, used in both directions; as a table, as an error, as JSON.

A plan is complete when every Flax leaf has its torch tensor and every torch tensor its use. All
problems are reported together, in the words of torch's ``load_state_dict``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxgroups._printable import printable, printable_lines
from jaxgroups._types import Shape
from jaxgroups.convert._files import write_text
from jaxgroups.convert._files.show import counted, html_table, text_table
from jaxgroups.convert._rules import ops, ops_json

FORMAT = "jaxgroups.plan-v1"

# the status of an entry: the first four of GOOD carry data, BAD are problems
GOOD = ("ok", "folded", "counter", "alias", "ignored")
BAD = ("missing", "unexpected", "mismatched", "ambiguous", "unknown")


class ConversionError(ValueError):
    """Everything that keeps a checkpoint from fitting a model, in one error.

    Attributes:
      missing_keys: torch keys that the model needs and the checkpoint lacks.
      unexpected_keys: torch keys of the checkpoint that the model does not use.
      mismatched: torch keys of tensors whose shape or dtype does not fit.
      ambiguous: sentences on torch keys that several parameters claim, and on paths to which
        `names` gives no name.
      unknown: sentences on parameters, or on entries of `names` and `rules`, that have no
        counterpart: there is no torch key to give.
    """

    def __init__(self, model: str, entries: "Iterable[Entry]", hints: Iterable[str] = ()) -> None:
        by = {status: [e for e in entries if e.status == status] for status in BAD}
        self.missing_keys = [e.torch[0] for e in by["missing"]]
        self.unexpected_keys = [e.torch[0] for e in by["unexpected"]]
        self.mismatched = [e.torch[0] for e in by["mismatched"]]
        self.ambiguous = [e.note for e in by["ambiguous"]]
        self.unknown = [e.note for e in by["unknown"]]
        lines = [f"Error(s) in loading state_dict for {printable(model)}:"]
        lines += _listed("Missing key(s) in state_dict", self.missing_keys)
        lines += _listed("Unexpected key(s) in state_dict", self.unexpected_keys)
        lines += [f"\t{e.note}" for e in by["mismatched"]]
        lines += [f"\tambiguous: {note}" for note in self.ambiguous]
        lines += [f"\tunknown layer: {note}" for note in self.unknown]
        lines += [f"\thint: {printable_lines(hint)}" for hint in hints]
        super().__init__("\n".join(lines))

    def as_dict(self) -> dict[str, list[str]]:
        """The attributes by name, ready for JSON."""
        names = ("missing_keys", "unexpected_keys", "mismatched", "ambiguous", "unknown")
        return {name: getattr(self, name) for name in names}


def _listed(title: str, keys: list[str]) -> list[str]:
    return [f"\t{title}: " + ", ".join(f'"{printable(key)}"' for key in keys) + "."] if keys else []


@dataclass(frozen=True)
class Entry:
    """One Flax parameter and its torch tensor (two for a weight norm), or one of them alone.

    Attributes:
      status: ``ok``; ``folded``, a weight norm merged into one weight; ``counter``, which only
        torch has; ``alias``, a second name of another tensor; ``ignored``; or a problem:
        ``missing``, ``unexpected``, ``mismatched``, ``ambiguous``, ``unknown``.
      torch: torch keys: direction and magnitude for ``folded``, the key and the kept key for
        ``alias``.
      flax: dotted path of the Flax parameter.
      op: the operation from torch to Flax.
      torch_shape, flax_shape, dtype: of the tensor in the checkpoint and of the parameter.
      note: a sentence for people; what is not printable in it is escaped.
    """

    status: str
    torch: tuple[str, ...]
    flax: str | None
    op: ops.Op = field(default_factory=ops.Identity)
    torch_shape: Shape | None = None
    flax_shape: Shape | None = None
    dtype: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "note", printable(self.note))


@dataclass(repr=False)
class Plan:
    """Which torch tensor goes into which Flax parameter, and how; the same plan for the way back.

    ``str(plan)`` is a table. `Plan.to_json` and `Plan.from_json` keep a plan in a file.

    Attributes:
      model: name of the model's class.
      entries: one for each tensor or parameter.
      warnings: settings that no checkpoint holds and that may differ from torch's.
      hints: what may solve the problems.
    """

    model: str
    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Entry]:
        """The entries that keep the plan from being complete."""
        return [entry for entry in self.entries if entry.status in BAD]

    @property
    def complete(self) -> bool:
        """Whether every parameter has its tensor, and every tensor its use."""
        return not self.problems

    def raise_if_incomplete(self) -> None:
        """Do nothing for a complete plan.

        Raises:
          ConversionError: the plan has problems; the error has all of them.
        """
        if self.problems:
            raise ConversionError(self.model, self.entries, self.hints)

    def leaves(self) -> list[Entry]:
        """The entries that fill a Flax leaf."""
        return self.of_status("ok", "folded")

    def of_status(self, *statuses: str) -> list[Entry]:
        """The entries of one status, or of several."""
        return [e for e in self.entries if e.status in statuses]

    def __repr__(self) -> str:
        counts = [counted(sum(bool(e.torch) for e in self.entries), "tensor")]
        for number, word in (
            (len(self.problems), "problem"),
            (len(self.warnings), "warning"),
        ):
            counts += [counted(number, word)] if number else []
        return f"Plan({printable(self.model)}: {', '.join(counts)})"

    def __str__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        """The report as an HTML table, for notebooks."""
        header, *rows = self._rows()
        notes = [self._sums(), *self._notes()]
        return html_table(repr(self), header, rows, notes)

    def report(self) -> str:
        """A table with a line for each entry, then numbers by status, warnings and hints."""
        return "\n".join([*text_table(self._rows()), self._sums(), *self._notes()])

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [("status", "torch", "shape", "operation", "flax", "shape")]
        for e in self.entries:
            rows.append(
                (
                    e.status,
                    " + ".join(e.torch),
                    _shape(e.torch_shape),
                    _op_text(e.op) if e.flax else "",
                    e.flax or "",
                    _shape(e.flax_shape),
                )
            )
        return rows

    def _sums(self) -> str:
        counts = {s: len(self.of_status(s)) for s in (*GOOD, *BAD)}
        return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing to convert"

    def _notes(self) -> list[str]:
        warnings = [f"warning: {printable(text)}" for text in self.warnings]
        return warnings + [f"hint: {printable_lines(text)}" for text in self.hints]

    def to_json(self, path: str | Path | None = None) -> str:
        """The plan as JSON text.

        Args:
          path: the file to write it to as well, in place of an older one.

        Raises:
          ValueError: an operation outside the closed set.
          OSError: the file cannot be written.
        """
        head = json.dumps({"format": FORMAT, "model": self.model})[1:-1]
        entries = ",\n".join("  " + json.dumps(_entry_json(e)) for e in self.entries)
        tail = json.dumps({"warnings": self.warnings, "hints": self.hints})[1:-1]
        # one line an entry
        text = f'{{{head}, "entries": [\n{entries}\n], {tail}}}\n'
        if path is not None:
            write_text(Path(path), text)
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> "Plan":
        """The plan in a JSON file, or in the JSON text itself.

        Raises:
          ValueError: not a plan, or one with operations outside the closed set.
        """
        text, where = str(source), ""
        if not text.lstrip().startswith("{"):
            where = f"{source}: "
            try:
                text = Path(source).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}not a plan: not UTF-8 text: {error}") from error
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("format") != FORMAT:
                found = data.get("format") if isinstance(data, dict) else type(data).__name__
                raise ValueError(f"its format is {found!r}, expected {FORMAT!r}")
            entries = [_entry_from_json(e) for e in data["entries"]]
            warnings = [printable(str(text)) for text in data["warnings"]]
            hints = [_hint(str(text)) for text in data["hints"]]
            return cls(printable(str(data["model"])), entries, warnings, hints)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(printable(f"{where}not a plan of jaxgroups: {reason}")) from None


def _hint(text: str) -> str:
    """A hint from a file; further lines of it have two tabs in front, as jaxgroups writes them."""
    first, *more = text.split("\n\t\t")
    return "\n\t\t".join(map(printable, (first, *more)))


def _shape(shape: Shape | None) -> str:
    return "" if shape is None else str(tuple(shape))


def _op_text(op: ops.Op) -> str:
    if isinstance(op, ops.Chain):
        return " then ".join(map(_op_text, op.ops))
    return "as is" if isinstance(op, ops.Identity) else str(op)


def _entry_json(e: Entry) -> dict[str, Any]:
    return {
        "status": e.status,
        "torch": list(e.torch),
        "flax": e.flax,
        "op": ops_json.to_json(e.op),
        "torch_shape": None if e.torch_shape is None else list(e.torch_shape),
        "flax_shape": None if e.flax_shape is None else list(e.flax_shape),
        "dtype": e.dtype,
        "note": e.note,
    }


def _entry_from_json(data: dict[str, Any]) -> Entry:
    if data["status"] not in (*GOOD, *BAD):
        raise ValueError(f"unknown status {data['status']!r} in a plan")
    entry = Entry(
        status=data["status"],
        torch=tuple(map(_text, data["torch"])),
        flax=None if data["flax"] is None else _text(data["flax"]),
        op=ops_json.from_json(data["op"]),
        torch_shape=_sizes(data["torch_shape"]),
        flax_shape=_sizes(data["flax_shape"]),
        dtype=None if data["dtype"] is None else _text(data["dtype"]),
        note=_text(data["note"]),
    )
    return _checked(entry)


def _checked(entry: Entry) -> Entry:
    """The entry; its number of names and its shapes must agree with its status and operation."""
    names = {"ok": 1, "folded": 2, "alias": 2, "counter": 1}.get(entry.status)
    if names is None:
        return entry
    if len(entry.torch) != names or (entry.flax is None) != (entry.status in ("alias", "counter")):
        raise ValueError(
            f"status {entry.status!r} does not go with torch={entry.torch}, flax={entry.flax}"
        )
    if entry.torch_shape is None or entry.dtype is None:
        raise ValueError(f"the entry of {entry.torch[0]!r} has no shape or no dtype")
    if entry.flax is not None and entry.op.flax_shape(entry.torch_shape) != entry.flax_shape:
        raise ValueError(f"the operation of {entry.torch[0]!r} does not give {entry.flax_shape}")
    return entry


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} must be a string, got {type(value).__name__}")
    return value


def _sizes(value: Any) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, list) or any(type(n) is not int or n < 0 for n in value):
        raise ValueError(f"{value!r:.80} must be a shape: a list of integers >= 0")
    return tuple(value)
