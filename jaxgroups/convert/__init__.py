"""Convert weights between PyTorch and Flax, bit for bit.

One layer:

    kernel = kernel_from_torch(torch_layer.weight, "conv_transpose")

A whole model, from a file (.safetensors, .pt, .pth) or back into one:

    model, report = load_torch(model, "mobilenet_v2.pth")
    save_torch(model, "back.safetensors", extras=report.extras)

The kind of a layer is given, by name, by the layer itself or by the model's structure. It is never
guessed: a shape does not distinguish a convolution from a transposed one, nor a converted kernel
from an original one.

Both errors are ValueErrors: `CheckpointError` is about a file, `ConversionError` about a file and a
model that do not fit each other.
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
from jaxgroups.convert._rules.kernels import KINDS
from jaxgroups.convert._rules.layers import FlattenLinear, Rule, TensorRule, register
from jaxgroups.convert._rules.ops import Chain, FlattenCHW, Flip, Identity, Part, Permute, Reshape
from jaxgroups.convert._transfer.convert_file import convert_file
from jaxgroups.convert._transfer.load import load_torch, load_torch_linen, plan
from jaxgroups.convert._transfer.read import Report
from jaxgroups.convert._transfer.save import save_torch
from jaxgroups.convert._transfer.verify import verify_file

__all__ = [
    "KINDS",
    "Chain",
    "CheckpointError",
    "Comparison",
    "ConversionError",
    "Entry",
    "FlattenCHW",
    "FlattenLinear",
    "Flip",
    "Identity",
    "Part",
    "Permute",
    "Plan",
    "Report",
    "Reshape",
    "Rule",
    "TensorRule",
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
    "register",
    "save_torch",
    "verify_file",
]
