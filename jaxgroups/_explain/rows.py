"""Rows of the tables of models and checkpoints, and the sums below them."""

from dataclasses import dataclass, field

from jaxgroups._types import Shape

ORDERS = ("cost", "parameters", "bytes", "order")


def check_order(by: str) -> None:
    """Refuse an unknown order of rows."""
    if by not in ORDERS:
        raise ValueError(f"rows are sorted by {', '.join(ORDERS)}, but got {by!r}")


@dataclass(frozen=True)
class LayerCost:
    """One layer of a model with all its calls of one input shape; counts are sums over the calls.

    ``macs`` are the multiply-adds of convolutions and matrix products, as torch's flop counter
    counts them, with padding counted as data; in ``macs_inside`` it is not. ``operations`` counts
    a multiply-add as 2, and of pools, resizes and norms what `feature_costs` says, where ``macs``
    is 0. Only convolutions have a spec and an implementation of jaxgroups. A function that is
    called outside of layers has its name in parentheses as its path. ``note`` says which
    implementation a layer of Flax would get as a layer of jaxgroups. ``seconds`` is the time of
    the calls of a convolution if it was measured, and ``limit_seconds`` the shortest that the
    measured limits of the machine allow.
    """

    path: str
    layer: str
    spec: str | None
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    calls: int
    parameters: int
    parameters_groups1: int
    macs: int
    macs_inside: int
    macs_groups1: int
    bytes_moved: int
    operations: int
    output_shape: Shape
    implementation: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    note: str = ""
    seconds: float | None = None
    limit_seconds: float | None = None


@dataclass(frozen=True)
class OtherCost:
    """Matrix products and convolutions outside the listed layers, such as attention."""

    operation: str
    calls: int
    macs: int
    macs_inside: int


@dataclass(frozen=True)
class Totals:
    """Sums over layers and others.

    ``parameters`` counts the whole model, ``parameters_listed`` the listed layers. ``flops`` is
    what torch's flop counter counts for the same layers, ``operations`` those of pools, resizes and
    norms besides. ``flops_inside`` is XLA's cost analysis
    of the convolutions and matrix products; it leaves out elementwise operations such as biases.
    """

    parameters: int
    parameters_listed: int
    parameters_groups1: int
    macs: int
    macs_groups1: int
    flops: int
    flops_inside: int
    bytes_moved: int
    operations: int


@dataclass(frozen=True)
class TensorCost:
    """One tensor; the last three fields are known for torch's weights of three axes or more."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements: int
    bytes: int
    filters: int | None
    kernels_per_filter: int | None
    kernel_size: tuple[int, ...] | None
