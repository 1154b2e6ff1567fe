"""What a convolution holds and costs, and which lowering computes it here."""

from dataclasses import asdict, dataclass

import jax

from jaxgroups import _dispatch as dispatch
from jaxgroups._problem import problem_of
from jaxgroups._spec import ConvSpec


@dataclass(frozen=True)
class Explanation:
    """Answer of `explain`; ``str()`` of it is for people, `as_dict` for programs."""

    spec: str
    weight_shape: tuple[int, ...]
    parameters: int
    parameters_groups1: int
    output_shape: tuple[int, ...] | None
    flops: int | None
    platform: str
    implementation: str | None
    summary: str | None
    refused: dict[str, str]

    def as_dict(self) -> dict:
        """The fields by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            self.spec,
            f"  weight      {self.weight_shape}",
            f"  parameters  {self.parameters:,} (with groups=1: {self.parameters_groups1:,})",
        ]
        if self.implementation is None:
            return "\n".join(
                [*lines, "  add size= (and batch=) to see the output and the lowering"]
            )
        lines += [
            f"  output      {self.output_shape}",
            f"  FLOPs       {self.flops:,}",
            f"  lowering    {self.implementation} on {self.platform}: {self.summary}",
        ]
        lines += [f"  not {name:<8}{reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


def explain(
    spec: "ConvSpec | str", *, platform: str | None = None, implementation: str | None = None
) -> Explanation:
    """Parameters, FLOPs and the lowering of a convolution, with the reason for every refusal.

    Args:
      spec: a `ConvSpec` or its spelling, ``"conv2d in=4 out=8 kernel=1 groups=2 size=1"``.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; by default the one that jax runs on.
      implementation: ask for one lowering, as in `conv2d`.

    Raises:
      ValueError: a text that spells no convolution, or an implementation that does not take it.
    """
    spec = ConvSpec.parse(spec) if isinstance(spec, str) else spec
    platform = platform or jax.default_backend()
    known = spec.size is not None
    dispatch.check_name(implementation)
    chosen, refused = None, ()
    if known:
        chosen, refused = dispatch.choose(problem_of(spec), implementation, platform)
    ordinary = spec.weights * spec.groups + (spec.out_channels if spec.bias else 0)
    return Explanation(
        spec=str(spec),
        weight_shape=spec.weight_shape,
        parameters=spec.parameters,
        parameters_groups1=ordinary,
        output_shape=spec.output_shape if known else None,
        flops=spec.flops if known else None,
        platform=platform,
        implementation=chosen.name if chosen else None,
        summary=chosen.summary if chosen else None,
        refused=dict(refused),
    )
