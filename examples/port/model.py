"""Net, ported from PyTorch."""

import jax
import jaxgroups as jg
import jaxgroups.nnx as jnn
from flax import nnx


class Attend(nnx.Module):
    """Scales each channel by what its mean says.

    (N, H, W, in_channels) -> (N, H, W, in_channels)
    """

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs) -> None:
        self.squeeze = jnn.Conv2d(in_channels, out_channels, 1, rngs=rngs)
        self.expand = jnn.Conv2d(out_channels, in_channels, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        s = x.mean((1, 2), keepdims=True)
        s = nnx.sigmoid(self.expand(nnx.relu(self.squeeze(s))))
        return x * s


class Block(nnx.Module):
    """A grouped residual block with attention.

    (N, H, W, in_channels) -> (N, H / stride, W / stride, out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        attend_out_channels: int,
        stride: int = 1,
        down: bool = True,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.down = (
            jnn.Conv2d(in_channels, out_channels, 1, stride=stride, rngs=rngs) if down else None
        )
        self.conv = jnn.Conv2d(
            in_channels, out_channels, 3, stride=stride, padding=1, groups=4, bias=False, rngs=rngs
        )
        self.bn = jnn.BatchNorm2d(out_channels)
        self.attend = Attend(out_channels, attend_out_channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = self.down(x) if self.down is not None else x
        y = self.attend(self.bn(self.conv(x)))
        return nnx.relu(y + skip)


class Net(nnx.Module):
    """Three blocks and a classifier.

    (N, H, W, 3) -> (N, 10)
    """

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Sequential(
            jnn.Conv2d(3, 16, 3, stride=2, rngs=rngs), nnx.relu, jnn.MaxPool2d(2)
        )
        self.blocks = nnx.List(
            [
                Block(16, 32, attend_out_channels=8, stride=2, rngs=rngs),
                Block(32, 32, attend_out_channels=8, down=False, rngs=rngs),
                Block(32, 64, attend_out_channels=16, stride=2, rngs=rngs),
            ]
        )
        self.head = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = jg.adaptive_avg_pool2d(x, 2, data_format="channels_last")
        # flattened as (H, W, C): load_torch permutes the weights that read it
        x = x.reshape(x.shape[0], -1)
        return self.head(x)
