"""Layers of torch that jaxgroups or Flax has: the constructor call, and the order of axes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxgroups.port._expr import Expr, Lit, Make


@dataclass(frozen=True)
class Layer:
    """A layer of torch in Flax.

    Attributes:
      make: the call of its constructor.
      order: which inputs it takes: feature maps, ``"channels_last"``; features on torch's last
        axis, ``"last"``; torch's order, ``"natural"``; any, element by element, ``"any"``.
      problem: why its settings have no counterpart, if they have none.
      write: writes a call of it into a body, where it is not called with its inputs alone.
    """

    make: Make
    order: str
    problem: str = ""
    write: Callable[[Any, Any, "Layer"], None] | None = None


class Source(str):
    """Text of the source, which is written as it is."""

    def __repr__(self) -> str:
        return str(self)


LayerRule = Callable[[Any], Layer]
LAYERS: dict[str, LayerRule] = {}


def layer(*names: str) -> Callable[[LayerRule], LayerRule]:
    """Register a rule for torch's classes of layers, by qualified name."""

    def register(rule: LayerRule) -> LayerRule:
        LAYERS.update(dict.fromkeys(names, rule))
        return rule

    return register


def layer_of(module: Any) -> Layer | None:
    """The layer that a module is, or None: a subclass with a ``forward`` of its own is none."""
    kind = type(module)
    for base in kind.__mro__:
        rule = LAYERS.get(f"{base.__module__}.{base.__qualname__}")
        if rule is not None:
            return rule(module) if kind.forward is base.forward else None
    return None


def base_layer(module: Any) -> Layer | None:
    """The layer that the module's class extends with a ``forward`` of its own, or None."""
    kind = type(module)
    for base in kind.__mro__:
        rule = LAYERS.get(f"{base.__module__}.{base.__qualname__}")
        if rule is not None:
            return None if kind.forward is base.forward else rule(module)
    return None


def made(target: str, *given: Any, rngs: bool = False, **settings: tuple[Any, Any]) -> Make:
    """A constructor call: literals by position, and settings that are not the default.

    Args:
      target: the text of the constructor.
      given: pairs of a name and a value, written by position.
      rngs: whether it takes ``rngs``.
      settings: by name the value and the default.
    """
    arguments: list[tuple[str, Any]] = [("", Lit(short(value), name)) for name, value in given]
    for name, (value, default) in settings.items():
        arguments.append((name, Lit(short(value), name, short(default))))
    return Make(target, arguments, rngs)


def short(value: Any) -> Any:
    """``(3, 3)`` as 3."""
    if isinstance(value, list):
        value = tuple(value)
    if type(value) is tuple and value and all(one == value[0] for one in value):
        return value[0]
    return value


def _each(prefix: str, *kinds: str) -> list[str]:
    return [f"torch.nn.modules.{prefix}.{kind}{rank}d" for kind in kinds for rank in (1, 2, 3)]


@layer(*_each("conv", "Conv"))
def _conv(m: Any) -> Layer:
    kind = _name(m, "Conv")
    return Layer(
        made(
            f"jnn.{kind}",
            ("in_channels", m.in_channels),
            ("out_channels", m.out_channels),
            ("kernel_size", m.kernel_size),
            rngs=True,
            stride=(m.stride, 1),
            padding=(m.padding, 0),
            dilation=(m.dilation, 1),
            groups=(m.groups, 1),
            bias=(m.bias is not None, True),
            padding_mode=(m.padding_mode, "zeros"),
        ),
        "channels_last",
    )


@layer(*_each("conv", "ConvTranspose"))
def _conv_transpose(m: Any) -> Layer:
    kind = _name(m, "ConvTranspose")
    return Layer(
        made(
            f"jnn.{kind}",
            ("in_channels", m.in_channels),
            ("out_channels", m.out_channels),
            ("kernel_size", m.kernel_size),
            rngs=True,
            stride=(m.stride, 1),
            padding=(m.padding, 0),
            output_padding=(m.output_padding, 0),
            groups=(m.groups, 1),
            bias=(m.bias is not None, True),
            dilation=(m.dilation, 1),
        ),
        "channels_last",
    )


def _name(m: Any, prefix: str) -> str:
    """The name of torch's own class under subclasses, ``"Conv2d"``."""
    for base in type(m).__mro__:
        if base.__module__.startswith("torch.nn.modules") and base.__name__.startswith(prefix):
            return base.__name__
    return type(m).__name__


@layer("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
def _linear(m: Any) -> Layer:
    return Layer(
        made(
            "nnx.Linear",
            ("in_features", m.in_features),
            ("out_features", m.out_features),
            rngs=True,
            use_bias=(m.bias is not None, True),
        ),
        "last",
    )


@layer("torch.nn.modules.sparse.Embedding")
def _embedding(m: Any) -> Layer:
    return Layer(
        made(
            "nnx.Embed",
            ("num_embeddings", m.num_embeddings),
            ("features", m.embedding_dim),
            rngs=True,
        ),
        "natural",
        "" if m.max_norm is None else "max_norm changes the weight at every call",
    )


@layer(*_each("batchnorm", "BatchNorm"), *_each("instancenorm", "InstanceNorm"))
def _batch_norm(m: Any) -> Layer:
    kind = _name(m, "BatchNorm") if "Batch" in _name(m, "") else _name(m, "InstanceNorm")
    batch = kind.startswith("Batch")
    return Layer(
        made(
            f"jnn.{kind}",
            ("num_features", m.num_features),
            rngs=False,
            eps=(m.eps, 1e-5),
            momentum=(m.momentum, 0.1),
            affine=(m.affine, batch),
            track_running_stats=(m.track_running_stats, batch),
        ),
        "channels_last",
    )


@layer("torch.nn.modules.normalization.GroupNorm")
def _group_norm(m: Any) -> Layer:
    return Layer(
        made(
            "jnn.GroupNorm",
            ("num_groups", m.num_groups),
            ("num_channels", m.num_channels),
            eps=(m.eps, 1e-5),
            affine=(m.affine, True),
        ),
        "channels_last",
    )


@layer("torch.nn.modules.normalization.LayerNorm")
def _layer_norm(m: Any) -> Layer:
    return Layer(
        made(
            "jnn.LayerNorm",
            ("normalized_shape", tuple(m.normalized_shape)),
            eps=(m.eps, 1e-5),
            elementwise_affine=(m.elementwise_affine, True),
            bias=(getattr(m, "bias", None) is not None or not m.elementwise_affine, True),
        ),
        "last" if len(m.normalized_shape) == 1 else "natural",
    )


@layer("torch.nn.modules.normalization.RMSNorm")
def _rms_norm(m: Any) -> Layer:
    return Layer(
        made(
            "jnn.RMSNorm",
            ("normalized_shape", tuple(m.normalized_shape)),
            eps=(m.eps, None),
            elementwise_affine=(m.elementwise_affine, True),
        ),
        "last" if len(m.normalized_shape) == 1 else "natural",
    )


@layer("torch.nn.modules.normalization.LocalResponseNorm")
def _local_response_norm(m: Any) -> Layer:
    return Layer(
        made(
            "jnn.LocalResponseNorm",
            ("size", m.size),
            alpha=(m.alpha, 1e-4),
            beta=(m.beta, 0.75),
            k=(m.k, 1.0),
        ),
        "channels_last",
    )


@layer("torch.nn.modules.activation.PReLU")
def _prelu(m: Any) -> Layer:
    return Layer(
        made("jnn.PReLU", num_parameters=(m.num_parameters, 1)),
        "channels_last" if m.num_parameters > 1 else "any",
    )


@layer("torch.nn.modules.dropout.Dropout", "torch.nn.modules.dropout.FeatureDropout")
def _dropout(m: Any) -> Layer:
    return Layer(made("nnx.Dropout", ("rate", m.p), rngs=True), "any")


@layer(*_each("dropout", "Dropout"))
def _channel_dropout(m: Any) -> Layer:
    rank = int(_name(m, "Dropout")[-2])
    make = made("nnx.Dropout", ("rate", m.p), rngs=True)
    axes = tuple(range(-1 - rank, -1))
    make.arguments.append(("broadcast_dims", Lit(axes, "broadcast_dims")))
    return Layer(make, "channels_last")


@layer(*_each("pooling", "MaxPool"))
def _max_pool(m: Any) -> Layer:
    return Layer(
        made(
            f"jnn.{_name(m, 'MaxPool')}",
            ("kernel_size", m.kernel_size),
            stride=(m.stride, m.kernel_size),
            padding=(m.padding, 0),
            dilation=(m.dilation, 1),
            return_indices=(m.return_indices, False),
            ceil_mode=(m.ceil_mode, False),
        ),
        "channels_last",
    )


@layer(*_each("pooling", "MaxUnpool"))
def _max_unpool(m: Any) -> Layer:
    return Layer(
        made(
            f"jnn.{_name(m, 'MaxUnpool')}",
            ("kernel_size", m.kernel_size),
            stride=(m.stride, m.kernel_size),
            padding=(m.padding, 0),
        ),
        "channels_last",
    )


@layer(*_each("pooling", "AvgPool"))
def _avg_pool(m: Any) -> Layer:
    return Layer(
        made(
            f"jnn.{_name(m, 'AvgPool')}",
            ("kernel_size", m.kernel_size),
            stride=(m.stride, m.kernel_size),
            padding=(m.padding, 0),
            ceil_mode=(m.ceil_mode, False),
            count_include_pad=(m.count_include_pad, True),
            divisor_override=(getattr(m, "divisor_override", None), None),
        ),
        "channels_last",
    )


@layer(*_each("pooling", "LPPool"))
def _lp_pool(m: Any) -> Layer:
    return Layer(
        made(
            f"jnn.{_name(m, 'LPPool')}",
            ("norm_type", m.norm_type),
            ("kernel_size", m.kernel_size),
            stride=(m.stride, m.kernel_size),
            ceil_mode=(m.ceil_mode, False),
        ),
        "channels_last",
    )


@layer(*_each("pooling", "AdaptiveAvgPool", "AdaptiveMaxPool"))
def _adaptive_pool(m: Any) -> Layer:
    return Layer(
        made(
            f"jnn.{_name(m, 'Adaptive')}",
            ("output_size", m.output_size),
            return_indices=(getattr(m, "return_indices", False), False),
        ),
        "channels_last",
    )


@layer(*_each("padding", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"))
def _pad(m: Any) -> Layer:
    return Layer(made(f"jnn.{type(m).__name__}", ("padding", m.padding)), "channels_last")


@layer(*_each("padding", "ConstantPad"))
def _constant_pad(m: Any) -> Layer:
    make = made(f"jnn.{type(m).__name__}", ("padding", m.padding), ("value", m.value))
    return Layer(make, "channels_last")


@layer("torch.nn.modules.pixelshuffle.PixelShuffle", "torch.nn.modules.pixelshuffle.PixelUnshuffle")
def _pixel_shuffle(m: Any) -> Layer:
    up = hasattr(m, "upscale_factor")
    name = "upscale_factor" if up else "downscale_factor"
    return Layer(made(f"jnn.{type(m).__name__}", (name, getattr(m, name))), "channels_last")


@layer("torch.nn.modules.channelshuffle.ChannelShuffle")
def _channel_shuffle(m: Any) -> Layer:
    return Layer(made("jnn.ChannelShuffle", ("groups", m.groups)), "channels_last")


@layer(
    "torch.nn.modules.upsampling.Upsample",
    "torch.nn.modules.upsampling.UpsamplingNearest2d",
    "torch.nn.modules.upsampling.UpsamplingBilinear2d",
)
def _upsample(m: Any) -> Layer:
    return Layer(
        made(
            "jnn.Upsample",
            size=(m.size, None),
            scale_factor=(m.scale_factor, None),
            mode=(m.mode, "nearest"),
            align_corners=(m.align_corners, None),
            recompute_scale_factor=(getattr(m, "recompute_scale_factor", None), None),
        ),
        "channels_last",
    )


@layer("torch.nn.modules.fold.Unfold", "torch.nn.modules.fold.Fold")
def _unfold(m: Any) -> Layer:
    size = [("output_size", m.output_size)] if hasattr(m, "output_size") else []
    return Layer(
        made(
            f"jnn.{_name(m, 'Fold' if size else 'Unfold')}",
            *size,
            ("kernel_size", m.kernel_size),
            dilation=(m.dilation, 1),
            padding=(m.padding, 0),
            stride=(m.stride, 1),
        ),
        "channels_last",
    )


__all__ = ["LAYERS", "Expr", "Layer", "layer", "layer_of", "made"]
