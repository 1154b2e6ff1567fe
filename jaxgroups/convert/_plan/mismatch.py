"""Checks that a tensor of the checkpoint fits its parameter."""

from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.structure import ParamInfo
from jaxgroups.convert._plan import dtype_kinds as kinds
from jaxgroups.convert._rules import ops


def mismatch(param: ParamInfo, key: str, info: TensorInfo, op: ops.Op) -> str:
    """Why a tensor does not fit a parameter, with torch's sentence; empty if it does."""
    try:
        shape = op.flax_shape(tuple(info.shape))
        reason = "" if shape == param.shape else f"it would become {shape}"
    except ops.ShapeRefused as error:
        reason = str(error)
    if reason:
        return (
            f"size mismatch for {key}: copying a param with shape {tuple(info.shape)} from "
            f"checkpoint, the shape in current model is {param.shape} at {param.name} ({reason})."
        )
    if kinds.kind(info.dtype) != kinds.kind(param.dtype):
        return (
            f"dtype mismatch for {key}: {info.dtype} in the checkpoint, {param.dtype} at "
            f"{param.name}; a cast would change what the values mean."
        )
    return ""
