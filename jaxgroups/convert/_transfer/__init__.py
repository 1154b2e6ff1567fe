"""Moves the data of a plan: file to model, model to file, file to file; and verifies it."""
