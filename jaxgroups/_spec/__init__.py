"""What a convolution is: `ConvSpec`, its descriptor, every rule of torch's, and its arithmetic.

No arrays and no JAX in here: shapes, dtype names and numbers only.
"""
