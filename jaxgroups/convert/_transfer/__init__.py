"""Execute a plan, from file to model, model to file or file to file, and verify the result."""
