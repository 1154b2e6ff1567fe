"""Bounds of sizes, some of which may be symbolic sizes of ``jax.export``."""

from jaxgroups._types import Ints


def at_least(sizes: Ints, least: Ints, why: str) -> bool:
    """Whether no size is below its bound.

    Raises:
      ValueError: sizes of ``jax.export`` that are symbolic and may be below; it names the bounds.
    """
    unknown = []
    for n, bound in zip(sizes, least, strict=True):
        try:
            if n < bound:
                return False
        except Exception as error:  # of a symbolic size; its type is JAX's, which is not known here
            unknown.append((f"{n} >= {bound}", error))
    if unknown:
        needed = list(dict.fromkeys(text for text, _ in unknown))
        raise ValueError(
            f"a symbolic size has no lower bound that is large enough: {why}, "
            f"so {' and '.join(needed)} must hold; "
            f"add jax.export.symbolic_shape(..., constraints={needed})"
        ) from unknown[0][1]
    return True


def pad_fits(mode: str, sizes: Ints, least: Ints) -> bool:
    """`at_least` of the lengths that a padding mode needs."""
    limit = "less than" if mode == "reflect" else "not more than"
    return at_least(sizes, least, f"{mode} padding must be {limit} the length")
