"""One convolution by PyTorch, in its two memory layouts; the faster one counts."""

import numpy as np
import torch

import jaxgroups as jg
from benchmarks.data import Contestant, Data

LAYOUTS = ("contiguous", "channels_last")
_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The tensor with its channels first or last in memory; the shape stays the same."""
    rank = tensor.ndim - 2
    if layout == "contiguous":
        return tensor.contiguous()
    if rank in _FORMATS:
        return tensor.contiguous(memory_format=_FORMATS[rank])
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)  # torch has no such format in 1-D


def torch_settings(spec: jg.ConvSpec) -> tuple:
    """stride, padding, dilation, transposed, output_padding, groups: aten's order."""
    padding = tuple(low for low, _ in spec.padding)
    rest = (spec.transposed, spec.output_padding, spec.groups)
    return spec.stride, padding, spec.dilation, *rest


def by_torch(spec: jg.ConvSpec, data: Data, mode: str, layout: str) -> Contestant:
    """PyTorch in one memory layout; call it within ``torch.inference_mode()``."""
    dtype = getattr(torch, spec.dtype)
    x, weight, cotangent = (
        laid_out(torch.from_numpy(array).to(dtype), layout)
        for array in (data.x, data.weight, data.cotangent)
    )
    stride, padding, dilation, transposed, output_padding, groups = torch_settings(spec)
    function = getattr(torch.nn.functional, spec.op)
    extra = (output_padding, groups, dilation) if transposed else (dilation, groups)

    def forward() -> tuple:
        return (function(x, weight, None, stride, padding, *extra),)

    def gradients() -> tuple:
        return torch.ops.aten.convolution_backward(
            cotangent, x, weight, None, *torch_settings(spec), (True, True, False)
        )[:2]

    call = forward if mode == "forward" else gradients
    exact = getattr(torch, data.x.dtype.name)

    def results() -> list[np.ndarray]:
        return [y.to(exact).contiguous().numpy() for y in call()]

    return Contestant(f"torch {layout}", call, results, {"layout": layout})
