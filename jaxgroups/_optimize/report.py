"""What `optimize` did with every convolution, for people and for programs."""

from dataclasses import asdict, dataclass
from typing import Any

from jaxgroups import _console
from jaxgroups._optimize.chain import Chain
from jaxgroups._optimize.rewrite import Rewritten


@dataclass(frozen=True)
class OptimizedConv:
    """What became of one convolution.

    Attributes:
      convolution: sizes of its operands and of its result.
      folded: what went into its weights and bias: "scale", "shift".
      fused: what its call computes besides, such as "+ residual, relu"; "" for nothing.
      packed_bytes: bytes of its weights in the order of the kernels; 0 where they are not packed.
      stopped: why the next operation is not part of it, or why it was left as it is.
    """

    convolution: str
    folded: tuple[str, ...]
    fused: str
    packed_bytes: int
    stopped: str

    def __str__(self) -> str:
        words = [f"{' and '.join(self.folded)} folded"] if self.folded else []
        words += [f"{self.fused} fused"] if self.fused else []
        words += ["weights packed once"] if self.packed_bytes else []
        return f"{self.convolution}: {'; '.join(words) or 'as it was'} ({self.stopped})"


@dataclass(frozen=True, repr=False)
class OptimizeReport:
    """Result of `Optimized.report`; ``str()`` is for people, `as_dict` for programs.

    Attributes:
      convolutions: one entry for each, in the order of the program.
      notes: what else is worth knowing, one text each.
    """

    convolutions: tuple[OptimizedConv, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as lists and dictionaries, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        convs = self.convolutions
        packed = sum(conv.packed_bytes for conv in convs)
        lines = [
            f"{len(convs)} convolution{'' if len(convs) == 1 else 's'}: "
            f"{sum(bool(conv.folded) for conv in convs)} with folded constants, "
            f"{sum(bool(conv.fused) for conv in convs)} with fused operations, "
            f"{sum(bool(conv.packed_bytes) for conv in convs)} with packed weights "
            f"({packed / 1e6:.1f} MB)"
        ]
        lines += [f"  {conv}" for conv in convs]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<OptimizeReport {len(self.convolutions)} convolutions>"

    def _repr_html_(self) -> str:
        return _console.html(str(self))


def entry(done: Rewritten) -> OptimizedConv:
    """The entry of a convolution."""
    sizes = [value.aval.str_short(short_dtypes=True) for value in done.node.ins[:2]]
    text = f"convolution of {sizes[0]} with {sizes[1]}"
    chain = done.chain
    if chain is None:
        return OptimizedConv(text, (), "", 0, f"left: {done.left}")
    return OptimizedConv(text, _folded(chain), str(chain.epilogue), done.packed, chain.stopped)


def _folded(chain: Chain) -> tuple[str, ...]:
    return ("scale",) * chain.scaled + ("shift",) * chain.shifted
