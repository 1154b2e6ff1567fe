"""Weights between PyTorch and Flax: told, never guessed, bit for bit.

One layer:

    kernel = kernel_from_torch(torch_layer.weight, "conv_transpose")

A whole model, from a file (.safetensors, .pt, .pth) or back into one:

    model, report = load_torch(model, "mobilenet_v2.pth")
    save_torch(model, "back.safetensors", extras=report.extras)

The kind of a layer is always said, by name, by the layer itself or by the model's structure: no
shape tells a convolution from a transposed one, nor a converted kernel from a raw one.
"""

from jaxgroups.convert._compare import Comparison as Comparison
from jaxgroups.convert._compare import compare as compare
from jaxgroups.convert._files import open_checkpoint as open_checkpoint
from jaxgroups.convert._kernel import KINDS as KINDS
from jaxgroups.convert._kernel import bias_from_torch as bias_from_torch
from jaxgroups.convert._kernel import bias_to_torch as bias_to_torch
from jaxgroups.convert._kernel import kernel_from_torch as kernel_from_torch
from jaxgroups.convert._kernel import kernel_to_torch as kernel_to_torch
from jaxgroups.convert._plan.plan import ConversionError as ConversionError
from jaxgroups.convert._plan.plan import Entry as Entry
from jaxgroups.convert._plan.plan import Plan as Plan
from jaxgroups.convert._rules.layers import FlattenLinear as FlattenLinear
from jaxgroups.convert._rules.layers import Rule as Rule
from jaxgroups.convert._rules.layers import TensorRule as TensorRule
from jaxgroups.convert._rules.layers import register as register
from jaxgroups.convert._rules.ops import Chain as Chain
from jaxgroups.convert._rules.ops import FlattenCHW as FlattenCHW
from jaxgroups.convert._rules.ops import Flip as Flip
from jaxgroups.convert._rules.ops import Identity as Identity
from jaxgroups.convert._rules.ops import Part as Part
from jaxgroups.convert._rules.ops import Permute as Permute
from jaxgroups.convert._rules.ops import Reshape as Reshape
from jaxgroups.convert._transfer.convert_file import convert_file as convert_file
from jaxgroups.convert._transfer.load import load_torch as load_torch
from jaxgroups.convert._transfer.load import load_torch_linen as load_torch_linen
from jaxgroups.convert._transfer.load import plan as plan
from jaxgroups.convert._transfer.read import Report as Report
from jaxgroups.convert._transfer.save import save_torch as save_torch
from jaxgroups.convert._transfer.verify import verify_file as verify_file
