"""The plan: one entry a tensor, with its operation and its status, made from a model and a file."""
