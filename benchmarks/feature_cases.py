"""The pools, resizes and norms that are timed, at sizes that occur in the benchmark networks.

A case is a class of ``torch.nn`` and its arguments. `jaxgroups.nnx` has the same names.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One layer on one image size.

    Attributes:
      family: what is averaged together.
      layer: name of the class.
      size: height, width and channels of the input.
      arguments: keyword arguments of the class.
    """

    family: str
    layer: str
    size: tuple[int, int, int]
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{'x'.join(map(str, self.size))} {self.layer}({given})"


_STEM = {"kernel_size": 3, "stride": 2, "padding": 1}
_DOUBLED = {"scale_factor": 2}
CASES = (
    Case("max pool", "MaxPool2d", (112, 112, 64), _STEM),
    Case("max pool", "MaxPool2d", (112, 112, 24), _STEM),
    Case("max pool", "MaxPool2d", (56, 56, 128), {"kernel_size": 2}),
    Case("max pool", "MaxPool2d", (28, 28, 192), {"kernel_size": 3, "stride": 1, "padding": 1}),
    Case("average pool", "AvgPool2d", (56, 56, 128), {"kernel_size": 2}),
    Case("average pool", "AvgPool2d", (56, 56, 256), _STEM),
    Case("adaptive pool", "AdaptiveAvgPool2d", (7, 7, 2048), {"output_size": 1}),
    Case("adaptive pool", "AdaptiveAvgPool2d", (7, 7, 1280), {"output_size": 1}),
    Case("adaptive pool", "AdaptiveAvgPool2d", (13, 13, 256), {"output_size": 6}),
    Case("adaptive pool", "AdaptiveMaxPool2d", (14, 14, 512), {"output_size": 7}),
    Case("resize", "Upsample", (28, 28, 256), _DOUBLED | {"mode": "nearest"}),
    Case("resize", "Upsample", (28, 28, 256), _DOUBLED | {"mode": "bilinear"}),
    Case("resize", "Upsample", (56, 56, 64), {"size": 224, "mode": "bilinear"}),
    Case("BatchNorm in training", "BatchNorm2d", (56, 56, 64), {"num_features": 64}),
    Case("BatchNorm in training", "BatchNorm2d", (14, 14, 1024), {"num_features": 1024}),
    Case("BatchNorm in training", "BatchNorm2d", (112, 112, 32), {"num_features": 32}),
)
