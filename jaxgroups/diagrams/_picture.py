"""`draw`: a picture of a convolution, as a file, a figure, text, or the output of a notebook."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxgroups._spec.spec import ConvSpec
from jaxgroups._spec.ungrouped import ungrouped
from jaxgroups.diagrams import _matplotlib as mpl
from jaxgroups.diagrams import _weights as values_of
from jaxgroups.diagrams._layout import layout
from jaxgroups.diagrams._scene import Scene
from jaxgroups.diagrams._structure import Structure, structure
from jaxgroups.diagrams._text import TextPicture


@dataclass(frozen=True, repr=False)
class Picture:
    """A drawn convolution. A notebook shows it as SVG, ``print`` prints its text form.

    Attributes:
      spec: the convolution.
      values: the weights in torch's layout, or None.
      compare: whether the ordinary convolution is drawn beside a grouped one.
      counted: whether `values` are 1, 2, 3, ... and not a layer's weights.
      bias: the bias of the layer whose weights are drawn, or None.
    """

    spec: ConvSpec
    values: np.ndarray | None = None
    compare: bool = True
    counted: bool = False
    bias: np.ndarray | None = None

    @property
    def structure(self) -> Structure:
        """What is drawn, as data."""
        return structure(self.spec)

    @property
    def _ordinary_values(self) -> np.ndarray | None:
        """1, 2, 3, ... for the ordinary convolution, where they fit; None for other weights."""
        beside = ungrouped(self.spec)
        return values_of.counting(beside) if self.counted and values_of.fits(beside) else None

    def scene(self) -> Scene:
        """Shapes and texts at their places, before any renderer."""
        return layout(self.spec, self.values, self.compare, self._ordinary_values, self.bias)

    def figure(self) -> Any:
        """A ``matplotlib.figure.Figure``."""
        return mpl.figure(self.scene())

    def svg(self) -> str:
        """The picture as SVG, the same bytes each time."""
        return mpl.render(self.scene(), "svg").decode()

    def save(self, path: str | Path) -> None:
        """Write the picture: .svg, .png or .pdf.

        Raises:
          ValueError: the path has another suffix.
          ImportError: matplotlib is not installed.
        """
        path = Path(path)
        content = mpl.render(self.scene(), path.suffix.removeprefix(".").lower())
        path.write_bytes(content)

    def text(self, width: int = 100) -> str:
        """The picture as text, without matplotlib; `width` is that of the terminal."""
        return self._text().plain(width)

    def _text(self) -> TextPicture:
        return TextPicture(self.spec, self.values, self.compare, self._ordinary_values, self.bias)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Picture {self.spec}{'' if self.values is None else ', with weights'}>"

    def __rich__(self) -> TextPicture:
        return self._text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": self.text()}
        return bundle | ({"image/svg+xml": self.svg()} if mpl.available() else {})


def draw(what: Any, *, weights: Any = None, compare: bool = True) -> Picture:
    """A picture of the channels that each filter of a convolution reads and writes.

        draw(ConvSpec.of("conv2d", 4, 8, 1, groups=2)).save("groups.svg")

    Args:
      what: a `ConvSpec`, its descriptor, or a layer of `jaxgroups.nnx` or `jaxgroups.linen`.
      weights: write values into the kernels. True: those that an nnx layer holds, for a spec 1,
        2, 3, ... in torch's order; or an array as the layer keeps it (``spec.weight_shape``).
      compare: draw the ordinary convolution beside a grouped one.

    Raises:
      ValueError: an unknown number of channels, weights of another shape or without room.
      TypeError: neither a spec nor a layer.
    """
    spec = spec_of(what)
    kernel = getattr(what, "kernel", None)
    counted = weights is True and kernel is None
    if weights is None or weights is False:
        return Picture(spec, None, compare)
    if counted:
        values_of.check_room(spec)
        return Picture(spec, values_of.counting(spec), compare, True)
    given = _held(kernel) if weights is True else weights
    bias = getattr(what, "bias", None) if weights is True and spec.bias else None
    values = values_of.checked(spec, given)
    return Picture(spec, values, compare, bias=None if bias is None else _held(bias))


def _held(parameter: Any) -> np.ndarray:
    try:
        return np.asarray(parameter[...])
    except TypeError as error:  # of nnx.eval_shape
        raise ValueError("this layer is abstract and holds no weights: give an array") from error


def spec_of(what: Any) -> ConvSpec:
    """The spec of what `draw` takes; a layer is anything with a `spec`, so Flax is not imported."""
    if isinstance(what, str):
        return ConvSpec.parse(what)
    if isinstance(what, ConvSpec):
        return what
    spec = getattr(what, "spec", None)  # of a linen layer without in_channels a ValueError
    if isinstance(spec, ConvSpec):
        return spec
    raise TypeError(
        "draw takes a ConvSpec, its descriptor or a layer of jaxgroups, but got "
        f"{type(what).__name__}"
    )


def mimebundle(spec: ConvSpec) -> dict[str, str]:
    """What a notebook shows of a spec: its picture, where matplotlib is installed."""
    bundle = {"text/plain": repr(spec)}
    return bundle | ({"image/svg+xml": Picture(spec).svg()} if mpl.available() else {})
