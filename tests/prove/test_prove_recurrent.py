"""prove on recurrent networks: directions, states, and the dropout between the layers."""

import jax.numpy as jnp
import pytest
from flax import nnx
from support.torch_bridge import torch

from jaxgroups import nnx as jnn
from jaxgroups.prove import prove

tnn = torch.nn


class Theirs(tnn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rnn = tnn.GRU(3, 4, 2, batch_first=True, dropout=rate, bidirectional=True)
        self.head = tnn.Linear(8, 2)

    def forward(self, x):
        y, h = self.rnn(x)
        return self.head(y[:, -1]), h


class Ours(nnx.Module):
    def __init__(self, rate, rngs):
        self.rnn = jnn.GRU(3, 4, 2, batch_first=True, dropout=rate, bidirectional=True, rngs=rngs)
        self.head = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        y, h = self.rnn(x)
        return self.head(y[:, -1]), h


@pytest.mark.parametrize(("rate", "verdict"), [(0.5, "equal"), (0.25, "different")])
def test_the_dropout_between_layers(rate, verdict):
    """A rate is part of the outputs in training, and of the steps."""
    module = Theirs(0.5)
    made = prove(module, Ours(rate, nnx.Rngs(0)), (2, 5, 3), channels_last=False, steps=1)
    assert made.verdict == verdict
    assert not made.limits
    assert module.rnn.dropout == 0.5
    wrong = [check.item for check in made.checks if check.status == "different"]
    assert wrong == ([] if verdict == "equal" else ["state"])
    assert {check.item for check in made.checks} >= {"state", "steps"}


class Reader(nnx.Module):
    def __init__(self, rngs):
        self.conv = jnn.Conv2d(2, 4, 3, rngs=rngs)
        self.rnn = jnn.LSTM(12, 5, batch_first=True, rngs=rngs)

    def __call__(self, x):
        y = jnp.swapaxes(self.conv(x), 1, 2)
        return self.rnn(y.reshape(*y.shape[:2], -1))[0][:, -1]


class TorchReader(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = tnn.Conv2d(2, 4, 3)
        self.rnn = tnn.LSTM(12, 5, batch_first=True)

    def forward(self, x):
        return self.rnn(self.conv(x).permute(0, 3, 1, 2).flatten(2))[0][:, -1]


def test_an_lstm_that_reads_a_feature_map():
    assert prove(TorchReader(), Reader(nnx.Rngs(0)), (2, 2, 5, 6)).verdict == "equal"
