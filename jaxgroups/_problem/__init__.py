"""A convolution as XLA's operation: `ConvProblem`, view ops of its weights, and lax's primitive.

`jax_private` holds every use of JAX beyond its public API.
"""
