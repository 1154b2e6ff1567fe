"""Weight norm in a checkpoint: torch's names for its two tensors, and the shapes they may have."""

from collections.abc import Iterable

from jaxgroups._printable import printable
from jaxgroups._types import Shape
from jaxgroups.convert._plan.plan import Entry


def weight_norm_keys(key: str) -> list[tuple[str, str]]:
    """The (magnitude, direction) names that torch has used for a weight norm on `key`."""
    module, _, tensor = key.rpartition(".")
    front = f"{module}." if module else ""
    return [
        (f"{key}_g", f"{key}_v"),
        (
            f"{front}parametrizations.{tensor}.original0",
            f"{front}parametrizations.{tensor}.original1",
        ),
    ]


def is_magnitude(norms: Shape, direction: Shape) -> bool:
    """Whether `norms` has one norm for each index of one axis of `direction`, or one for all."""
    if not norms:
        return True
    pairs = list(zip(norms, direction, strict=False))
    kept = len(norms) == len(direction) and all(n in (1, d) for n, d in pairs)
    return kept and sum(n != 1 for n in norms) <= 1


def assumed(entries: Iterable[Entry]) -> list[str]:
    """A warning on the tensors that are a weight norm by their names alone.

    torch gives ``original0`` and ``original1`` to the tensors of every parametrization that has
    two, and a file does not name the parametrization.
    """
    pairs = [e.torch for e in entries if e.status == "folded" and e.torch[0].endswith(".original1")]
    if not pairs:
        return []
    direction, magnitude = pairs[0]
    more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
    return [
        printable(
            f"{magnitude} and {direction.rpartition('.')[2]}{more} are merged as a weight norm, "
            "but any parametrization with two tensors has these names: unless it is torch's "
            "weight_norm, call torch.nn.utils.parametrize.remove_parametrizations before saving"
        )
    ]
