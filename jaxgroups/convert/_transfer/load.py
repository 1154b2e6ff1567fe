"""Load a checkpoint into a Flax model: plan, read everything, and only then change the model."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.names import Names
from jaxgroups.convert._model.structure import Structure, of_linen, of_nnx
from jaxgroups.convert._plan.build import build
from jaxgroups.convert._plan.declared import declared
from jaxgroups.convert._plan.lint import lint
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._transfer.read import Report, Source, opened, read, refuse_stamped


def structure_of(model: Any, example: Any = None) -> Structure:
    """The structure of an nnx model, or of a linen module with an example of its input.

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
    """Plan a conversion: which torch tensor goes into which Flax parameter, and how.

    Nothing is loaded. The plan may be incomplete: `Plan.problems` lists why.

    Args:
      model: ``flax.nnx`` model, real or from ``nnx.eval_shape``, or linen module with `example`.
      checkpoint: path of a .safetensors, .pt, .pth or .bin file, or of the .index.json of several;
        an open checkpoint; or a dict of arrays.
      names: torch names that differ from the Flax paths: ``{flax path: torch name}``,
        (regex, replacement) pairs, or a function.
      rules: ``{flax path: rule}`` for single layers, such as ``FlattenLinear(512, 7, 7)``.
      ignore: regular expressions of torch keys to leave out.
      prefix: text in front of every torch key, such as ``"module."``.
      key: where in a nested checkpoint the state_dict is, such as ``"model"``.
      example: an input of a linen module, or its ``jax.ShapeDtypeStruct``; a tuple for several.

    Returns:
      The plan, complete or not.

    Raises:
      TypeError: not a model, a checkpoint or a rule.
      ValueError: a checkpoint that is already converted, or an invalid regular expression.
      CheckpointError: a file that cannot be read, or one whose metadata say that its weights are
        in the layout of another framework than torch.
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
        made.warnings += declared(source, made.entries)
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
    """Fill an nnx model with a torch checkpoint.

    Args:
      model: the nnx model, real or from ``nnx.eval_shape``.
      checkpoint, key: as in `plan`.
      strict: whether every parameter must be filled and every tensor used. Otherwise parameters
        without a tensor keep their values, and the report lists them. A tensor that does not fit
        is an error in any case.
      dtype: ``"keep"`` the checkpoint's dtypes bit for bit, ``"model"`` casts to the model's, or
        a dtype for all floating parameters; the report lists the casts.
      how: `names`, `rules`, `ignore` and `prefix`, as in `plan`.

    Returns:
      The same model, filled, and the report. An abstract model becomes a real one; its random
      streams (of Dropout) then start from seed 0.

    Raises:
      ConversionError: the plan's problems, all at once; the model is unchanged.
      ValueError: values that jax or the dtype cannot hold; a checkpoint that is already converted.
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
    """Make an abstract random stream real, with a key of its own; whether it was abstract."""
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
    """The variables of a linen module from a torch checkpoint.

    Args:
      module: the linen module.
      example: an input, or its ``jax.ShapeDtypeStruct``; a tuple for several arguments.
      checkpoint, strict, dtype, key, how: as in `load_torch`; without `strict`, the variables lack
        the parameters that have no tensor.

    Returns:
      The variables, ``{"params": ..., ...}``, and the report.

    Raises:
      ConversionError, ValueError: as in `load_torch`.
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
