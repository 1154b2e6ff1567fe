"""What a convolution is: `ConvSpec`, its descriptor, the rules of torch, and its arithmetic.

Only shapes, dtype names and numbers: no arrays and no JAX.
"""
