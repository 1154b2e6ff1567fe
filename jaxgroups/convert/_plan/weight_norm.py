"""Weight norm in a checkpoint: torch's names for its two tensors, and the shapes they may have."""

from jaxgroups._types import Shape


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
