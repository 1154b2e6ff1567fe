"""One convolution explained: parameters, cost and chosen implementation."""

from dataclasses import asdict, dataclass
from typing import Any

import jax

from jaxgroups import _console
from jaxgroups._explain import costs, measure
from jaxgroups._lowerings import dispatch
from jaxgroups._problem.problem import problem_of
from jaxgroups._spec.spec import ConvSpec
from jaxgroups._spec.ungrouped import ungrouped


@dataclass(frozen=True, repr=False)
class Explanation:
    """Result of `explain` for one convolution; ``str()`` is for people, `as_dict` for programs.

    Fields that depend on the input are None while the input is unknown. ``flops`` counts padding
    as data, as torch's flop counter does. ``flops_inside`` leaves padding out, as XLA's cost
    analysis does. ``bytes_moved`` counts input, weight, bias and output once each. ``seconds`` is
    the time of a call if it was measured, and ``limit_seconds`` the shortest that the measured
    limits of the machine allow.
    """

    spec: str
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    weight_shape: tuple[int, ...]
    parameters: int
    parameters_groups1: int
    output_shape: tuple[int, ...] | None
    macs: int | None
    macs_groups1: int | None
    flops: int | None
    flops_inside: int | None
    bytes_moved: int | None
    platform: str
    implementation: str | None
    summary: str | None
    refused: dict[str, str]
    seconds: float | None = None
    limit_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {"kind": "convolution"} | asdict(self)

    def __str__(self) -> str:
        lines = [
            self.spec,
            f"  weight         {self.weight_shape}",
            f"  parameters     {self.parameters:,} (with groups=1: {self.parameters_groups1:,})",
        ]
        if self.implementation is None:
            return "\n".join(
                [*lines, "  add size= (and batch=) to see the output and the implementation"]
            )
        lines += [
            f"  output         {self.output_shape}",
            f"  multiply-adds  {self.macs:,} (with groups=1: {self.macs_groups1:,})",
            f"  FLOPs          {self.flops:,}, without those on padding {self.flops_inside:,}",
            f"  bytes          {self.bytes_moved:,}",
            f"  implementation {self.implementation} on {self.platform}: {self.summary}",
        ]
        if self.seconds is not None:
            limit = self.limit_seconds
            share = measure.share(self.seconds, limit)
            least = f"; this machine allows {1e3 * limit:.3g} ms ({share})" if limit else ""
            lines.append(f"  time           {1e3 * self.seconds:.3g} ms{least}")
        if self.implementation == "native":
            lines.append(
                "                 which XLA's cost_analysis() counts as -1: take the FLOPs above"
            )
        lines += [f"  not {name:<11}{reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        macs = "" if self.macs is None else f", {self.macs:,} multiply-adds"
        chosen = "" if self.implementation is None else f", {self.implementation}"
        return f"<Explanation {self.spec}: {self.parameters:,} parameters{macs}{chosen}>"

    def _repr_html_(self) -> str:
        return _console.html(str(self))


def one(
    spec: ConvSpec,
    platform: str | None,
    implementation: str | None,
    timed: bool = False,
) -> Explanation:
    """The explanation of a spec.

    Raises:
      ValueError: `timed`, and the platform is not the default one, or the input size is unknown.
    """
    known = spec.size is not None
    if timed:
        measure.check_platform(platform)
    if timed and not known:
        raise ValueError(f"measure=True needs the size of the input: add size= to {spec}")
    platform = platform or jax.default_backend()
    dispatch.check_name(implementation)
    choice = dispatch.choose(problem_of(spec), implementation, platform) if known else None
    ordinary = ungrouped(spec)
    flops_inside = moved = time = None
    if known:
        flops_inside, moved = 2 * costs.macs_inside(spec), costs.bytes_moved(spec)
        time = measure.measured(spec, implementation, flops_inside, moved) if timed else None
    return Explanation(
        spec=str(spec),
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        groups=spec.groups,
        kernel_size=spec.kernel_size,
        weight_shape=spec.weight_shape,
        parameters=spec.parameters,
        parameters_groups1=ordinary.parameters,
        output_shape=spec.output_shape if known else None,
        macs=spec.macs if known else None,
        macs_groups1=ordinary.macs if known else None,
        flops=spec.flops if known else None,
        flops_inside=flops_inside,
        bytes_moved=moved,
        platform=platform,
        implementation=choice.lowering.name if choice else None,
        summary=choice.lowering.summary if choice else None,
        refused=dict(choice.refusals) if choice else {},
        seconds=time.seconds if time else None,
        limit_seconds=time.limit_seconds if time else None,
    )
