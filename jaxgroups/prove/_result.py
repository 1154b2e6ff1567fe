"""The proof: every figure with its tolerance, what could not be compared, and the verdict."""

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from jaxgroups import _console
from jaxgroups._printable import printable

ITEMS = ("structure", "outputs", "gradients", "state", "steps")


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
      item: ``structure``, ``outputs``, ``gradients``, ``state`` or ``steps``.
      what: what was compared.
      status: ``equal``, ``different`` or ``not compared``.
      difference: the largest relative difference; infinite where shapes differ, or values that are
        not finite; None where nothing is measured.
      tolerance: the largest difference that rounding explains; None where nothing is measured.
      where: the first module or tensor that differs, or the reason.
    """

    item: str
    what: str
    status: str
    difference: float | None = None
    tolerance: float | None = None
    where: str = ""


def measured(item: str, what: str, difference: float, tolerance: float, where: str = "") -> Check:
    """The check for a measured difference; NaN is a difference."""
    equal = difference <= tolerance
    status = "equal" if equal else "different"
    return Check(item, what, status, difference, tolerance, "" if equal else where)


@dataclass(frozen=True, repr=False)
class Proof:
    """The result of `prove`; ``str(proof)`` is a table.

    Attributes:
      torch, flax: names of the modules' classes.
      checks: every comparison, in the order of the work.
      limits: what could not be compared; with any of them the verdict is not ``equal``.
      notes: further information, such as the warnings of the plan.
      rounding: the figures from which the tolerances are derived.
    """

    torch: str
    flax: str
    checks: list[Check] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rounding: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``different`` if a check is, else ``not proven`` if any is missing, else ``equal``."""
        statuses = {check.status for check in self.checks}
        if "different" in statuses:
            return "different"
        complete = {check.item for check in self.checks} == set(ITEMS)
        return "equal" if complete and statuses == {"equal"} and not self.limits else "not proven"

    @property
    def first(self) -> Check | None:
        """The first check that found a difference, or None."""
        return next((check for check in self.checks if check.status == "different"), None)

    def __repr__(self) -> str:
        pair = printable(f"{self.torch}, {self.flax}")
        return f"Proof({pair}: {self.verdict}, {len(self.checks)} checks)"

    def __str__(self) -> str:
        return _console.plain(_Report(self), 80).rstrip("\n")

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        return _console.html(str(self))

    def as_dict(self) -> dict[str, Any]:
        """The proof as data for JSON; a difference that is not finite is None there."""
        checks = [asdict(check) for check in self.checks]
        for check in checks:
            if check["difference"] is not None and not isfinite(check["difference"]):
                check["difference"] = None
        return {
            "verdict": self.verdict,
            "torch": self.torch,
            "flax": self.flax,
            "checks": checks,
            "limits": self.limits,
            "notes": self.notes,
            "rounding": self.rounding,
        }


@dataclass(frozen=True)
class _Report:
    """The table and the lines below it, for rich."""

    proof: Proof

    def __rich_console__(self, printer: Any, options: Any) -> Any:
        from rich.table import Table
        from rich.text import Text

        proof = self.proof
        yield Text(printable(f"{proof.torch} (torch) and {proof.flax} (Flax): {proof.verdict}"))
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in ("item", "compared"):
            table.add_column(name, overflow="fold")
        for name in ("difference", "allowed"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for c in proof.checks:
            cells = (c.item, c.what, _figure(c.difference), _figure(c.tolerance), c.status)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        yield table
        for c in proof.checks:
            if c.where:
                yield Text(printable(f"{c.item}, {c.what}: {c.where}"))
        for title, texts in (("not compared", proof.limits), ("note", proof.notes)):
            for text in texts:
                yield Text(printable(f"{title}: {text}"))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
