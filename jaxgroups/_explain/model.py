"""A whole Flax model explained: one row a layer, and totals that other counters agree with."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from jaxgroups._explain import costs, measure, table
from jaxgroups._explain.features import Feature
from jaxgroups._explain.layer_kinds import Linear, kind, layer_name
from jaxgroups._explain.program import Outside, outside
from jaxgroups._explain.record import Call, record
from jaxgroups._explain.rows import LayerCost, OtherCost, Totals, check_order
from jaxgroups._lowerings import dispatch
from jaxgroups._op import accelerate
from jaxgroups._op.lax_api import conv_general_dilated
from jaxgroups._problem.problem import problem_of
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._spec.ungrouped import ungrouped


@dataclass(frozen=True, repr=False)
class ModelExplanation(table.Shown):
    """Answer of `explain` for a model; ``str()`` is a table, `as_dict` for programs."""

    model: str
    platform: str
    layers: tuple[LayerCost, ...]  # as they run
    others: tuple[OtherCost, ...]
    totals: Totals

    def sorted(self, by: str = "cost") -> tuple[LayerCost, ...]:
        """The layers, largest first by ``cost`` (multiply-adds), ``parameters`` or ``bytes``.

        ``order`` leaves them as they run.
        """
        check_order(by)
        key: Any = {
            "cost": lambda row: (-row.macs, -row.operations),
            "parameters": lambda row: -row.parameters,
            "bytes": lambda row: -row.bytes_moved,
            "order": lambda row: 0,
        }[by]
        return tuple(sorted(self.layers, key=key))

    def as_dict(self, by: str = "cost") -> dict[str, Any]:
        """The fields by name, ready for JSON, the layers sorted."""
        return {
            "kind": "model",
            "model": self.model,
            "platform": self.platform,
            "sorted_by": by,
            "layers": [asdict(row) for row in self.sorted(by)],
            "others": [asdict(row) for row in self.others],
            "totals": asdict(self.totals),
        }

    def rendered(self, by: str = "cost") -> table.Report:
        """The table sorted, for rich to print."""
        return table.model(self.model, self.sorted(by), self.others, self.totals)

    def __repr__(self) -> str:
        layers, totals = len(self.layers), self.totals
        return (
            f"<ModelExplanation {self.model}: {layers} layer{'' if layers == 1 else 's'}, "
            f"{totals.parameters:,} parameters, {table.short(totals.macs)} multiply-adds>"
        )


def model(
    what: Any,
    example: Any,
    *,
    platform: str | None = None,
    implementation: str | None = None,
    call: Mapping[str, Any] | None = None,
    timed: bool = False,
) -> ModelExplanation:
    """The explanation of a Flax model; arguments as in `jaxgroups.explain`."""
    if timed:
        measure.check_platform(platform)
    platform = platform or jax.default_backend()
    dispatch.check_name(implementation)
    recording = record(what, example, call or {})
    found = outside(recording.program)
    time_once = cache(measure.measured)
    rows: dict[tuple[Any, ...], LayerCost] = {}
    for number, one in enumerate(recording.calls):
        row = _row(one, found.runs[number], found.within[number], platform, implementation)
        if timed and isinstance(one.spec, ConvSpec):
            row = _timed(row, one.spec, time_once)
        key = (row.path, one.spec)
        rows[key] = _sum(rows[key], row) if key in rows else row
    layers = tuple(rows.values())
    others = tuple(
        OtherCost(name, count, found.macs[name], found.inside[name])
        for name, count in sorted(found.counts.items())
    )
    totals = _totals(layers, found, recording.parameters)
    return ModelExplanation(recording.name, platform, layers, others, totals)


def _row(one: Call, runs: int, within: int, platform: str, implementation: str | None) -> LayerCost:
    """The row of a call; `within` are its multiply-adds in the program, of all runs."""
    spec, layer = one.spec, one.layer
    if isinstance(spec, Feature):
        return _feature_row(one, spec, runs, within)
    shared = {"path": one.path, "layer": layer_name(layer), "calls": runs}
    if isinstance(spec, Linear):
        size = jnp.dtype(spec.dtype).itemsize
        touched = spec.rows * (spec.in_channels + spec.out_channels) + spec.parameters
        return LayerCost(
            **shared,
            spec=None,
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            groups=1,
            kernel_size=(),
            parameters=spec.parameters,
            parameters_groups1=spec.parameters,
            macs=spec.macs * runs,
            macs_inside=spec.macs * runs,
            macs_groups1=spec.macs * runs,
            bytes_moved=touched * size * runs,
            operations=2 * spec.macs * runs,
            output_shape=spec.output_shape,
        )
    ordinary = ungrouped(spec)
    name, refused, note = _implementation(layer, spec, platform, implementation)
    return LayerCost(
        **shared,
        spec=str(spec),
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        groups=spec.groups,
        kernel_size=spec.kernel_size,
        parameters=spec.parameters,
        parameters_groups1=ordinary.parameters,
        macs=spec.macs * runs,
        macs_inside=costs.macs_inside(spec) * runs,
        macs_groups1=ordinary.macs * runs,
        bytes_moved=costs.bytes_moved(spec) * runs,
        operations=2 * spec.macs * runs,
        output_shape=spec.output_shape,
        implementation=name,
        refused=refused,
        note=note,
    )


def _timed(row: LayerCost, spec: ConvSpec, time: Callable[..., measure.Measured]) -> LayerCost:
    """The row with the time of its calls; `time` is `measure.measured`, once for each spec."""
    flops, moved = 2 * row.macs_inside // row.calls, row.bytes_moved // row.calls
    found = time(spec, row.implementation, flops, moved)
    limit = found.limit_seconds
    return replace(
        row,
        seconds=row.calls * found.seconds,
        limit_seconds=None if limit is None else row.calls * limit,
    )


def _feature_row(one: Call, feature: Feature, runs: int, within: int) -> LayerCost:
    macs = within if feature.operations is None else 0
    return LayerCost(
        path=one.path,
        layer=layer_name(one.layer),
        calls=runs,
        spec=None,
        in_channels=feature.in_channels,
        out_channels=feature.out_channels,
        groups=1,
        kernel_size=feature.kernel_size,
        parameters=feature.parameters,
        parameters_groups1=feature.parameters,
        macs=macs,
        macs_inside=macs,
        macs_groups1=macs,
        bytes_moved=feature.bytes_moved * runs,
        operations=2 * macs if feature.operations is None else feature.operations * runs,
        output_shape=feature.output,
    )


def _implementation(
    layer: Any, spec: ConvSpec, platform: str, implementation: str | None
) -> tuple[str, dict[str, str], str]:
    """The layer's implementation, why not the others, and a note for Flax's layers.

    Flax's layers call lax, which has jaxgroups' implementations on CPU while `accelerate` is on.
    """
    ours = kind(layer) == "ours"
    names = ("precision", "preferred_element_type")
    how = {name: getattr(layer, name, None) for name in names}
    asked = implementation or (layer.implementation if ours else None)
    chosen, _, refused = dispatch.choose(problem_of(spec, **how), asked, platform)
    given = getattr(layer, "conv_general_dilated", None) is conv_general_dilated
    if ours or given or (platform == "cpu" and accelerate.active()):
        return chosen.name, dict(refused), ""
    return "xla", {}, f"a layer of Flax; as a layer of jaxgroups: {chosen.name}"


def _sum(one: LayerCost, more: LayerCost) -> LayerCost:
    counts = ["calls", "macs", "macs_inside", "macs_groups1", "bytes_moved", "operations"]
    counts += [name for name in ("seconds", "limit_seconds") if getattr(one, name) is not None]
    return replace(one, **{name: getattr(one, name) + getattr(more, name) for name in counts})


def _totals(layers: tuple[LayerCost, ...], found: Outside, parameters: int) -> Totals:
    held = {row.path: row for row in layers}.values()  # a layer called with two shapes counts once
    macs = sum(row.macs for row in layers) + found.macs.total()
    inside = sum(row.macs_inside for row in layers) + found.inside.total()
    listed = sum(row.parameters for row in held)
    return Totals(
        parameters=parameters,
        parameters_listed=listed,
        parameters_groups1=parameters - listed + sum(row.parameters_groups1 for row in held),
        macs=macs,
        macs_groups1=sum(row.macs_groups1 for row in layers) + found.macs.total(),
        flops=2 * macs,
        flops_inside=2 * inside,
        bytes_moved=sum(row.bytes_moved for row in layers),
        operations=sum(row.operations for row in layers) + 2 * found.macs.total(),
    )
