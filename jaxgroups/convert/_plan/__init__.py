"""The plan: one entry for each tensor, with its operation and its status."""
