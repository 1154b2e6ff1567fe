"""The normalization layers of jaxgroups, by torch's base classes."""

from jaxgroups import nnx as jg_nnx

BATCH_NORMS = (jg_nnx.BatchNorm1d, jg_nnx.BatchNorm2d, jg_nnx.BatchNorm3d)
INSTANCE_NORMS = (jg_nnx.InstanceNorm1d, jg_nnx.InstanceNorm2d, jg_nnx.InstanceNorm3d)
TRAILING_NORMS = (jg_nnx.LayerNorm, jg_nnx.RMSNorm)
