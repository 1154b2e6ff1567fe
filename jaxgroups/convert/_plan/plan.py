"""Plan: one entry a tensor, both directions from the same entries; as table, as errors, as JSON.

A plan is complete when every Flax leaf has its torch tensor and every torch tensor its use. All
that is wrong is collected and reported together, in the words of torch's ``load_state_dict``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxgroups._types import Shape
from jaxgroups.convert._files import write_text
from jaxgroups.convert._rules import ops, ops_json

FORMAT = "jaxgroups.plan-v1"

# what an entry may be; the first four carry data, the fifth is fine, the rest are problems
GOOD = ("ok", "folded", "counter", "alias", "ignored")
BAD = ("missing", "unexpected", "mismatched", "ambiguous", "unknown")


class ConversionError(ValueError):
    """Everything that keeps a checkpoint and a model apart, at once.

    Attributes: missing_keys, unexpected_keys, mismatched, ambiguous, unknown: lists of texts.
    """

    def __init__(self, model: str, entries: "Iterable[Entry]", hints: Iterable[str] = ()) -> None:
        by = {status: [e for e in entries if e.status == status] for status in BAD}
        self.missing_keys = [e.torch[0] for e in by["missing"]]
        self.unexpected_keys = [e.torch[0] for e in by["unexpected"]]
        self.mismatched = [e.torch[0] for e in by["mismatched"]]
        self.ambiguous = [e.note for e in by["ambiguous"]]
        self.unknown = [e.note for e in by["unknown"]]
        lines = [f"Error(s) in loading state_dict for {model}:"]
        lines += _listed("Missing key(s) in state_dict", self.missing_keys)
        lines += _listed("Unexpected key(s) in state_dict", self.unexpected_keys)
        lines += [f"\t{e.note}" for e in by["mismatched"]]
        lines += [f"\tambiguous: {note}" for note in self.ambiguous]
        lines += [f"\tunknown layer: {note}" for note in self.unknown]
        lines += [f"\thint: {hint}" for hint in hints]
        super().__init__("\n".join(lines))

    def as_dict(self) -> dict[str, list[str]]:
        """The problems by kind."""
        names = ("missing_keys", "unexpected_keys", "mismatched", "ambiguous", "unknown")
        return {name: getattr(self, name) for name in names}


def _listed(title: str, keys: list[str]) -> list[str]:
    return [f"\t{title}: " + ", ".join(f'"{key}"' for key in keys) + "."] if keys else []


@dataclass(frozen=True)
class Entry:
    """One Flax leaf and its torch tensor (two for a weight norm), or one of them alone."""

    status: str
    torch: tuple[str, ...]
    flax: str | None
    op: ops.Op = field(default_factory=ops.Identity)
    torch_shape: Shape | None = None
    flax_shape: Shape | None = None
    dtype: str | None = None
    note: str = ""


@dataclass
class Plan:
    """What goes where and how, derived once, used in both directions."""

    model: str
    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.status in BAD]

    @property
    def complete(self) -> bool:
        return not self.problems

    def raise_if_incomplete(self) -> None:
        """Raises ConversionError with all problems."""
        if self.problems:
            raise ConversionError(self.model, self.entries, self.hints)

    def leaves(self) -> list[Entry]:
        """The entries that fill a Flax leaf."""
        return [e for e in self.entries if e.status in ("ok", "folded")]

    def report(self) -> str:
        """A table: status, torch key and shape, operation, Flax path and shape; then the sums."""
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
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        counts = {s: sum(e.status == s for e in self.entries) for s in (*GOOD, *BAD)}
        lines.append(", ".join(f"{n} {s}" for s, n in counts.items() if n) or "nothing to convert")
        lines += [f"warning: {w}" for w in self.warnings]
        lines += [f"hint: {h}" for h in self.hints]
        return "\n".join(lines)

    def to_json(self, path: str | Path | None = None) -> str:
        """The plan as JSON; written to `path` where one is given."""
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
        """A plan from a file, or from the JSON text itself.

        Raises:
          ValueError: not a plan, or one with operations outside the closed set.
        """
        text, where = str(source), ""
        if not text.lstrip().startswith("{"):
            where = f"{source}: "
            try:
                text = Path(source).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}not a plan, which is text: {error}") from error
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("format") != FORMAT:
                found = data.get("format") if isinstance(data, dict) else type(data).__name__
                raise ValueError(f"its format is {found!r}, expected {FORMAT!r}")
            entries = [_entry_from_json(e) for e in data["entries"]]
            texts = [list(map(str, data[name])) for name in ("warnings", "hints")]
            return cls(str(data["model"]), entries, *texts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{where}not a plan of jaxgroups: {reason}") from error


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
    """An entry that carries data must fit itself: its shapes are what its operation says."""
    names = {"ok": 1, "folded": 2, "alias": 2, "counter": 1}.get(entry.status)
    if names is None:
        return entry
    if len(entry.torch) != names or (entry.flax is None) != (entry.status in ("alias", "counter")):
        raise ValueError(f"an entry of status {entry.status!r} with {entry.torch}, {entry.flax}")
    if entry.torch_shape is None or entry.dtype is None:
        raise ValueError(f"the entry of {entry.torch[0]!r} lacks its shape or dtype")
    if entry.flax is not None and entry.op.flax_shape(entry.torch_shape) != entry.flax_shape:
        raise ValueError(f"the operation of {entry.torch[0]!r} does not give {entry.flax_shape}")
    return entry


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} should be a text")
    return value


def _sizes(value: Any) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, list) or any(type(n) is not int or n < 0 for n in value):
        raise ValueError(f"{value!r:.80} is no shape")
    return tuple(value)
