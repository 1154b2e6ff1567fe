"""A convolution in a program for several devices: each device computes a convolution of its part.

`split_p` becomes a custom call that carries its parameters as text. Shardy propagates shardings
through it by the factors of the convolution (see `factors`). When XLA splits the program, `_split`
chooses the factors to split and returns the program of one part, in which the choice of the
implementation is made for the part's own problem. Parts of a sum are added up by an all-reduce. Of
a spatial axis the neighbours exchange the border.

The text is the same in every process, so that JAX's compilation cache finds such programs again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import ArrayMapping, CompoundFactor, SdyShardingRule
from jax.extend import core
from jax.interpreters import mlir

from jaxgroups import _native as native
from jaxgroups._problem import jax_private as private
from jaxgroups._problem import mesh_axes
from jaxgroups._problem.factors import Axis, Factors, factors_of
from jaxgroups._problem.halo import Halo, halo
from jaxgroups._problem.problem import ConvProblem, widened
from jaxgroups._problem.xla_conv import LAX_P
from jaxgroups._types import Ints

TARGET = "jaxgroups_partitioned_conv"
Compute = Callable[..., jax.Array]


@dataclass(frozen=True)
class Part:
    """What a custom call computes: parameters of lax's primitive, and the function that does it.

    Attributes:
      compute: ``(lhs, rhs, bias, params)`` -> the result.
    """

    compute: Compute
    params: tuple[tuple[str, Any], ...]


split_p = core.Primitive("jaxgroups_partitioned_conv")
split_p.def_effectful_abstract_eval(
    lambda lhs, rhs, *bias, key, **params: LAX_P.abstract_eval(lhs, rhs, **params)
)
_known: dict[str, Part] = {}


def key_of(part: Part) -> str:
    """The text by which a custom call names its part.

    It is all that a compilation cache sees of the part, so it also tells which kernels there are.
    """
    key = f"{part.params!r}, kernels {native.version()}"
    _known.setdefault(key, part)
    return key


def takes(problem: ConvProblem | None, out: Ints) -> bool:
    """Whether a problem can be split: its sizes are known, and no array is empty."""
    return problem is not None and 0 not in (*problem.lhs_shape, *problem.rhs_shape, *out)


def _lower(ctx: Any, *operands: Any, key: str, **params: Any) -> Any:
    lhs, rhs, *_ = ctx.avals_in
    factors = factors_of(_problem(lhs, rhs, params), ctx.avals_out[0].shape)
    arrays = (factors.lhs, factors.rhs, factors.bias)[: len(operands)]
    return private.split_call(ctx, TARGET, operands, key, _rule(factors, arrays))


mlir.register_lowering(split_p, _lower, platform="cpu")


def _problem(lhs: Any, rhs: Any, params: dict[str, Any]) -> ConvProblem:
    problem = ConvProblem.of(lhs, rhs, params)
    if problem is None:
        raise ValueError("a convolution of symbolic size cannot be split here")
    return problem


def _rule(factors: Factors, arrays: tuple[tuple[Axis, ...], ...]) -> SdyShardingRule:
    """The factors as Shardy reads them."""
    every = [axis for axes in (*arrays, factors.out) for axis in axes]
    used = tuple(dict.fromkeys(f for axis in every for f in axis))
    alone = {axis[0] for axis in every if len(axis) == 1}
    moving = (f for f in used if f.startswith("s") and f not in factors.summed)
    return SdyShardingRule(
        tuple(map(_mapping, arrays)),
        (_mapping(factors.out),),
        reduction_factors=factors.summed,
        need_replication_factors=tuple(f for f in used if f.startswith("k")),
        permutation_factors=tuple(moving),
        **{f: factors.sizes[f] for f in used if f not in alone},
    )


def _mapping(axes: tuple[Axis, ...]) -> ArrayMapping:
    return ArrayMapping(*(CompoundFactor(*axis) if axis[1:] else axis[0] for axis in axes))


def _split(key: str, devices: int, arrays: list[Any], tiles: list[mesh_axes.Tiles]) -> Any:
    """The mesh, the spec of each array, and the program of a part (see `register_partitioner`)."""
    part = _known[key]
    params = dict(part.params)
    lhs, rhs, *_ = (jax.ShapeDtypeStruct(*array) for array in arrays)
    out, dtype = arrays[-1]
    problem = _problem(lhs, rhs, params)
    factors = factors_of(problem, out)
    axes = (factors.lhs, factors.rhs, *[factors.bias] * (len(arrays) == 4), factors.out)
    mesh, specs = mesh_axes.mesh_of(devices, tiles)
    operands = [
        mesh_axes.Operand(of, spec, prod(shape))
        for of, spec, (shape, _) in zip(axes, specs, arrays, strict=True)
    ]
    operands[-1] = replace(operands[-1], result=True)
    chosen = mesh_axes.split(factors, mesh, operands)
    halos = {}
    for i in range(len(out) - 2):
        if f"s{i}" in chosen:
            found = _halo(problem, out, i, prod(mesh[a] for a in chosen[f"s{i}"]))
            if found is None:
                del chosen[f"s{i}"]
            else:
                halos[i] = found
    program = _Program(part, chosen, mesh, halos, factors, jnp.dtype(dtype))
    return mesh, [mesh_axes.spec_of(of, chosen) for of in axes], program


def _halo(problem: ConvProblem, out: Ints, i: int, parts: int) -> Halo | None:
    """The halo of spatial axis `i` in so many parts."""
    left, right, result = (numbers[2 + i] for numbers in problem.dimension_numbers)
    window, length = problem.rhs_shape[right], out[result]
    of_window, of_result = (
        (window, problem.rhs_dilation[i]),
        (length, problem.window_strides[i]),
    )
    (count, step), (other, other_step) = (
        (of_result, of_window) if length >= window else (of_window, of_result)
    )
    return halo(
        parts,
        problem.lhs_shape[left] // parts,
        problem.lhs_dilation[i],
        count // parts,
        step,
        other,
        other_step,
        problem.padding[i][0],
    )


@dataclass(frozen=True)
class _Program:
    """The computation of one device, of its parts of the operands."""

    part: Part
    chosen: dict[str, Ints]
    mesh: Ints
    halos: dict[int, Halo]
    factors: Factors
    result: Any

    def __call__(self, lhs: jax.Array, rhs: jax.Array, bias: Any = None) -> jax.Array:
        params = dict(self.part.params)
        groups = prod(self.mesh[a] for a in self.chosen.get("g", ()))
        for name in ("feature_group_count", "batch_group_count"):
            params[name] = max(1, params[name] // groups)
        padding = list(params["padding"])
        spatial = params["dimension_numbers"].lhs_spec[2:]
        for i, found in self.halos.items():
            lhs = _exchanged(lhs, spatial[i], found, self.mesh, self.chosen[f"s{i}"])
            padding[i] = found.padding
        params["padding"] = tuple(padding)
        summed = tuple(name for f in self.factors.summed for name in self._names(f))
        if not summed:
            return self.part.compute(lhs, rhs, bias, params)
        params = widened(params, self.result)
        y = lax.psum(self.part.compute(lhs, rhs, None, params), summed)
        if bias is not None:
            axis = params["dimension_numbers"].out_spec[1]
            y = y + lax.broadcast_in_dim(bias.astype(y.dtype), y.shape, (axis,))
        return y.astype(self.result)

    def _names(self, factor: str) -> tuple[str, ...]:
        return tuple(map(str, self.chosen.get(factor, ())))


def _exchanged(x: jax.Array, axis: int, found: Halo, mesh: Ints, split: Ints) -> jax.Array:
    """The part with what its neighbours hand over; zeros at the ends, as the padding has.

    `split`: the axes of the mesh that split `axis`, the outer one first.
    """
    size = x.shape[axis]
    devices = np.arange(prod(mesh)).reshape(mesh)
    parts = np.moveaxis(devices, split, range(len(split)))
    parts = parts.reshape(prod(mesh[a] for a in split), -1)  # one row for each part
    before, after = parts[:-1].ravel().tolist(), parts[1:].ravel().tolist()
    names = tuple(map(str, range(len(mesh))))
    pieces = [x]
    if found.left:
        last = lax.slice_in_dim(x, size - found.left, size, axis=axis)
        pieces.insert(0, lax.ppermute(last, names, list(zip(before, after, strict=True))))
    if found.right:
        first = lax.slice_in_dim(x, 0, found.right, axis=axis)
        pieces.append(lax.ppermute(first, names, list(zip(after, before, strict=True))))
    x = lax.concatenate(pieces, axis) if pieces[1:] else x
    if found.start is None:
        return x
    part = 0
    for a in split:
        part = part * mesh[a] + lax.axis_index(str(a))
    return lax.dynamic_slice_in_dim(x, part * found.shift + found.start, found.length, axis)


private.register_partitioner(TARGET, _split)
