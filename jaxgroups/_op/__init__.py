"""The operation: JAX's primitive for a convolution and the public functions on it."""
