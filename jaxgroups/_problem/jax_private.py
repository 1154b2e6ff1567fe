"""Every use of JAX beyond its public API; `tests/core/test_primitive.py` fails when one moves."""

from collections.abc import Callable
from typing import Any

import jax
from jax._src.interpreters import mlir as private_mlir


def lowering_rule(primitive: Any, platform: str) -> Callable:
    """The rule that lowers `primitive` on `platform` now."""
    specific = private_mlir._platform_specific_lowerings[platform].get(primitive)
    return (specific or private_mlir._lowerings[primitive]).rule


def settings_of_lax() -> tuple[Any, ...]:
    """The settings of JAX that ``lax.conv_general_dilated`` reads, as they are in this context."""
    config: Any = jax.config
    return config.jax_default_matmul_precision, config.jax_enable_x64


def partitioned(ctx: Any) -> bool:
    """Whether XLA will split the program that is being lowered over several devices.

    False inside a shard_map over all mesh axes: its body is already the program of one device.
    """
    context = ctx.module_context.axis_context
    mesh = getattr(context, "mesh", None)
    if mesh is None:
        return (getattr(context, "num_devices", None) or 1) > 1
    return mesh.size > 1 and set(context.manual_axes) != set(mesh.axis_names)


def exported(ctx: Any) -> bool:
    """Whether ``jax.export`` lowers this program."""
    return ctx.module_context.lowering_parameters.for_export


def sharded_by_type(aval: Any) -> bool:
    """Whether the type of an operand names mesh axes (explicit sharding)."""
    spec = getattr(getattr(aval, "sharding", None), "spec", None)
    return bool(spec) and any(axis is not None for axis in spec)


def varies_over_devices(aval: Any) -> bool:
    """Whether a value differs from device to device inside a shard_map, by its type."""
    manual = getattr(aval, "mat", None)
    return bool(
        getattr(aval, "vma", None)
        or getattr(manual, "varying", None)
        or getattr(manual, "unreduced", None)
        or getattr(manual, "reduced", None)
    )


def platform(ctx: Any) -> str:
    """The one platform that is lowered for: "cpu", "cuda", "rocm", "tpu"."""
    return (ctx.platforms or ctx.module_context.platforms)[0]
