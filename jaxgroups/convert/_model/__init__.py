"""A Flax model as data: its layers and leaves by path, and torch's name of each."""
