"""From a PyTorch network to readable Flax source, its weights, and a proof that both are equal.

    ported = port(module, (1, 3, 224, 224))
    print(ported.source)     # the Flax module, channels last, with the original's names
    model = ported.model()   # with the original's weights
    print(ported.prove())    # outputs, gradients, training: with figures

trace       torch.export, with a mark where a module is called and where it returns
graph       the traced program, without torch
layers      torch's layers that jaxgroups or Flax has
ops         one rule an operation
order       the order in which the axes of each value lie in memory
body        a call of a module: what its class makes and computes
classes     calls with equal bodies share a class; settings that differ are its arguments
render      names of variables, loops, nested expressions: the text
"""

from jaxgroups.port._errors import Missing, PortError
from jaxgroups.port._port import port
from jaxgroups.port._ported import Ported
from jaxgroups.port._register import register, register_layer
from jaxgroups.port._weights import load_weights, save_weights

__all__ = [
    "Missing",
    "PortError",
    "Ported",
    "load_weights",
    "port",
    "register",
    "register_layer",
    "save_weights",
]
