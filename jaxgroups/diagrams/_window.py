"""Stride, padding and dilation drawn along one axis: what the first two windows cover.

The cells are the input with its padding in front, and below are the elements of the kernel at the
first two outputs. Of a transposed convolution the cells are the output, of which padding is cropped
off, and below is what the first two inputs write.
"""

from jaxgroups._spec import arithmetic
from jaxgroups._spec.spec import ConvSpec
from jaxgroups.diagrams import _palette as palette
from jaxgroups.diagrams import _words as words
from jaxgroups.diagrams._scene import Box, Scene, Text, text_width

CELL = 12
MOST = 40  # cells that are drawn; a longer window is told in words alone
SMALL = 11


def strip(spec: ConvSpec) -> Scene:
    """The scene, empty where the kernel just moves by one over the input as it is."""
    text = words.window(spec)
    scene = Scene()
    if not text:
        return scene
    scene.shapes.append(Text(0, 12, text, SMALL + 1, colour=palette.MUTED))
    scene.width, scene.height = text_width(text, SMALL + 1), 18
    axis = _axis(spec)
    kernel, stride, dilation = spec.kernel_size[axis], spec.stride[axis], spec.dilation[axis]
    pad = max(spec.padding[axis][0], 0)
    cells = arithmetic.dilated(kernel, dilation) + stride
    if max(cells, pad + 1) > MOST:
        return scene
    cells = max(cells, pad + 1)
    sides = ("output", "input") if spec.transposed else ("input", "output")
    along = f" along {words.AXES[spec.rank][axis]}" if spec.rank > 1 else ""
    labels = (f"{sides[0]}{along}", f"{sides[1]} 0", f"{sides[1]} 1")
    left = max(text_width(label, SMALL) for label in labels) + 8
    style = palette.style(0)
    for row, label in enumerate(labels):
        y = 26 + row * (CELL + 4)
        scene.shapes.append(Text(left - 8, y + CELL - 2, label, SMALL, "end"))
        if row == 0:
            places, fills = range(cells), [palette.PAPER] * pad + [palette.TINT] * (cells - pad)
        else:
            places = [(row - 1) * stride + tap * dilation for tap in range(kernel)]
            fills = [style.fill] * kernel
        edge = palette.INK if row else palette.MUTED
        for place, fill in zip(places, fills, strict=True):
            scene.shapes.append(Box(left + place * CELL, y, CELL, CELL, fill, edge))
    if pad:
        what = "cropped" if spec.transposed else "padding"
        note = f"white: {what}"
        x = left + cells * CELL + 10
        scene.shapes.append(Text(x, 26 + CELL - 2, note, SMALL, colour=palette.MUTED))
        scene.width = max(scene.width, x + text_width(note, SMALL))
    scene.width = max(scene.width, left + cells * CELL)
    scene.height = 26 + len(labels) * (CELL + 4)
    return scene


def _axis(spec: ConvSpec) -> int:
    """The last axis on which the window is not the plain one."""
    settings = zip(spec.stride, spec.padding, spec.dilation, strict=True)
    plain = (1, (0, 0), 1)
    return max(axis for axis, setting in enumerate(settings) if setting != plain)
