"""What was lowered: which implementation each convolution got, where, and why.

Every lowering is logged by the logger ``jaxgroups`` at level INFO; ``JAXGROUPS_LOG=1`` prints these
lines on stderr. `Acceleration.report` lists them. An exported program that loses the kernels is
logged at level WARNING, once.
"""

import logging
import os
import warnings
import weakref
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jax.extend import source_info_util

from jaxgroups import _console
from jaxgroups import _native as native
from jaxgroups._lowerings import dispatch
from jaxgroups._lowerings.views import Forward, View
from jaxgroups._problem import jax_private as private
from jaxgroups._problem.problem import ConvProblem
from jaxgroups._spec.descriptor import format_spec

LOGGER = logging.getLogger("jaxgroups")
EXPORTED = (
    "jaxgroups: the exported program computes its convolutions without the compiled kernels, with "
    "operations of XLA alone, which can be slower on a CPU; jax.jit of the function itself has the "
    "kernels"
)
_PACKAGE = str(Path(__file__).parents[1])
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Lowered:
    """One convolution of a compiled program.

    Attributes:
      convolution: its descriptor; that of the convolution whose weight gradient this is.
      implementation: what computes it.
      platform: "cpu", "cuda", ...
      reasons: why not another implementation, one text each; empty for the first choice.
      source: file, line, column and function that traced it first; "" where unknown, as for a call
        outside of ``jax.jit``, whose compiled function all such calls share.
    """

    convolution: str
    implementation: str
    platform: str
    reasons: tuple[str, ...]
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        source = f" at {self.source}" if self.source else ""
        reasons = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return f"{self.implementation} on {self.platform}: {self.convolution}{source}{reasons}"


@dataclass(frozen=True, repr=False)
class LoweringReport:
    """Result of `Acceleration.report`; ``str()`` is for people, `as_dict` for programs."""

    convolutions: tuple[Lowered, ...]

    def as_dict(self) -> dict[str, Any]:
        """The convolutions with their fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        count = len(self.convolutions)
        if not count:
            return "no convolution has been lowered yet: call the model, then ask again"
        lines = [f"{count} convolution{'' if count == 1 else 's'} lowered, equal ones listed once"]
        for one in self.convolutions:
            lines.append(f"  {one.implementation:<7} {one.convolution}")
            lines += [f"          {text}" for text in (one.source, *one.reasons) if text]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<LoweringReport {len(self.convolutions)} convolutions>"

    def _repr_html_(self) -> str:
        return _console.html(str(self))


Record = dict[Lowered, Lowered]
_records: list[Record] = []


def start(record: Record) -> None:
    """Note every lowering in `record`, equal ones once, until `stop`."""
    _records.append(record)


def stop(record: Record) -> None:
    """End `start`."""
    _records[:] = [other for other in _records if other is not record]


def note(
    ctx: Any,
    platform: str,
    implementation: str | None,
    problem: ConvProblem | None,
    choice: dispatch.Choice | None = None,
    epilogue: str = "",
    packed: bool = False,
) -> None:
    """Log and record one convolution while it is lowered.

    Args:
      ctx: JAX's context of the lowering.
      platform: "cpu", "cuda", ...
      implementation: the one that was asked for.
      problem: None where a size is symbolic.
      choice: what was chosen; None for XLA's own convolution without a choice.
      epilogue: what the same call computes after the convolution.
      packed: whether the weights are packed already.
    """
    if private.exported(ctx) and _loses_kernels(platform, implementation, problem, choice):
        _warn_once(ctx)
    if not _records and not LOGGER.isEnabledFor(logging.INFO):
        return
    lowered = Lowered(
        _descriptor(ctx, problem, choice.view if choice else None)
        + (f" with {epilogue}" if epilogue else "")
        + (", weights packed once" if packed else ""),
        choice.lowering.name if choice else "xla",
        platform,
        _reasons(platform, implementation, problem, choice),
        _source(),
    )
    LOGGER.info("jaxgroups: %s", lowered)
    for record in tuple(_records):
        record.setdefault(lowered, lowered)


def _reasons(
    platform: str,
    implementation: str | None,
    problem: ConvProblem | None,
    choice: dispatch.Choice | None,
) -> tuple[str, ...]:
    if problem is None:
        return ("a size is symbolic",)
    if choice is None and platform == "cpu":
        return ("the operands are sharded by their types",)
    if choice is None:
        return (f"the choice on {platform}",)
    if choice.lowering.name == implementation:
        return (f"implementation={implementation!r}",)
    refused = tuple(f"not {name}: {why}" for name, why in choice.refusals)
    if implementation is not None:
        return (f"implementation={implementation!r} does not take it", *refused)
    return refused


def _descriptor(ctx: Any, problem: ConvProblem | None, view: View | None) -> str:
    """The convolution in the words of a ConvSpec, as far as these describe it."""
    if problem is None or view is None:
        shapes = " with ".join(str(tuple(aval.shape)) for aval in ctx.avals_in[:2])
        return f"convolution of {shapes} {ctx.avals_in[0].dtype.name}"
    fields = {
        "in_channels": view.groups * view.c,
        "out_channels": view.groups * view.o,
        "kernel_size": view.kernel,
        "stride": view.stride,
        "padding": view.padding,
        "output_padding": (0,) * view.rank,
        "dilation": view.dilation,
        "groups": view.groups,
        "padding_mode": "zeros",
        "bias": True,
        "batch": (view.batch,),
        "size": view.size,
        "dtype": view.dtype,
        "data_format": "channels_first",
    }
    text = format_spec(f"conv{view.rank}d", fields)
    if any(n != 1 for n in view.lhs_dilation):
        text += f" with the input dilated by {'x'.join(map(str, view.lhs_dilation))}"
    return text if isinstance(view, Forward) else f"weight gradient of {text}"


def _source() -> str:
    """The innermost frame of the user's own code, else of installed code, in front of jaxgroups."""
    lines = source_info_util.summarize(source_info_util.current(), num_frames=100).splitlines()
    frames = [line for line in reversed(lines) if not line.startswith(_PACKAGE)]
    own = [line for line in frames if not any(name in line for name in _INSTALLED)]
    return (own or frames or [""])[0]


def _loses_kernels(
    platform: str,
    implementation: str | None,
    problem: ConvProblem | None,
    choice: dispatch.Choice | None,
) -> bool:
    """Whether the same convolution, not exported, would be computed by the kernels."""
    if platform != "cpu" or native.status().missing:
        return False
    if problem is None:  # symbolic sizes, which always go to XLA
        return implementation in (None, "native")
    if choice is not None and not choice.lowering.portable:
        return False
    return not dispatch.prefer(problem, implementation, platform, False).lowering.portable


_warned: weakref.ref[Any] | None = None


def _warn_once(ctx: Any) -> None:
    """Warn of the program that is being exported, unless it was the last one warned of."""
    global _warned
    program = ctx.module_context.module
    if _warned is None or _warned() is not program:
        _warned = weakref.ref(program)
        LOGGER.warning(EXPORTED)


def _print_if_asked(wanted: str) -> None:
    """Print the log on stderr if JAXGROUPS_LOG is 1."""
    if wanted not in ("", "0", "1"):
        warnings.warn(f"JAXGROUPS_LOG={wanted!r} has no effect: it is 0 or 1", stacklevel=2)
    if wanted == "1":
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False  # or a handler of the root logger prints each line again


_print_if_asked(os.environ.get("JAXGROUPS_LOG", "").strip())
