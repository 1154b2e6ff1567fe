"""Silero VAD at 16 kHz: its LSTM has torch's tensors unchanged, as plain parameters."""

import jax
import jax.numpy as jnp
from flax import nnx

import jaxgroups.nnx as jnn


class LSTMCell(nnx.Module):
    def __init__(self, features):
        for name in ("ih", "hh"):
            setattr(self, f"weight_{name}", nnx.Param(jnp.zeros((4 * features, features))))
            setattr(self, f"bias_{name}", nnx.Param(jnp.zeros(4 * features)))

    def __call__(self, x, h, c):
        gates = x @ self.weight_ih[...].T + h @ self.weight_hh[...].T
        gates += (self.bias_ih[...] + self.bias_hh[...])[None]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c


class Silero(nnx.Module):
    def __init__(self, rngs):
        # one input channel, 258 filters: not depthwise, although the weight is (258, 1, 256)
        self.stft_conv = jnn.Conv1d(1, 258, 256, stride=128, bias=False, rngs=rngs)
        self.conv1 = jnn.Conv1d(129, 128, 3, padding=1, rngs=rngs)
        self.conv2 = jnn.Conv1d(128, 64, 3, stride=2, padding=1, rngs=rngs)
        self.conv3 = nnx.Conv(64, 64, (3,), strides=2, padding=1, rngs=rngs)
        self.conv4 = jnn.Conv1d(64, 128, 3, padding=1, rngs=rngs)
        self.lstm_cell = LSTMCell(128)
        self.final_conv = jnn.Conv1d(128, 1, 1, rngs=rngs)

    def __call__(self, x, state):
        """x (N, samples) and state (2, N, 128) -> probability (N, 1) and state."""
        x = jnp.pad(x, ((0, 0), (0, 64)), "reflect")[..., None]
        real, imaginary = jnp.split(self.stft_conv(x), 2, axis=-1)
        x = jnp.sqrt(real**2 + imaginary**2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = jax.nn.relu(conv(x))
        h, c = self.lstm_cell(x[:, 0], state[0], state[1])
        x = jax.nn.sigmoid(self.final_conv(jax.nn.relu(h)[:, None]))
        return x[:, 0], jnp.stack((h, c))
