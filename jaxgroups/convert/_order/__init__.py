"""The order of flattened features, torch's (C, *spatial) or Flax's (*spatial, C), by data flow."""
