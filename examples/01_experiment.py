"""The effect of groups=2 in numbers: the weights are 1 to 16, and the input is ones."""

import numpy as np
from flax import nnx

import jaxgroups as jg
import jaxgroups.nnx as jnn
from jaxgroups.convert import kernel_from_torch

layer = jnn.Conv2d(4, 8, kernel_size=1, groups=2, bias=False, rngs=nnx.Rngs(0))
print(layer, "has", layer.kernel.size, "parameters")  # 4 / 2 * 8 * 1 * 1 = 16

weight = np.arange(1, 17, dtype="float32").reshape(8, 2, 1, 1)  # torch: (out, in / groups, *k)
layer.kernel[...] = kernel_from_torch(weight, layer)
print("weight", weight.shape, "becomes the kernel", layer.kernel.shape)

sums = layer(np.ones((1, 1, 1, 4), "float32")).ravel()  # 1 + 2, 3 + 4, ..., 15 + 16
print("output for ones:", ", ".join(f"{value:g}" for value in sums))
assert sums.tolist() == [3, 7, 11, 15, 19, 23, 27, 31]

# filters 0 to 3 read channels 0 and 1 only, filters 4 to 7 read channels 2 and 3 only
first = np.array([1, 1, 0, 0], "float32").reshape(1, 4, 1, 1)
first_group = jg.conv2d(first, weight, groups=2).ravel()
print("output with zeros in the second group:", ", ".join(f"{value:g}" for value in first_group))
assert first_group.tolist() == [3, 7, 11, 15, 0, 0, 0, 0]
