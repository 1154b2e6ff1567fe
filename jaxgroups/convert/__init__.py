"""Convert weights between PyTorch and Flax, bit for bit.

One layer:

    kernel = kernel_from_torch(torch_layer.weight, "conv_transpose")

A whole model, from a file (.safetensors, .pt, .pth) or back into one:

    model, report = load_torch(model, "mobilenet_v2.pth")
    save_torch(model, "back.safetensors", extras=report.extras)

The kind of a layer is given by name, by the layer or by the model. It is never inferred from a
shape, which does not distinguish a convolution from a transposed one, nor a converted kernel from
an original one.

Both errors are ValueErrors: `CheckpointError` for a file that cannot be read or written,
`ConversionError` for a file that does not fit a model.
"""

from jaxgroups.convert._compare import Comparison, compare
from jaxgroups.convert._files import CheckpointError, open_checkpoint
from jaxgroups.convert._kernel import (
    bias_from_torch,
    bias_to_torch,
    kernel_from_torch,
    kernel_to_torch,
)
from jaxgroups.convert._plan.plan import ConversionError, Entry, Plan
from jaxgroups.convert._plan.warn import ConversionWarning
from jaxgroups.convert._propose.proposal import NameLine, Proposal
from jaxgroups.convert._propose.propose import propose_names
from jaxgroups.convert._rules.feature_order import (
    FlattenLinear,
    FlattenVector,
    KeepOrder,
    UnflattenLinear,
)
from jaxgroups.convert._rules.kernels import KINDS
from jaxgroups.convert._rules.layers import Rule, TensorRule, register
from jaxgroups.convert._rules.merges import FlaxOnly
from jaxgroups.convert._rules.ops import Chain, ChannelsLast, Flip, Identity, Part, Permute, Reshape
from jaxgroups.convert._rules.recurrent import RNNLayers
from jaxgroups.convert._transfer.convert_file import convert_file
from jaxgroups.convert._transfer.load import load_torch, load_torch_linen, plan
from jaxgroups.convert._transfer.read import Report
from jaxgroups.convert._transfer.save import save_torch
from jaxgroups.convert._transfer.verify import verify_file

__all__ = [
    "KINDS",
    "Chain",
    "ChannelsLast",
    "CheckpointError",
    "Comparison",
    "ConversionError",
    "ConversionWarning",
    "Entry",
    "FlattenLinear",
    "FlattenVector",
    "FlaxOnly",
    "Flip",
    "Identity",
    "KeepOrder",
    "NameLine",
    "Part",
    "Permute",
    "Plan",
    "Proposal",
    "RNNLayers",
    "Report",
    "Reshape",
    "Rule",
    "TensorRule",
    "UnflattenLinear",
    "bias_from_torch",
    "bias_to_torch",
    "compare",
    "convert_file",
    "kernel_from_torch",
    "kernel_to_torch",
    "load_torch",
    "load_torch_linen",
    "open_checkpoint",
    "plan",
    "propose_names",
    "register",
    "save_torch",
    "verify_file",
]
