"""ConvSpec: a frozen, hashable record of a convolution, in torch's terms.

A spec is made from the arguments of torch's constructors (`ConvSpec.of`), from a one-line
descriptor (`ConvSpec.parse`), or from the arguments of a call (`from_call.spec_of_call`). It holds
canonical tuples, and computes from them what needs no array: shapes, parameter counts, FLOPs.
The input (``batch``, ``size``) is known, or not yet, as of a layer.

A spec is checked when it is made. What is derived from a checked spec is made by `_with`, and only
what is new in it is checked.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, ClassVar

from jaxgroups._spec import arguments, arithmetic, checks, descriptor
from jaxgroups._spec.layout_hints import hint_of_layer
from jaxgroups._types import IntOrInts, Ints, Pairs


def padding_pairs(padding: Ints | str, rank: int, kernel_size: Ints, dilation: Ints) -> Pairs:
    """Checked torch padding as ``(low, high)`` of each axis."""
    if padding == "same":
        return tuple(map(arithmetic.same_padding, kernel_size, dilation))
    if isinstance(padding, str):  # 'valid'
        return ((0, 0),) * rank
    return tuple((p, p) for p in padding)


def _check_channels(
    op: str, in_channels: int, out_channels: int, groups: int, padding_mode: str
) -> None:
    """The rules that torch's constructors check first."""
    if op.startswith("conv_transpose"):
        checks.padding_mode_transposed(padding_mode, op)
    checks.groups_positive_layer(groups)
    checks.divisible("in_channels", in_channels, groups)
    checks.divisible("out_channels", out_channels, groups)


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """A convolution: its input, its parameters and its output.

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
        _check_channels(op, in_channels, out_channels, groups, padding_mode)
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
        spec = cls._unchecked(
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
            batch=None,
            size=None,
            dtype=dtype,
            data_format=data_format,
        )
        spec._check_layer()
        checks.dtype_supported(dtype, op, transposed=transposed)
        return spec

    @classmethod
    def parse(cls, text: str) -> "ConvSpec":
        """The spec of a descriptor; ``ConvSpec.parse(str(spec)) == spec``.

        >>> ConvSpec.parse("conv2d in=4 out=8 kernel=3 padding=1 groups=2").kernel_size
        (3, 3)

        Raises:
          ValueError: an unknown word or value, or a broken rule of convolutions.
        """
        return cls(**descriptor.parse_spec(text))

    def __str__(self) -> str:
        return descriptor.format_spec(self.op, vars(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """IPython's hook for rich display; empty where there is only the text."""
        show = type(self).notebook
        return show(self) if show is not None else {}

    @classmethod
    def _unchecked(cls, **fields: Any) -> "ConvSpec":
        """A spec of all its fields, which the caller has checked or is about to."""
        spec = object.__new__(cls)
        vars(spec).update(fields)
        return spec

    def _with(self, **changes: Any) -> "ConvSpec":
        """A copy with some fields changed, which the caller has checked or is about to."""
        return self._unchecked(**(vars(self) | changes))

    def __post_init__(self) -> None:
        for name in ("stride", "padding", "dilation", "output_padding"):
            arguments.broadcast(name, getattr(self, name), self.rank, one_fills=False)
        _check_channels(
            self.op, self.in_channels, self.out_channels, self.groups, self.padding_mode
        )
        checks.padding_mode(self.padding_mode)
        self._check_layer()
        if (self.batch is None) != (self.size is None):
            raise ValueError(
                f"batch and size are known together: got batch={self.batch}, size={self.size}"
            )
        if self.size is not None:
            if len(self.size) != self.rank:
                raise ValueError(
                    f"{self.op} has {self.rank} spatial axes, but got size={self.size}"
                )
            self._check_padding(self.input_shape)
            self._check_size(self.size, self.input_shape)
        checks.dtype_supported(self.dtype, self.op, transposed=self.transposed)

    def _check_layer(self) -> None:
        """The rules of a layer after those of `_check_channels` and the padding mode."""
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

    def _check_padding(self, shape: Ints) -> None:
        """The rules of the padding mode for an input of the given shape."""
        mode, size = self.padding_mode, shape[self.spatial]
        checks.pad_not_empty(mode, (shape[self.channel_axis], *size), shape)
        axes = tuple(range(len(shape)))[self.spatial]
        checks.pad_amounts(mode, self.padding, size, axes, shape)

    def _check_size(self, size: Ints, shape: Ints) -> None:
        """The rules of the spatial sizes of an input of the given shape."""
        if not self.transposed:
            checks.kernel_fits(size, self.padding, self.kernel_size, self.dilation)
        checks.zero_spatial(size, shape)
        if self.transposed:
            checks.output_positive(size, self._output_size(size))

    def with_input(self, shape: Iterable[int], dtype: str | None = None) -> "ConvSpec":
        """This spec for an input of the given shape, laid out as `data_format` says.

        Raises:
          ValueError: wrong rank or channel count, or a window that does not fit.
        """
        return _with_input(self, tuple(shape), dtype or self.dtype)

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
        return self._with(output_padding=self._reaching(sizes, shape))

    def _reaching(self, sizes: Ints, shape: Ints) -> Ints:
        """The output padding that gives the spatial output sizes for an input of that shape."""
        checks.output_size_length(self.op, sizes, self.rank, len(shape))
        size = shape[self.spatial]
        window = zip(size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        smallest = tuple(arithmetic.conv_transpose_size(*w, 0) for w in window)
        checks.output_size_range(sizes, smallest, self.stride, size)
        return tuple(n - least for n, least in zip(sizes, smallest, strict=True))

    # --- what kind of convolution --------------------------------------------------------------

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def op(self) -> str:
        """Name of the function, ``conv1d`` to ``conv_transpose3d``."""
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

    # --- parameters ----------------------------------------------------------------------------

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

    # --- input and output --------------------------------------------------------------------

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
        return self._output_size(self._known()[1])

    def _output_size(self, size: Ints) -> Ints:
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


@lru_cache(maxsize=4096)
def _with_input(spec: ConvSpec, shape: Ints, dtype: str) -> ConvSpec:
    form = spec.data_format
    last = form == "channels_last"
    checks.rank(len(shape), shape, spec.rank, spec.op, last, spec.padding_mode)
    size, channels = shape[spec.spatial], shape[spec.channel_axis]
    spec._check_padding(shape)  # torch pads before it counts the channels
    checks.input_channels(
        channels,
        spec.in_channels,
        shape,
        spec.weight_shape,
        spec.groups,
        transposed=spec.transposed,
        remedy=lambda: f"{spec}{hint_of_layer(shape, spec.rank, spec.in_channels, form)}",
    )
    spec._check_size(size, shape)
    checks.dtype_supported(dtype, spec.op, transposed=spec.transposed)
    return spec._with(batch=shape[: -spec.rank - 1], size=size, dtype=dtype)
