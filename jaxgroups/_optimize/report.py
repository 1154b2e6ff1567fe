"""The report of `optimize`, as text and as data."""

from dataclasses import asdict, dataclass
from typing import Any

from jaxgroups import _console
from jaxgroups._optimize.chain import Chain
from jaxgroups._optimize.rewrite import Rewritten

_PRODUCT = "matrix product"


@dataclass(frozen=True)
class OptimizedConv:
    """The report on one convolution, or on a product with a constant matrix.

    Attributes:
      convolution: its name, and the dtypes and sizes of its two operands.
      folded: what was folded into its weights and bias: "scale", "shift".
      fused: the operations that were fused into it, such as "+ residual, relu"; "" for none.
      packed_bytes: the size of the packed weights; 0 where they are not packed.
      stopped: why the next operation is not fused, or why the convolution was not changed.
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
        return f"{self.convolution}: {'; '.join(words) or 'unchanged'} ({self.stopped})"


@dataclass(frozen=True, repr=False)
class OptimizeReport:
    """The report of `optimize`; ``str()`` of it is text, `as_dict` is data.

    Attributes:
      convolutions: one entry for each convolution, and for each product with a constant matrix that
        the kernels compute, in the order of the program.
      notes: further information, one sentence each.
    """

    convolutions: tuple[OptimizedConv, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as dictionaries and lists, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        convs = self.convolutions
        packed = sum(conv.packed_bytes for conv in convs)
        products = sum(conv.convolution.startswith(_PRODUCT) for conv in convs)
        count = _counted(len(convs) - products, "convolution")
        if products:
            count += f" and {_counted(products, _PRODUCT)}"
        lines = [
            f"{count}: "
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


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def entry(done: Rewritten) -> OptimizedConv:
    """The report on one convolution."""
    sizes = [value.aval.str_short(short_dtypes=True) for value in done.node.ins[:2]]
    what = _PRODUCT if done.node.name == "dot_general" else "convolution"
    text = f"{what} of {' with '.join(sizes)}"
    chain = done.chain
    if chain is None:
        return OptimizedConv(text, (), "", 0, f"not changed: {done.reason}")
    return OptimizedConv(text, _folded(chain), str(chain.epilogue), done.packed, chain.stopped)


def _folded(chain: Chain) -> tuple[str, ...]:
    return ("scale",) * chain.scaled + ("shift",) * chain.shifted
