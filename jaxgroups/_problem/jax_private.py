"""Every use of JAX beyond its public API.

`tests/core/test_primitive.py`, `tests/core/test_registries.py`, `tests/core/test_partition.py`,
`tests/native/test_keep_memory.py` and, of FFI handlers, `tests/native/test_native_limit.py` fail
when one moves.
"""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
from jax._src import checkify, core, xla_bridge
from jax._src.core import Var
from jax._src.custom_partitioning_sharding_rule import sdy_sharding_rule_to_mlir
from jax._src.interpreters import mlir as private_mlir
from jax._src.interpreters import partial_eval as pe
from jax._src.lib import xla_client as _xla_client  # pyright: ignore[reportPrivateImportUsage]
from jax._src.sharding_impls import SPMDAxisContext
from jaxlib import xla_client


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

    It splits our own calls by our rule (see `splittable`), and all other operations by its own.
    False inside a shard_map over all mesh axes: its body is already the program of one device.
    """
    context = ctx.module_context.axis_context
    mesh = getattr(context, "mesh", None)
    if mesh is None:
        return (getattr(context, "num_devices", None) or 1) > 1
    return mesh.size > 1 and set(context.manual_axes) != set(mesh.axis_names)


def backends_started() -> bool:
    """Whether JAX has started a backend, with its threads, in this process."""
    return xla_bridge.backends_are_initialized()


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


def register_on_cpu(target: str, function: Any) -> None:
    """Register an FFI handler with XLA's CPU platform at once, whether its backend is up or not.

    ``jax.ffi.register_ffi_target`` alone waits for the backend, which then fails to start if the
    handler is for another version of XLA.

    Raises:
      RuntimeError: the handler is for another version of XLA.
    """
    client: Any = _xla_client
    client.register_custom_call_handler("cpu", client._xla.register_custom_call_target)
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(function), platform="cpu")


def check_for_nans(primitive: Any) -> None:
    """Let checkify's ``float_checks`` look for NaNs in the results of `primitive`."""
    checkify.error_checks[primitive] = partial(checkify.nan_error_check, primitive)


def ask_policy(primitive: Any, asked: Callable[..., tuple[Any, tuple[Any, ...], dict]]) -> None:
    """Let checkpoint policies decide about another primitive in the place of `primitive`.

    Args:
      asked: ``(*avals, **params)`` -> the primitive, types and parameters that a policy gets.
    """
    pe.partial_eval_jaxpr_custom_rules[primitive] = partial(_by_policy, asked)


def _by_policy(
    asked: Callable[..., tuple[Any, tuple[Any, ...], dict]],
    policy: Callable[..., Any],
    unknown: Sequence[bool],
    instantiated: Sequence[bool],
    eqn: Any,
) -> tuple[Any, Any, list[bool], list[bool], list[Any]]:
    """JAX's partial evaluation of an equation without a rule, with `asked` before the policy.

    Returns: the known equation, the staged one, whether the result is unknown, whether it is
    instantiated, and residuals.
    """
    read = [
        v for v, here in zip(eqn.invars, instantiated, strict=True) if type(v) is Var and not here
    ]
    if any(unknown):
        return None, eqn, [True], [True], read
    primitive, avals, params = asked(*(v.aval for v in eqn.invars), **eqn.params)
    case = pe.ensure_enum(policy(primitive, *avals, **params))
    if isinstance(case, pe.SaveableType):
        return eqn, None, [False], [False], []
    if isinstance(case, pe.RecomputeType):
        return eqn, eqn, [False], [True], read
    ours, (result,) = eqn.primitive, eqn.outvars

    def offload(*operands: Any) -> tuple[Any, Any]:
        y = ours.bind(*operands, **eqn.params)
        return y, jax.device_put(y, core.mem_kind_to_space(case.dst))

    known = jax.make_jaxpr(offload)(*(v.aval for v in eqn.invars))
    away = Var(known.out_avals[1])
    back = jax.make_jaxpr(lambda y: jax.device_put(y, core.mem_kind_to_space(case.src)))(away.aval)
    return (
        _call(known, eqn.invars, [result, away], eqn),
        _call(back, [away], [result], eqn),
        [False],
        [True],
        [away],
    )


def _call(jaxpr: Any, ins: list[Any], outs: list[Any], eqn: Any) -> Any:
    """An equation that calls a jaxpr, at the place in the program where `eqn` is."""
    params = {"call_jaxpr": jaxpr}
    return core.new_jaxpr_eqn(
        ins, outs, core.closed_call_p, params, set(), eqn.source_info, eqn.ctx
    )


def sparsify_as(primitive: Any, function: Callable[..., Any]) -> None:
    """Let ``sparsify`` see `function`, of the operands and parameters, in place of `primitive`."""
    from jax.experimental.sparse import transform

    def rule(env: Any, *values: Any, **params: Any) -> Any:
        return transform.sparsify_raw(partial(function, **params))(env, *values)[0]

    transform.sparse_rules_bcoo[primitive] = rule


def roofline_as(primitive: Any, other: Any, seen: Callable[..., tuple[Any, Any, dict]]) -> None:
    """Let roofline count `primitive` as the primitive `other` of two operands.

    Args:
      seen: ``(*avals, **params)`` -> the two types and the parameters of `other`.
    """
    # of this name the package has a function as well
    roofline: Any = importlib.import_module("jax.experimental.roofline.roofline")
    by_other = roofline._rooflines[other]

    def rule(ctx: Any, *shapes: Any, **params: Any) -> Any:
        lhs, rhs, params = seen(*ctx.avals_in, **params)
        found = by_other(dataclasses.replace(ctx, avals_in=(lhs, rhs)), *shapes[:2], **params)
        more = roofline.RooflineShape.total_bytes(ctx.avals_in[2:])
        return found + roofline.RooflineResult(unfused_hbm_bytes=more)

    roofline.register_roofline(primitive)(rule)


def splittable(ctx: Any) -> bool:
    """Whether a call that tells XLA how to split it may stand in the program that is lowered.

    Not in an exported program, which must run without this package, and not inside a shard_map
    over some of the mesh axes. The older partitioner, GSPMD, does not read the sharding rule.
    """
    if (getattr(ctx.module_context.axis_context, "num_devices", None) or 1) == 1:
        return False
    config: Any = jax.config
    return config.jax_use_shardy_partitioner and not exported(ctx)


def register_partitioner(target: str, partition: Callable) -> None:
    """Let ``partition`` split the custom calls of `target` that `split_call` emits.

    Args:
      partition: ``(key, devices, arrays, tiles) -> (mesh, specs, program)``. The key is that of the
        call. `arrays` are shapes and dtypes, and `tiles` the shardings, of the operands and, last,
        of the result: for each the number of parts of its axes, and the devices in the order of the
        parts. It returns the sizes of a mesh, the axes of the mesh that split each axis of each
        array, and a function of the operands' parts. In it axis ``i`` of the mesh is named
        ``str(i)``.
    """

    def split(shapes: Any, shardings: Any, shape: Any, sharding: Any, key: bytes) -> Any:
        arrays = [(s.dimensions(), s.numpy_dtype()) for s in (*shapes, shape)]
        found = (*shardings, sharding)
        devices = max(1, *(s.num_devices() for s in found))
        tiles = [_tiles(s, len(dims)) for s, (dims, _) in zip(found, arrays, strict=True)]
        sizes, specs, program = partition(key.decode(), devices, arrays, tiles)
        names = tuple(map(str, range(len(sizes))))
        mesh: Any = jax.sharding.AbstractMesh(sizes, names)
        *given, result = (_hlo_sharding(mesh, spec) for spec in specs)
        *parts, part = (
            jax.ShapeDtypeStruct(_part_of(dims, spec, sizes), dtype)
            for (dims, dtype), spec in zip(arrays, specs, strict=True)
        )
        axis_env = list(zip(names, sizes, strict=True))
        # every dtype is given, and none is to be narrowed; a mesh that is set is not that of a part
        with (
            jax.enable_x64(True),
            jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())),
            core.extend_axis_env_nd(axis_env),
        ):
            closed = jax.make_jaxpr(program, axis_env=axis_env)(*parts)
            (out,) = closed.out_avals
            if (out.shape, out.dtype) != (part.shape, part.dtype):
                raise ValueError(f"{out} was computed of a part {part}: {key.decode()}")
            module = private_mlir.build_mlir_module_helper(
                closed,
                name="jaxgroups_part",
                platforms=("cpu",),
                backend=None,
                axis_context=SPMDAxisContext(mesh, frozenset(names)),
            )
        return private_mlir.module_to_bytecode(module), given, result

    def propagate(*_: Any) -> Any:
        raise NotImplementedError(f"{target} is propagated by Shardy alone")

    xla_client.register_custom_call_partitioner(target, propagate, split, propagate, True)


def _tiles(sharding: Any, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The number of parts of each axis, and the devices in the order of the parts."""
    if not sharding.is_tiled():
        return (1,) * rank, (0,)
    parts = tuple(sharding.tile_assignment_dimensions())[:rank]
    return parts, tuple(sharding.tile_assignment_devices())


def _hlo_sharding(mesh: Any, spec: Any) -> Any:
    """XLA's form of the mesh axes that split each axis of an array."""
    names = (tuple(map(str, axes)) for axes in spec)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*names))
    return sharding._to_xla_hlo_sharding(len(spec))


def _part_of(shape: Any, spec: Any, sizes: Any) -> tuple[int, ...]:
    """The shape of a part."""
    return tuple(n // prod(sizes[a] for a in axes) for n, axes in zip(shape, spec, strict=True))


def split_call(ctx: Any, target: str, operands: Any, key: str, rule: Any) -> Any:
    """The custom call `target` of IR values, which the partitioner registered for it replaces.

    `rule`, a ``jax.experimental.custom_partitioning.SdyShardingRule``, tells Shardy which axes of
    operands and result belong together.
    """
    (aval,) = ctx.avals_out
    result = private_mlir.aval_to_ir_type(ctx.module_context, aval)
    call = private_mlir.custom_call(
        target,
        result_types=[result],
        operands=operands,
        backend_config=key,
        extra_attributes={
            "sdy.sharding_rule": sdy_sharding_rule_to_mlir(
                rule, [operand.type for operand in operands], [result]
            )
        },
    )
    return [private_mlir.lower_with_sharding_in_types(ctx, call.result, aval)]
