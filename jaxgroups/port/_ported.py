"""A ported network: its source, its model with weights, its proof."""

import json
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import jaxgroups.nnx as jnn
from jaxgroups.port._weights import save_weights
from jaxgroups.port._whole import Transposition

_SPACE = "ported"  # the module in which the source runs
_ON_FEATURES = (
    nnx.Linear, jnn.Bilinear, jnn.RNN, jnn.LSTM, jnn.GRU, jnn.RNNCell, jnn.LSTMCell, jnn.GRUCell
)  # fmt: skip


@dataclass
class Ported:
    """What `port` returns.

    Attributes:
      source: the text of the Flax module.
      name: the name of its class.
      transpositions: the transpositions of feature maps that could not be avoided.
      inputs: by input, the order of its axes: ``inputs[i]`` is torch's axis at place i.
      outputs: the same of the outputs.
      unused: tensors of torch that the forward pass does not read.
      rules: of `load_torch`: the layers that read a flattened feature map.
      notes: what a reader should know.
      module: the original.
      example, kwargs: its inputs by position and by name, as tensors.
    """

    source: str
    name: str
    transpositions: list[Transposition]
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    unused: list[str] = field(default_factory=list)
    rules: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    module: Any = None
    example: Any = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    def build(self, rngs: nnx.Rngs | None = None) -> nnx.Module:
        """A new model of the source's class, with new weights.

        Args:
          rngs: for the weights and for dropout; ``nnx.Rngs(0)`` if not given.
        """
        space = types.ModuleType(_SPACE)
        exec(compile(self.source, f"<ported {self.name}>", "exec"), space.__dict__)
        return getattr(space, self.name)(rngs=nnx.Rngs(0) if rngs is None else rngs)

    def model(self, rngs: nnx.Rngs | None = None) -> nnx.Module:
        """The model with the weights of the original, in evaluation mode.

        Args:
          rngs: for dropout; ``nnx.Rngs(0)`` if not given.
        """
        from jaxgroups.convert import load_torch
        from jaxgroups.port._merged import merged

        model = self.build(rngs)
        weights = merged(self.module)[0].state_dict()
        loaded, _ = load_torch(model, weights, **self.how(model))
        loaded.eval()
        return loaded

    def how(self, model: nnx.Module) -> dict[str, Any]:
        """The arguments of `load_torch` and `prove`: rules, and what is not read."""
        from jaxgroups import convert

        found: dict[str, Any] = {}
        for path, layer in nnx.iter_modules(model):
            kind, sizes = self.rules.get(torch_name(model, path), ("", ()))
            if kind:
                found |= _operations(path, layer, getattr(convert, kind)(*sizes))
            elif _holds_arrays(layer):
                found |= _operations(path, layer, convert.Identity())
            elif isinstance(layer, _ON_FEATURES):  # what they read lies in torch's order
                found[".".join(map(str, path))] = convert.KeepOrder()
        return {"rules": found, "ignore": tuple(self.unused)}

    def arrays(self) -> list[Any]:
        """The tensors of the example, in the orders of the Flax module."""
        return [
            np.transpose(np.asarray(x), order)
            for x, order in zip(self._leaves(), self.inputs, strict=True)
        ]

    def _leaves(self) -> list[Any]:
        leaves = jax.tree.leaves((self.example, self.kwargs))
        return [x for x in leaves if hasattr(x, "detach")]

    def prove(self, **how: Any) -> Any:
        """The proof that the Flax module is the original; see `jaxgroups.prove.prove`."""
        from jaxgroups.port._merged import merged
        from jaxgroups.prove import prove

        if self.kwargs or any(not hasattr(x, "detach") for x in self.example):
            raise ValueError("prove takes tensors by position only: not by name, not nested")
        examples: list[Any] = [
            tuple(x.shape) if x.is_floating_point() else np.asarray(x) for x in self.example
        ]
        last = tuple(order != tuple(range(len(order))) for order in self.inputs)
        model = nnx.eval_shape(lambda: self.build())
        module, computed = merged(self.module)
        proof = prove(
            module,
            model,
            tuple(examples) if len(examples) > 1 else examples[0],
            channels_last=last,
            **self.how(model),
            **how,
        )
        proof.notes.extend(f"{name}: compared after it was merged" for name in computed)
        return proof

    def write(self, folder: str | Path, *, proof: Any = None) -> list[Path]:
        """Write the source, the weights, and the proof into a folder, which is made.

        Args:
          folder: the folder; files of these names in it are replaced.
          proof: of `prove`; without one no proof is written.

        Returns:
          The files: ``model.py``, ``weights.safetensors`` for `load_weights`, ``proof.json``.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        files = [path / "model.py", path / "weights.safetensors"]
        save_weights(self.model(), files[1])
        files[0].write_text(self.source, encoding="utf-8")
        if proof is not None:
            files.append(path / "proof.json")
            files[2].write_text(json.dumps(proof.as_dict(), indent=2) + "\n", encoding="utf-8")
        return files

    def as_dict(self) -> dict[str, Any]:
        """What the command prints with ``--json``."""
        return {
            "name": self.name,
            "lines": len(self.source.splitlines()),
            "transpositions": [
                {"module": m.path, "line": m.line, "shape": [str(n) for n in m.shape]}
                for m in self.transpositions
            ],
            "inputs": [list(order) for order in self.inputs],
            "outputs": [list(order) for order in self.outputs],
            "unused": self.unused,
            "notes": self.notes,
            "source": self.source,
        }


def torch_name(model: nnx.Module, path: tuple[Any, ...]) -> str:
    """The name in torch of a module: the path without the ``layers`` of ``nnx.Sequential``."""
    parts = []
    held: Any = model
    for part in path:
        if not (isinstance(held, nnx.Sequential) and part == "layers"):
            parts.append(str(part))
        held = _member(held, part)
    return ".".join(parts)


def _holds_arrays(layer: Any) -> bool:
    """Whether arrays directly within it belong to no layer; a class may extend one."""
    own = type(layer).__module__ == _SPACE and nnx.Module in type(layer).__bases__
    return own or isinstance(layer, nnx.List | nnx.Dict)


def _member(held: Any, part: Any) -> Any:
    return held[part] if isinstance(part, int) else getattr(held, part)


def _operations(path: Any, layer: Any, rule: Any) -> dict[str, Any]:
    """The operation of each parameter of a layer, by path."""
    state: Any = nnx.to_flat_state(nnx.state(layer))
    shapes = {
        str(leaf[0]): tuple(variable.get_value().shape)
        for leaf, variable in state
        if len(leaf) == 1 and hasattr(variable.get_value(), "shape")
    }
    front = "".join(f"{part}." for part in path)
    if not callable(rule):  # one operation for all of them
        return {f"{front}{leaf}": rule for leaf in shapes}
    made: Any = rule(layer, shapes)
    leaves: dict[str, Any] = made.leaves
    return {f"{front}{leaf}": one.op for leaf, one in leaves.items() if hasattr(one, "op")}
