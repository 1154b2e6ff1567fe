"""A Flax model as data: its layers and parameters by path, and the torch name of each."""
