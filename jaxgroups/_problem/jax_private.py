"""All that is used of JAX beyond its public API; `tests/test_primitive.py` tells when it moves."""

from collections.abc import Callable
from typing import Any

from jax._src.interpreters import mlir as private_mlir


def lowering_rule(primitive: Any, platform: str) -> Callable:
    """The rule that lowers `primitive` on `platform` now: there is no public way to ask."""
    specific = private_mlir._platform_specific_lowerings[platform].get(primitive)
    return (specific or private_mlir._lowerings[primitive]).rule


def partitioned(ctx: Any) -> bool:
    """Whether XLA will split the program that is being lowered over several devices.

    Not so inside a shard_map over all mesh axes, whose body is already one device's program.
    """
    context = ctx.module_context.axis_context
    mesh = getattr(context, "mesh", None)
    if mesh is None:
        return (getattr(context, "num_devices", None) or 1) > 1
    return mesh.size > 1 and set(context.manual_axes) != set(mesh.axis_names)


def exported(ctx: Any) -> bool:
    """Whether ``jax.export`` lowers this program."""
    return ctx.module_context.lowering_parameters.for_export


def sharded_by_type(avals: Any) -> bool:
    """Whether an operand's type names mesh axes (explicit sharding)."""
    specs = (getattr(getattr(aval, "sharding", None), "spec", ()) for aval in avals)
    return any(axis is not None for spec in specs for axis in spec)


def platform(ctx: Any) -> str:
    """The one platform that is lowered for: "cpu", "cuda", "rocm", "tpu"."""
    return (ctx.platforms or ctx.module_context.platforms)[0]
