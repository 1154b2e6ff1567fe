"""ConvSpec: one frozen, hashable record of a convolution problem, in torch's words.

In: any argument form that torch's constructors accept (`ConvSpec.of`), a one-line spelling
(`ConvSpec.parse`), or arrays' shapes (`_call.spec_of_call`). Out: canonical tuples, and everything
that follows from them without touching an array: shapes, paddings, parameter counts, FLOPs.
A spec may know its input (``batch``, ``size``) or be the spec of a layer, which does not yet.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

from jaxgroups._spec import arguments, arithmetic, checks, descriptor
from jaxgroups._types import IntOrInts, Ints, Pairs


def padding_pairs(padding: Ints | str, rank: int, kernel_size: Ints, dilation: Ints) -> Pairs:
    """Checked torch padding as one ``(low, high)`` an axis."""
    if padding == "same":
        return tuple(map(arithmetic.same_padding, kernel_size, dilation))
    if isinstance(padding, str):  # 'valid'
        return ((0, 0),) * rank
    return tuple((p, p) for p in padding)


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """A convolution: what it reads, what it holds, what it gives.

    Every tuple has one entry a spatial axis. `kernel_size`, `stride`, `dilation`, `groups`,
    `output_padding` and `padding_mode` mean what they mean in ``torch.nn.Conv2d`` and
    ``ConvTranspose2d``; `padding` is ``(low, high)`` pairs, of a transposed convolution the
    padding of the convolution that it transposes. ``batch`` and ``size`` are the batch axes and
    the spatial sizes of the input; both are None while the input is unknown.

    Raises:
      ValueError, TypeError: the first rule that the arguments break, in torch's order.
    """

    in_channels: int
    out_channels: int
    kernel_size: Ints
    stride: Ints
    padding: Pairs
    dilation: Ints
    output_padding: Ints
    groups: int = 1
    transposed: bool = False
    padding_mode: str = "zeros"
    bias: bool = True
    batch: Ints | None = None
    size: Ints | None = None
    dtype: str = "float32"
    data_format: str = "channels_first"

    # what a notebook shows of a spec; set in jaxgroups/__init__.py, because `diagrams` imports this
    notebook: ClassVar[Callable[["ConvSpec"], dict[str, str]] | None] = None

    @classmethod
    def of(
        cls,
        op: str,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrInts,
        *,
        stride: IntOrInts = 1,
        padding: IntOrInts | str = 0,
        output_padding: IntOrInts = 0,
        dilation: IntOrInts = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: str = "float32",
        data_format: str = "channels_first",
    ) -> "ConvSpec":
        """The spec of a layer, from the arguments of ``torch.nn.Conv2d`` or ``ConvTranspose2d``.

        >>> ConvSpec.of("conv2d", 4, 8, 1, groups=2, bias=False).parameters
        16
        """
        rank, transposed = arguments.op_rank(op)
        layer = arguments.layer_name(op)
        in_channels = arguments.integer(layer, "in_channels", in_channels)
        out_channels = arguments.integer(layer, "out_channels", out_channels)
        groups = arguments.integer(layer, "groups", groups)
        if transposed:
            checks.padding_mode_transposed(padding_mode, layer)
        checks.groups_positive_layer(groups)
        checks.divisible("in_channels", in_channels, groups)
        checks.divisible("out_channels", out_channels, groups)
        kernel_size = arguments.kernel(layer, kernel_size, rank)

        def axes(name: str, value: IntOrInts) -> Ints:
            return arguments.broadcast(name, arguments.integers(layer, name, value), rank)

        pads = arguments.padding(layer, padding, transposed=transposed)
        if isinstance(pads, str):
            checks.padding_string_layer(pads)
        else:
            pads = arguments.broadcast("padding", pads, rank)
        stride = axes("stride", stride)
        if pads == "same":
            checks.same_needs_stride_one(stride)
        checks.padding_mode(padding_mode)
        dilation = axes("dilation", dilation)
        return cls(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding_pairs(pads, rank, kernel_size, dilation),
            dilation=dilation,
            output_padding=axes("output_padding", output_padding),
            groups=groups,
            transposed=transposed,
            padding_mode=padding_mode,
            bias=bool(bias),
            dtype=dtype,
            data_format=data_format,
        )

    @classmethod
    def parse(cls, text: str) -> "ConvSpec":
        """The spec that a spelling describes; ``ConvSpec.parse(str(spec)) == spec``.

        >>> ConvSpec.parse("conv2d in=4 out=8 kernel=3 padding=1 groups=2").kernel_size
        (3, 3)

        Raises:
          ValueError: an unknown word or value, or a rule of convolutions broken.
        """
        return cls(**descriptor.parse_spec(text))

    def __str__(self) -> str:
        return descriptor.format_spec(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """IPython's hook for rich display; empty where there is only the text."""
        show = type(self).notebook
        return show(self) if show is not None else {}

    def __post_init__(self) -> None:
        for name in ("stride", "padding", "dilation", "output_padding"):
            if len(getattr(self, name)) != self.rank:
                arguments.broadcast(name, getattr(self, name), self.rank, one_fills=False)
        if self.transposed:
            checks.padding_mode_transposed(self.padding_mode, arguments.layer_name(self.op))
        checks.groups_positive_layer(self.groups)
        checks.divisible("in_channels", self.in_channels, self.groups)
        checks.divisible("out_channels", self.out_channels, self.groups)
        checks.padding_mode(self.padding_mode)
        checks.data_format(self.data_format)
        checks.channels_positive(self.in_channels, self.out_channels, self.torch_weight_shape)
        checks.non_negative("padding", tuple(p for pair in self.padding for p in pair))
        checks.non_negative("output_padding", self.output_padding)
        checks.stride_positive(self.stride)
        checks.dilation_positive(self.dilation, transposed=self.transposed)
        checks.kernel_positive(self.kernel_size)
        if self.transposed:
            checks.output_padding_small(self.output_padding, self.stride, self.dilation)
        elif any(self.output_padding):
            raise ValueError(
                f"output_padding belongs to transposed convolutions: got "
                f"output_padding={self.output_padding} for {self.op}"
            )
        if (self.batch is None) != (self.size is None):
            raise ValueError(
                f"batch and size are known together: got batch={self.batch}, size={self.size}"
            )
        if self.size is not None:
            self._check_input(self.size)
        checks.dtype_supported(self.dtype, self.op, transposed=self.transposed)

    def _check_input(self, size: Ints) -> None:
        if len(size) != self.rank:
            raise ValueError(f"{self.op} has {self.rank} spatial axes, but got size={size}")
        if self.transposed:
            checks.zero_spatial(size, self.input_shape)
            checks.output_positive(size, self.output_size)
            return
        self._check_padding(self.input_shape)
        checks.kernel_fits(size, self.padding, self.kernel_size, self.dilation)
        checks.zero_spatial(size, self.input_shape)

    def _check_padding(self, shape: Ints) -> None:
        mode, size = self.padding_mode, shape[self.spatial]
        checks.pad_not_empty(mode, (shape[self.channel_axis], *size), shape)
        axes = tuple(range(len(shape)))[self.spatial]
        checks.pad_amounts(mode, self.padding, size, axes, shape)

    def with_input(self, shape: Iterable[int], dtype: str | None = None) -> "ConvSpec":
        """This spec for an input of the given shape, laid out as `data_format` says.

        Raises:
          ValueError: wrong rank or channel count, or a window that does not fit.
        """
        shape = tuple(shape)
        last = self.data_format == "channels_last"
        checks.rank(len(shape), shape, self.rank, self.op, last, self.padding_mode)
        channels = shape[self.channel_axis]
        self._check_padding(shape)  # torch pads first, so its channels are counted after
        checks.input_channels(channels, self.in_channels, self.given, shape, f" ({self})")
        batch = shape[: -self.rank - 1]
        return replace(self, batch=batch, size=shape[self.spatial], dtype=dtype or self.dtype)

    def with_output_size(
        self, output_size: Iterable[int], input_shape: Iterable[int]
    ) -> "ConvSpec":
        """This transposed spec with the `output_padding` that gives the asked output.

        `output_size` holds the spatial sizes, or as many entries as `input_shape`, of which the
        spatial ones are read. As in torch a size may exceed the smallest by less than the stride.

        Raises:
          ValueError: wrong length, or a size that the stride cannot reach.
        """
        shape = tuple(input_shape)
        last = self.data_format == "channels_last"
        checks.rank(len(shape), shape, self.rank, self.op, last, self.padding_mode)
        sizes = arguments.sizes(self.op, output_size)
        if len(sizes) == len(shape):
            sizes = sizes[self.spatial]
        checks.output_size_length(arguments.layer_name(self.op), sizes, self.rank, len(shape))
        size = shape[self.spatial]
        window = zip(size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        smallest = tuple(arithmetic.conv_transpose_size(*w, 0) for w in window)
        checks.output_size_range(sizes, smallest, self.stride, size)
        extra = tuple(n - least for n, least in zip(sizes, smallest, strict=True))
        return replace(self, output_padding=extra)

    # --- what kind of convolution --------------------------------------------------------------

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def op(self) -> str:
        """Name of the function: ``conv1d`` ... ``conv_transpose3d``."""
        return f"conv{'_transpose' if self.transposed else ''}{self.rank}d"

    @property
    def depthwise(self) -> bool:
        """Every filter reads one channel, and there is more than one."""
        return self.groups == self.in_channels > 1

    @property
    def channel_axis(self) -> int:
        """Position of the channels in the input, counted from the end."""
        return -1 if self.data_format == "channels_last" else -self.rank - 1

    @property
    def spatial(self) -> slice:
        """Position of the spatial axes in the input, counted from the end."""
        last = self.data_format == "channels_last"
        return slice(-self.rank - 1, -1) if last else slice(-self.rank, None)

    @property
    def given(self) -> str:
        """How torch's messages name this convolution."""
        what = "transposed=1" if self.transposed else f"groups={self.groups}"
        return f"{what}, weight of size {list(self.weight_shape)}"

    # --- what it holds -------------------------------------------------------------------------

    @property
    def torch_weight_shape(self) -> Ints:
        """``(out, in / groups, *kernel)``, transposed ``(in, out / groups, *kernel)``."""
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        return (first, second // self.groups, *self.kernel_size)

    @property
    def weight_shape(self) -> Ints:
        """Torch's shape for channels_first, its pure permutation (2.., 1, 0) for channels_last."""
        first, second, *kernel = self.torch_weight_shape
        if self.data_format == "channels_last":
            return (*kernel, second, first)
        return (first, second, *kernel)

    @property
    def weights(self) -> int:
        """Parameters without the bias: ``in / groups * out * k1 * k2 * ...``."""
        return arithmetic.parameters(
            self.in_channels, self.out_channels, self.kernel_size, self.groups
        )

    @property
    def parameters(self) -> int:
        """All parameters, the bias with them where there is one."""
        return self.weights + (self.out_channels if self.bias else 0)

    # --- what it reads and gives ---------------------------------------------------------------

    def _known(self) -> tuple[Ints, Ints]:
        if self.batch is None or self.size is None:
            raise ValueError(f"the input is unknown, use .with_input(shape) first: {self}")
        return self.batch, self.size

    def _shape(self, channels: int, size: Ints) -> Ints:
        batch, _ = self._known()
        last = self.data_format == "channels_last"
        return (*batch, *size, channels) if last else (*batch, channels, *size)

    @property
    def input_shape(self) -> Ints:
        """Shape of the input, as `data_format` lays it out."""
        return self._shape(self.in_channels, self._known()[1])

    @property
    def output_size(self) -> Ints:
        """Spatial sizes of the output."""
        _, size = self._known()
        window = zip(size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        if not self.transposed:
            return tuple(arithmetic.conv_size(*w) for w in window)
        return tuple(
            arithmetic.conv_transpose_size(*w, o)
            for w, o in zip(window, self.output_padding, strict=True)
        )

    @property
    def output_shape(self) -> Ints:
        """Shape of the output, as `data_format` lays it out."""
        return self._shape(self.out_channels, self.output_size)

    @property
    def macs(self) -> int:
        """Multiply-adds of the convolution, padding counted as data, bias left out."""
        batch, size = self._known()
        pixels = size if self.transposed else self.output_size
        return prod(batch) * prod(pixels) * self.weights

    @property
    def flops(self) -> int:
        """``2 * macs``: what ``torch.utils.flop_counter`` counts."""
        return 2 * self.macs
