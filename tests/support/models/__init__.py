"""nnx models with the attribute names of the torch models that they are compared with."""
