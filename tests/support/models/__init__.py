"""Plain nnx models whose attributes are named as in the torch models they are compared with."""
