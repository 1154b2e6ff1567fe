"""Networks of the package pytorchcv written again in Flax, with its attribute names."""
