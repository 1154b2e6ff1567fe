"""Networks of the package pytorchcv in Flax, with the same attribute names."""
