"""Small PyTorch networks in the style of public architectures, one file a network."""
