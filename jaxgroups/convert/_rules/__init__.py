"""What each layer type holds in torch's names, and operations from torch's tensors to Flax's."""
