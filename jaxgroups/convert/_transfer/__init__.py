"""Carry out a plan: file to model, model to file, file to file; and verify the result."""
