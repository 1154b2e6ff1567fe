"""Plans, for both directions of a conversion; as a table, as an error, as JSON.

A plan is complete if every Flax parameter has its torch tensor and every torch tensor is used. All
problems are reported together, with the sentences of torch's ``load_state_dict``.
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
from jaxgroups.convert._plan.warn import warn_of
from jaxgroups.convert._rules import merges, ops, ops_json

FORMAT = "jaxgroups.plan-v1"

# the status of an entry: those of LEAVES fill a parameter, BAD are problems
LEAVES = ("ok", "folded", "summed", "constant")
GOOD = (*LEAVES, "counter", "alias", "ignored")
BAD = ("missing", "unexpected", "mismatched", "ambiguous", "unknown")


class ConversionError(ValueError):
    """All reasons why a checkpoint does not fit a model, in one error.

    Attributes:
      missing_keys: torch keys that the model needs and the checkpoint lacks.
      unexpected_keys: torch keys of the checkpoint that the model does not use.
      mismatched: torch keys of tensors whose shape or dtype does not fit.
      ambiguous: notes on torch keys that several parameters claim, and on paths for which `names`
        has no name.
      unknown: notes on parameters, and on entries of `names`, `rules` and `ignore`, without a
        counterpart.
    """

    def __init__(self, model: str, entries: "Iterable[Entry]", hints: Iterable[str] = ()) -> None:
        by = {status: [e for e in entries if e.status == status] for status in BAD}
        self.missing_keys = _once(e.torch[0] for e in by["missing"])
        self.unexpected_keys = [e.torch[0] for e in by["unexpected"]]
        self.mismatched = _once(e.torch[0] for e in by["mismatched"])
        self.ambiguous = _once(e.note for e in by["ambiguous"])
        self.unknown = _once(e.note for e in by["unknown"])
        lines = [f"Error(s) in loading state_dict for {printable(model)}:"]
        lines += _listed("Missing key(s) in state_dict", self.missing_keys)
        lines += _listed("Unexpected key(s) in state_dict", self.unexpected_keys)
        lines += [f"\t{note}" for note in _once(e.note for e in by["mismatched"])]
        lines += [f"\tambiguous: {note}" for note in self.ambiguous]
        lines += [f"\tunknown{' layer' if e.flax else ''}: {e.note}" for e in by["unknown"]]
        lines += [f"\thint: {printable_lines(hint)}" for hint in hints]
        super().__init__("\n".join(lines))

    def as_dict(self) -> dict[str, list[str]]:
        """The attributes by name, as data for JSON."""
        names = ("missing_keys", "unexpected_keys", "mismatched", "ambiguous", "unknown")
        return {name: getattr(self, name) for name in names}


def _once(texts: Iterable[str]) -> list[str]:
    """The different texts, in order."""
    return list(dict.fromkeys(texts))


def _listed(title: str, keys: list[str]) -> list[str]:
    return [f"\t{title}: " + ", ".join(f'"{printable(key)}"' for key in keys) + "."] if keys else []


@dataclass(frozen=True)
class Entry:
    """A Flax parameter and its torch tensors, or one without the other.

    Attributes:
      status: ``ok``; ``folded``, a weight merged from a parametrization such as a weight norm;
        ``summed``, the sum of two tensors; ``constant``, a parameter that only Flax has;
        ``counter``, a tensor that only torch has; ``alias``, a second name of another tensor;
        ``ignored``; or a problem:
        ``missing``, ``unexpected``, ``mismatched``, ``ambiguous``, ``unknown``.
      torch: torch keys: the arguments of `merge` for ``folded`` and ``summed``; none for
        ``constant``; the key and the kept key for ``alias``.
      flax: dotted path of the Flax parameter.
      op: the operation from torch to Flax.
      torch_shape, flax_shape, dtype: of the (first) tensor in the checkpoint and of the parameter.
      note: an explanation; what is not printable in it is escaped.
      merge: the computation of one tensor from several, before `op`; None for one tensor.
    """

    status: str
    torch: tuple[str, ...]
    flax: str | None
    op: ops.Op = field(default_factory=ops.Identity)
    torch_shape: Shape | None = None
    flax_shape: Shape | None = None
    dtype: str | None = None
    note: str = ""
    merge: merges.Merge | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "note", printable(self.note))


@dataclass(repr=False)
class Plan:
    """The torch tensor and the operation for each Flax parameter, for both directions.

    ``str(plan)`` is a table. `Plan.to_json` writes a plan to a file, `Plan.from_json` reads it.

    Attributes:
      model: name of the model's class.
      entries: one for each tensor or parameter.
      warnings: notes on settings that no checkpoint contains and that may differ from torch's.
      hints: possible solutions of the problems.
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
        """Whether every parameter has its tensor, and every tensor is used."""
        return not self.problems

    def raise_if_incomplete(self) -> None:
        """Raise the error of an incomplete plan.

        Raises:
          ConversionError: all problems of the plan.
        """
        if self.problems:
            raise ConversionError(self.model, self.entries, self.hints)

    def leaves(self) -> list[Entry]:
        """The entries that fill a Flax parameter."""
        return self.of_status(*LEAVES)

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
        """A table of the entries, then the number of each status, warnings and hints."""
        return "\n".join([*text_table(self._rows()), self._sums(), *self._notes()])

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [("status", "torch", "shape", "operation", "flax", "shape")]
        for e in self.entries:
            rows.append(
                (
                    e.status,
                    " + ".join(e.torch),
                    _shape(e.torch_shape),
                    _operation(e) if e.flax else "",
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
          path: a file to write the text to as well; an existing one is replaced.

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
        """The plan in a JSON file, or in JSON text; its warnings are issued again.

        Args:
          source: the path of the file, or the text.

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
            plan = cls(printable(str(data["model"])), entries, warnings, hints)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(printable(f"{where}not a plan of jaxgroups: {reason}")) from None
        warn_of(plan.warnings)
        return plan


def _hint(text: str) -> str:
    """A hint from a file, printable; its further lines begin with two tabs."""
    first, *more = text.split("\n\t\t")
    return "\n\t\t".join(map(printable, (first, *more)))


def _shape(shape: Shape | None) -> str:
    return "" if shape is None else str(tuple(shape))


def _op_text(op: ops.Op) -> str:
    if isinstance(op, ops.Chain):
        return " then ".join(map(_op_text, op.ops))
    return "as is" if isinstance(op, ops.Identity) else str(op)


def _operation(entry: Entry) -> str:
    """The operation from torch to Flax, as text."""
    if entry.merge is None:
        return _op_text(entry.op)
    steps = [entry.merge.noun]
    steps += [] if isinstance(entry.op, ops.Identity) else [_op_text(entry.op)]
    return " then ".join(steps)


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
        "merge": None if e.merge is None else merges.to_json(e.merge),
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
        merge=None if data["merge"] is None else merges.from_json(data["merge"]),
    )
    return _checked(entry)


def _checked(entry: Entry) -> Entry:
    """The entry, after a check that names, shapes, status and operation agree."""
    of_status = {"folded": merges.Merge, "summed": merges.Sum, "constant": merges.FlaxOnly}
    kind = of_status.get(entry.status, type(None))
    fits = isinstance(entry.merge, kind)
    if not fits or (entry.merge and entry.merge.import_only != (entry.status == "folded")):
        raise ValueError(f"status {entry.status!r} does not go with merge={entry.merge}")
    names = {"ok": 1, "alias": 2, "counter": 1}.get(entry.status)
    if entry.merge is not None:
        names = entry.merge.tensors
    if names is None:
        return entry
    if len(entry.torch) != names or (entry.flax is None) != (entry.status in ("alias", "counter")):
        raise ValueError(
            f"status {entry.status!r} does not go with torch={entry.torch}, flax={entry.flax}"
        )
    if entry.status == "constant":
        if entry.torch_shape is not None or entry.flax_shape is None or entry.dtype is None:
            raise ValueError(f"the entry of {entry.flax!r} must have its shape and dtype")
        return entry
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
