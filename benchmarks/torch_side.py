"""One convolution by PyTorch, in its two memory layouts; the faster one counts."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.data import Data
from benchmarks.prepared import Prepared

LAYOUTS = ("contiguous", "channels_last")
_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass(frozen=True)
class Settings:
    """What torch has to know of a convolution; `jaxgroups.ConvSpec` has the same attributes."""

    op: str
    dtype: str
    transposed: bool
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, spec: Any) -> "Settings":
        padding = tuple(low for low, _ in spec.padding)
        names = ("op", "dtype", "transposed", "stride", "dilation", "output_padding", "groups")
        return cls(padding=padding, **{name: getattr(spec, name) for name in names})

    def in_atens_order(self) -> tuple:
        """stride, padding, dilation, transposed, output_padding, groups."""
        last = (self.transposed, self.output_padding, self.groups)
        return self.stride, self.padding, self.dilation, *last


def request(spec: Any) -> dict[str, Any]:
    """The settings of a spec, as `prepare` reads them."""
    return asdict(Settings.of(spec))


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The tensor with its channels first or last in memory; the shape stays the same."""
    rank = tensor.ndim - 2
    if layout == "contiguous":
        return tensor.contiguous()
    if rank in _FORMATS:
        return tensor.contiguous(memory_format=_FORMATS[rank])
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)  # torch has no such format in 1-D


def by_torch(settings: Settings, data: Data, mode: str, layout: str) -> Prepared:
    """PyTorch in one memory layout; call it within ``torch.inference_mode()``."""
    dtype = getattr(torch, settings.dtype)
    x, weight, cotangent = (
        laid_out(torch.from_numpy(array).to(dtype), layout)
        for array in (data.x, data.weight, data.cotangent)
    )
    function = getattr(torch.nn.functional, settings.op)
    extra: tuple = (settings.dilation, settings.groups)
    if settings.transposed:
        extra = (settings.output_padding, settings.groups, settings.dilation)

    def forward() -> tuple:
        return (function(x, weight, None, settings.stride, settings.padding, *extra),)

    def gradients() -> tuple:
        return torch.ops.aten.convolution_backward(
            cotangent, x, weight, None, *settings.in_atens_order(), (True, True, False)
        )[:2]

    call = forward if mode == "forward" else gradients
    exact = getattr(torch, data.x.dtype.name)

    def results() -> list[np.ndarray]:
        return [y.to(exact).contiguous().numpy() for y in call()]

    return Prepared(call, results, {"layout": layout})


def prepare(request: dict[str, Any]) -> Prepared:
    """The contestant ``torch LAYOUT`` in a worker."""
    torch.set_num_threads(request["threads"])
    _only_inference()
    settings = Settings(**request["settings"])
    layout = request["contestant"].removeprefix("torch ")
    return by_torch(settings, Data.load(request["data"]), request["mode"], layout)


@cache
def _only_inference() -> torch.inference_mode:
    """The mode in which this process stays; entered once, as it adds to the time of a call."""
    mode = torch.inference_mode()
    mode.__enter__()
    return mode
