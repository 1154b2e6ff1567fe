"""Train a ResNeXt block (1x1, grouped 3x3, 1x1, and a shortcut) to classify four textures."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxgroups.nnx import Conv2d

TEXTURES = 4  # flat, horizontal stripes, vertical stripes, chequered
RATE = 0.5


class Block(nnx.Module):
    """A group of the 3x3 convolution is one path of the block."""

    def __init__(self, channels: int, width: int, groups: int, rngs: nnx.Rngs):
        self.narrow = Conv2d(channels, width, 1, rngs=rngs)
        self.paths = Conv2d(width, width, 3, padding=1, groups=groups, rngs=rngs)
        self.widen = Conv2d(width, channels, 1, rngs=rngs)

    def __call__(self, x):
        y = nnx.relu(self.narrow(x))
        y = nnx.relu(self.paths(y))
        return nnx.relu(x + self.widen(y))


class Classifier(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.block = Block(16, 32, groups=8, rngs=rngs)
        self.head = nnx.Linear(16, TEXTURES, rngs=rngs)

    def __call__(self, x):
        return self.head(self.block(x).mean((1, 2)))


def images(rng, count):
    """Textures of random sign with noise, (count, 8, 8, 16); a single pixel has no information."""
    labels = np.arange(count) % TEXTURES
    row, column = np.indices((8, 8))
    textures = (-1.0) ** np.stack([0 * row, row, column, row + column])
    sign = rng.choice([-1, 1], (count, 1, 1, 1))
    noise = rng.normal(size=(count, 8, 8, 16))
    return jnp.asarray(sign * textures[labels, ..., None] + noise, "float32"), jnp.asarray(labels)


def loss_of(model, x, labels):
    scores = jax.nn.log_softmax(model(x))
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


@nnx.jit
def step(model, x, labels):
    loss, gradients = nnx.value_and_grad(loss_of)(model, x, labels)
    state = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, state, gradients))
    return loss


rng = np.random.default_rng(0)
model = Classifier(nnx.Rngs(0))
print(model.block)

losses = [float(step(model, *images(rng, 32))) for _ in range(60)]
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")

x, labels = images(rng, 200)  # not used in training
accuracy = float((model(x).argmax(-1) == labels).mean())
print(f"accuracy on new images: {accuracy:.0%}")
assert losses[-1] < 0.5 * losses[0], losses
assert accuracy > 0.9, accuracy
