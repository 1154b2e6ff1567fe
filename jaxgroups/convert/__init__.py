"""Weights between PyTorch and Flax: told, never guessed, bit for bit.

One layer:

    kernel = kernel_from_torch(torch_layer.weight, "conv_transpose")

A whole model, from a file (.safetensors, .pt, .pth) or back into one:

    model, report = load_torch(model, "mobilenet_v2.pth")
    save_torch(model, "back.safetensors", extras=report.extras)

The kind of a layer is always said, by name, by the layer itself or by the model's structure: no
shape tells a convolution from a transposed one, nor a converted kernel from a raw one.
"""

from jaxgroups.convert._build import FlattenLinear as FlattenLinear
from jaxgroups.convert._compare import Comparison as Comparison
from jaxgroups.convert._compare import compare as compare
from jaxgroups.convert._convert_file import convert_file as convert_file
from jaxgroups.convert._files import open_checkpoint as open_checkpoint
from jaxgroups.convert._kernel import KINDS as KINDS
from jaxgroups.convert._kernel import bias_from_torch as bias_from_torch
from jaxgroups.convert._kernel import bias_to_torch as bias_to_torch
from jaxgroups.convert._kernel import kernel_from_torch as kernel_from_torch
from jaxgroups.convert._kernel import kernel_to_torch as kernel_to_torch
from jaxgroups.convert._models import load_torch as load_torch
from jaxgroups.convert._models import load_torch_linen as load_torch_linen
from jaxgroups.convert._models import plan as plan
from jaxgroups.convert._ops import Chain as Chain
from jaxgroups.convert._ops import FlattenCHW as FlattenCHW
from jaxgroups.convert._ops import Flip as Flip
from jaxgroups.convert._ops import Identity as Identity
from jaxgroups.convert._ops import Part as Part
from jaxgroups.convert._ops import Permute as Permute
from jaxgroups.convert._ops import Reshape as Reshape
from jaxgroups.convert._plan import ConversionError as ConversionError
from jaxgroups.convert._plan import Entry as Entry
from jaxgroups.convert._plan import Plan as Plan
from jaxgroups.convert._read import Report as Report
from jaxgroups.convert._rules import Leaf as Leaf
from jaxgroups.convert._rules import Rule as Rule
from jaxgroups.convert._rules import register as register
from jaxgroups.convert._save import save_torch as save_torch
from jaxgroups.convert._verify import verify_file as verify_file
