"""The same convolution in XLA's words: `ConvProblem`, what its weights are views of, and lax's own
primitive. `jax_private` holds all that is used of JAX beyond its public API.
"""
