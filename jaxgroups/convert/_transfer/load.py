"""Checkpoints into Flax models and back: plan, read everything, and only then touch the model."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.names import Names
from jaxgroups.convert._model.structure import Structure, of_linen, of_nnx
from jaxgroups.convert._plan.build import build
from jaxgroups.convert._plan.lint import lint
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer.read import Report, Source, opened, read, refuse_stamped


def structure_of(model: Any, example: Any = None) -> Structure:
    """Structure of an nnx model, or of a linen module with an example of its input.

    Raises:
      TypeError: neither of them, or a linen module without `example`.
    """
    if isinstance(model, Structure):
        return model
    if isinstance(model, nnx.Module):
        return of_nnx(model)
    if isinstance(model, nn.Module) and example is not None:
        return of_linen(model, example)
    raise TypeError(
        "model must be a flax.nnx.Module (nnx.eval_shape is enough), or a flax.linen.Module with "
        f"example= an input or its shape; got {type(model).__name__}"
    )


def plan(
    model: Any,
    checkpoint: Source,
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
    key: str | None = None,
    example: Any = None,
) -> Plan:
    """Which torch tensor goes into which Flax leaf, and how; nothing is loaded.

    Args:
      model: ``flax.nnx`` model, real or from ``nnx.eval_shape``, or linen module with `example`.
      checkpoint: path of a .safetensors, .safetensors.index.json, .pt or .pth file; a dict works.
      names: torch names that differ from the Flax paths: ``{flax path: torch name}``,
        (regex, replacement) pairs, or a function.
      rules: ``{flax path: rule}`` for single layers, such as ``FlattenLinear(512, 7, 7)``.
      ignore: regular expressions of torch keys to leave out.
      prefix: what stands before every torch key, such as ``"module."``.
      key: where in a nested checkpoint the state_dict is, such as ``"model"``.
    """
    structure = structure_of(model, example)
    with opened(checkpoint, key) as source:
        refuse_stamped(source)
        made = build(
            structure,
            source.infos,
            source.aliases,
            names=names,
            rules=rules,
            ignore=ignore,
            prefix=prefix,
        )
    made.warnings += lint(structure, made)
    return made


def load_torch(
    model: nnx.Module,
    checkpoint: Source,
    *,
    strict: bool = True,
    dtype: Any = "keep",
    key: str | None = None,
    **how: Any,
) -> tuple[Any, Report]:
    """Fill an nnx model with a torch checkpoint; `how` is as in `plan`.

    Args:
      strict: refuse unless every leaf is filled and every tensor used; without it, what is missing
        keeps its value, and is in the report. A tensor that does not fit is refused in any case.
      dtype: ``"keep"`` the checkpoint's dtypes bit for bit, ``"model"`` casts to the model's, or
        a dtype for all floating leaves; casts are listed in the report.

    Returns:
      The same model, filled, and the report. An abstract model becomes a real one; its random
      streams (of Dropout) then start from seed 0.

    Raises:
      ConversionError: all problems at once; the model is then untouched.
      ValueError: values that jax or the asked dtype cannot hold.
    """
    structure = structure_of(model)
    with opened(checkpoint, key) as source:
        made = plan(structure, source, **how)
        values, report = read(made, source, structure, strict, dtype)
    by_path = {param.path: values[param.name] for param in structure.params if param.name in values}
    leaves, streams = [], 0
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        value = by_path.get(tuple(path))
        if isinstance(leaf, nnx.RngState):
            streams += _seeded(leaf, streams)
        elif value is not None and isinstance(leaf, nnx.Variable):
            leaf.set_value(value)
        elif value is not None:
            leaf = value
        leaves.append((path, leaf))
    nnx.update(model, nnx.from_flat_state(leaves))
    return model, report


def _seeded(variable: nnx.RngState, number: int) -> bool:
    """Makes an abstract random stream a real one; each has a key of its own."""
    value = variable.get_value()
    if not isinstance(value, jax.ShapeDtypeStruct):
        return False
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        key = jax.random.fold_in(jax.random.key(0), number)
        variable.set_value(jax.random.split(key, value.shape) if value.shape else key)
    else:
        variable.set_value(jnp.zeros(value.shape, value.dtype))
    return True


def load_torch_linen(
    module: nn.Module,
    checkpoint: Source,
    *,
    example: Any,
    strict: bool = True,
    dtype: Any = "keep",
    key: str | None = None,
    **how: Any,
) -> tuple[dict[str, Any], Report]:
    """The variables of a linen module from a torch checkpoint: ``{"params": ..., ...}``.

    `example` is an input, or its ``jax.ShapeDtypeStruct``; the rest as in `load_torch`. Without
    `strict`, leaves that are missing are not among the variables.
    """
    structure = structure_of(module, example)
    with opened(checkpoint, key) as source:
        made = plan(structure, source, **how)
        values, report = read(made, source, structure, strict, dtype)
    variables: dict[str, Any] = {}
    for param in structure.params:
        if param.name in values:
            place = variables.setdefault(param.collection, {})
            for part in param.path[:-1]:
                place = place.setdefault(part, {})
            place[param.path[-1]] = values[param.name]
    return variables, report
