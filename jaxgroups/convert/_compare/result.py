"""The differences of two models, layer by layer: as values, as text, as HTML."""

from dataclasses import dataclass, field

from jaxgroups._printable import printable
from jaxgroups.convert._files.show import counted, html_table


@dataclass(frozen=True)
class Difference:
    """The outputs of one layer in both models.

    Attributes:
      torch, flax: the layer's name in each model.
      relative: the largest difference, relative to the largest value of torch's output; infinite
        where the shapes differ.
      torch_shape, flax_shape: the shapes of the outputs.
      in_other_order: the difference with another axis as torch's channels; None where the shapes
        allow one order only.
    """

    torch: str
    flax: str
    relative: float
    torch_shape: tuple[int, ...]
    flax_shape: tuple[int, ...]
    in_other_order: float | None = None


@dataclass(frozen=True, repr=False)
class Comparison:
    """The differences of all layers that both models ran, in torch's order of execution.

    Attributes:
      layers: the difference of each layer's outputs.
      rtol: the largest relative difference allowed.
      blocks: containers whose outputs differ although their layers and the layer after them agree:
        they end with different layers in the two models.
      uncompared: layers of torch, and ``""`` for the whole module, without a counterpart: no module
        of the Flax model has the name, or it does not return an array.
    """

    layers: list[Difference]
    rtol: float
    blocks: list[Difference] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)

    @property
    def first(self) -> Difference | None:
        """The first layer whose difference is larger than `rtol`, or None."""
        return next((d for d in self.layers if not d.relative <= self.rtol), None)

    def __repr__(self) -> str:
        bad = sum(not d.relative <= self.rtol for d in self.layers)
        verdict = f"{bad} beyond" if bad else "all within"
        return f"Comparison({counted(len(self.layers), 'layer')}, {verdict} {self.rtol:g})"

    def _repr_html_(self) -> str:
        """The differences as an HTML table, for notebooks."""
        rows = [
            (d.torch, d.flax, f"{d.relative:.3g}", str(d.torch_shape), str(d.flax_shape))
            for d in self.layers
        ]
        header = ("torch", "flax", "relative difference", "torch shape", "flax shape")
        return html_table(repr(self), header, rows, [str(self)])

    def __str__(self) -> str:
        bad = self.first
        if bad is None:
            lines = [f"{len(self.layers)} layers agree within {self.rtol:g}"]
        else:
            where = printable(f"{bad.torch} ({bad.flax})")
            lines = [
                f"first difference at {where}: {bad.relative:.3g} relative, "
                f"allowed {self.rtol:g}; torch {bad.torch_shape}, Flax {bad.flax_shape}"
            ]
            other = bad.in_other_order
            if other is not None and other <= self.rtol:
                lines.append("they agree in another order of axes: one of the models transposes")
        if self.blocks:
            names = printable(", ".join(d.torch for d in self.blocks))
            lines.append(
                f"no difference: {names} ends with another layer in the Flax model; its layers "
                "and the next layer agree"
            )
        if self.uncompared:
            some = ", ".join(name or "the whole model" for name in self.uncompared[:5])
            more = f" and {len(self.uncompared) - 5} more" if len(self.uncompared) > 5 else ""
            lines.append(
                printable(f"not compared: {some}{more}: no array of that name in the Flax model")
            )
        return "\n".join(lines)
