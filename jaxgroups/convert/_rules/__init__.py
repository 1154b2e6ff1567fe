"""The torch tensors of each layer type, and the operations between torch's and Flax's tensors."""
