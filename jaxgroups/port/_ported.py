"""A ported network: its source, its model with weights, its proof."""

import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxgroups.port._body import Move

Arrays = tuple[Any, ...]


@dataclass
class Ported:
    """What `port` returns.

    Attributes:
      source: the text of the Flax module.
      name: the name of its class.
      moves: the transpositions of feature maps that could not be avoided.
      inputs: by input, the order of its axes: ``inputs[i]`` is torch's axis at place i.
      outputs: the same of the outputs.
      unused: tensors of torch that the forward pass does not read.
      rules: of `load_torch`: the layers that read a flattened feature map.
      notes: what a reader should know.
    """

    source: str
    name: str
    moves: list[Move]
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    unused: list[str] = field(default_factory=list)
    rules: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    module: Any = None
    example: Any = None

    def build(self, rngs: nnx.Rngs | None = None) -> nnx.Module:
        """A new model, with new weights."""
        space = types.ModuleType("ported")
        exec(compile(self.source, f"<ported {self.name}>", "exec"), space.__dict__)
        return getattr(space, self.name)(rngs=nnx.Rngs(0) if rngs is None else rngs)

    def model(self, rngs: nnx.Rngs | None = None) -> nnx.Module:
        """The model with the weights of the original, in evaluation mode."""
        from jaxgroups.convert import load_torch

        model = self.build(rngs)
        loaded, _ = load_torch(model, self.module.state_dict(), **self.how())
        loaded.eval()
        return loaded

    def how(self) -> dict[str, Any]:
        """The arguments of `load_torch` and `prove`: rules, and what is not read."""
        from jaxgroups import convert

        rules = {path: getattr(convert, kind)(*sizes) for path, (kind, sizes) in self.rules.items()}
        return {"rules": rules, "ignore": tuple(self.unused)}

    def arrays(self) -> Arrays:
        """The example in the orders of the Flax module."""
        return tuple(
            np.transpose(np.asarray(x.detach().cpu()), order)
            for x, order in zip(self.example, self.inputs, strict=True)
        )

    def prove(self, **how: Any) -> Any:
        """The proof that the Flax module is the original; see `jaxgroups.prove.prove`."""
        from jaxgroups.prove import prove

        examples = tuple(
            tuple(x.shape) if x.is_floating_point() else np.asarray(x) for x in self.example
        )
        last = tuple(order != tuple(range(len(order))) for order in self.inputs)
        return prove(
            self.module,
            nnx.eval_shape(lambda: self.build()),
            examples if len(examples) > 1 else examples[0],
            channels_last=last,
            **self.how(),
            **how,
        )

    def write(self, folder: str | Path) -> None:
        """Write ``model.py`` into a folder, which is made."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.py").write_text(self.source, encoding="utf-8")
