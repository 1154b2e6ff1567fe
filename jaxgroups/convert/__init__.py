"""Weights between PyTorch and Flax: told, never guessed, bit for bit.

    kernel = kernel_from_torch(torch_layer.weight, "conv_transpose")

The kind of a layer is always said, by name or by the layer itself: the shape cannot tell a
convolution from a transposed one, nor a converted kernel from a raw one.
"""

from jaxgroups.convert._kernel import KINDS as KINDS
from jaxgroups.convert._kernel import bias_from_torch as bias_from_torch
from jaxgroups.convert._kernel import bias_to_torch as bias_to_torch
from jaxgroups.convert._kernel import kernel_from_torch as kernel_from_torch
from jaxgroups.convert._kernel import kernel_to_torch as kernel_to_torch
