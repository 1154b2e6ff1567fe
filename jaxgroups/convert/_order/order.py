"""The order of the flattened features in a plan: by tracing the model, or else with a warning."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxgroups.convert._model.names import strip_collection
from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._order.guess import guesses
from jaxgroups.convert._order.probe import axes_by_probe, may_flatten_an_image
from jaxgroups.convert._order.settle import settle
from jaxgroups.convert._order.trace import axes_of
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._plan.resolve import RuleMatch, resolve_rules
from jaxgroups.convert._rules.feature_order import KeepOrder, OrderRule


def order_features(
    plan: Plan,
    model: Any,
    structure: Structure,
    *,
    rules: Mapping[str, Any] | None = None,
    example: Any = None,
    keys: Sequence[str] | None = None,
    settled: Collection[str] = (),
) -> Plan:
    """The plan with flattened features in Flax's order, and with warnings where it is not known.

    Args:
      plan: the plan.
      model: the model; None if only its structure is known.
      structure: the structure of the model.
      rules: the rules of the user.
      example: an input of the model, as in `jaxgroups.convert.plan`.
      keys: the torch keys in the order of the torch model; None if the order is not known.
      settled: names of parameters whose operation is final.

    Raises:
      ValueError: an nnx model that cannot be called with `example`.
    """
    if plan.of_status("mismatched", "ambiguous"):  # the plan is refused in any case
        return plan
    by_path = {strip_collection(structure, path): rule for path, rule in (rules or {}).items()}
    matches = resolve_rules(structure, by_path)
    filled = {str(e.flax) for e in plan.leaves()}
    given = {m.param.name: m.rule for m in matches if m.from_user and m.param.name in filled}
    given |= dict.fromkeys(settled, KeepOrder())
    known, statements = None, guesses(plan, structure, given, keys)
    pool_texts: list[str] = []
    if all(param.name in settled for param in structure.params):
        return plan
    if model is not None and example is not None:
        try:
            known = axes_of(model, structure, example, pool_texts)
        except Exception as error:
            if structure.kind == "nnx":
                raise ValueError(
                    f"example: the model cannot be called with it: {type(error).__name__}: {error}"
                ) from error
    elif _checkable(given.values()) or statements or may_flatten_an_image(structure):
        known = axes_by_probe(model, structure) if model is not None else None
    texts = [*pool_texts, *_equal_axes(plan, matches, settled)]
    if known is not None:
        plan = settle(plan, structure, given, known)
    elif statements:
        ask = "" if example is not None else ", or example= an input of the model to follow them"
        texts.append(
            f"feature order is not known: {'; '.join(statements)}; or KeepOrder() where torch has "
            f"Flax's order{ask}"
        )
    return replace(plan, warnings=[*plan.warnings, *texts])


def _checkable(rules: Any) -> bool:
    """Whether a rule has sizes of a feature map, which can be checked."""
    return any(isinstance(r, OrderRule) and not isinstance(r, KeepOrder) for r in rules)


def _equal_axes(plan: Plan, matches: list[RuleMatch], settled: Collection[str]) -> list[str]:
    """A warning on parameters outside of any layer with axes of equal length."""
    names = {match.param.name for match in matches if match.head is None} - set(settled)
    found = [
        e
        for e in plan.leaves()
        if e.flax in names and len(set(_long(e.flax_shape))) < len(_long(e.flax_shape))
    ]
    if not found:
        return []
    first = found[0]
    paths = ", ".join(f"{e.flax} {e.flax_shape}" for e in found)
    axes = len(first.flax_shape or ())
    swapped = (*range(axes - 2), axes - 1, axes - 2)
    return [
        f"{paths}: taken as in torch, but axes of equal length do not show whether torch has them "
        f'in this order: pass rules={{"{first.flax}": Permute({swapped})}} or another permutation, '
        "or Identity() to confirm"
    ]


def _long(shape: Any) -> list[int]:
    return [n for n in shape or () if n > 1]
