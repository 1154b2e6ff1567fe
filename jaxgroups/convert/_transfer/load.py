"""Load a checkpoint into a Flax model. The model is changed only after everything was read."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from jaxgroups.convert._files import Checkpoint
from jaxgroups.convert._model.names import Names
from jaxgroups.convert._model.structure import Structure, nested, of_linen, of_nnx
from jaxgroups.convert._order.order import order_features
from jaxgroups.convert._plan.build import build
from jaxgroups.convert._plan.declared import declared
from jaxgroups.convert._plan.lint import lint
from jaxgroups.convert._plan.plan import Plan
from jaxgroups.convert._plan.warn import warn_of
from jaxgroups.convert._transfer.memory import remember
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
    reader: str | None = None,
    example: Any = None,
) -> Plan:
    """Plan a conversion: the torch tensor and the operation for each Flax parameter.

    Nothing is loaded. The plan may be incomplete; `Plan.problems` lists the reasons.

    The default torch name of a layer is its Flax path, such as ``blocks.0.conv``. An item of a
    Sequential has its number alone, as in torch: the name of ``features.layers.2`` is
    ``features.2``. `names` gives the names that differ, always from Flax to torch:

    * The keys of a mapping are Flax paths, with ``.layers.``. A key holds for everything below it,
      and the longest key that fits is used: ``{"stem": "conv1", "features.layers.2": "layer1"}``
      gives ``layer1.conv.weight`` for the kernel ``features.layers.2.conv.kernel``. Names of layers
      do not end in ``.weight``; only a parameter outside any layer is named itself.
    * (regex, replacement) pairs and functions get whole default names, without ``.layers.``;
      exactly one regex must match each name.

    Afterwards, `prefix` is put before every name.

    Args:
      model: ``flax.nnx`` model, real or from ``nnx.eval_shape``, or linen module with `example`.
      checkpoint: path of a .safetensors, .pt, .pth or .bin file, or of the .index.json of several;
        an open checkpoint; or a dict of arrays.
      names: torch names that differ from the Flax paths: ``{flax path: torch name}``,
        (regex, replacement) pairs, or a function, as above. `propose_names` proposes a mapping.
      rules: ``{flax path: rule}`` for single layers or parameters:
        ``{"fc": FlattenLinear(512, 7, 7)}`` for a layer after a flatten;
        ``{"lstm": RNNLayers()}`` for recurrent layers that are one layer in torch;
        ``{"gamma": Reshape((1, 96, 1, 1), (96,))}``, or another operation, for one parameter;
        ``{"gamma": TensorRule("weight", Reshape((1, 96, 1, 1), (96,)))}`` for one with another
        name in torch, too; ``{"norm.mean": FlaxOnly(0)}`` for one that torch does not have;
        or a function, as for `register`.
      ignore: regular expressions of torch keys to leave out; each must match a whole key.
      prefix: text before every torch key, such as ``"module."``.
      key: the key of the state_dict in a nested checkpoint, such as ``"model"``.
      reader: the reader of a torch file, as in `open_checkpoint`.
      example: an input of the model, or its ``jax.ShapeDtypeStruct``; a tuple for several. Required
        for a linen module. The model is traced with it, to find where a flattened feature map needs
        another order than torch's.

    Returns:
      The plan, complete or not. Each of its warnings is also given as a `ConversionWarning`.

    Raises:
      TypeError: not a model, a checkpoint or a rule.
      ValueError: a checkpoint that is already converted, or an invalid regular expression.
      CheckpointError: a file that cannot be read, or whose metadata declare the layout of another
        framework than torch.
    """
    structure = structure_of(model, example)
    with opened(checkpoint, key, reader) as source:
        made = planned(
            structure,
            model,
            source,
            names=names,
            rules=rules,
            ignore=ignore,
            prefix=prefix,
            example=example,
        )
    warn_of(made.warnings)
    return made


def planned(
    structure: Structure,
    model: Any,
    source: Checkpoint,
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
    example: Any = None,
) -> Plan:
    """`plan` for a model's structure and an open checkpoint, without issuing its warnings."""
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
    keys = None if source.format.startswith("safetensors") else list(source.infos)  # sorted
    model = None if isinstance(model, Structure) else model
    return order_features(made, model, structure, rules=rules, example=example, keys=keys)


def load_torch(
    model: nnx.Module,
    checkpoint: Source,
    *,
    strict: bool = True,
    dtype: Any = "keep",
    key: str | None = None,
    reader: str | None = None,
    example: Any = None,
    **how: Any,
) -> tuple[Any, Report]:
    """Fill an nnx model with a torch checkpoint.

    A parameter that is committed to devices keeps its sharding. A parameter of an abstract model
    gets its abstract sharding, on the mesh that is set (``jax.set_mesh``).

    Args:
      model: the nnx model, real or from ``nnx.eval_shape``.
      checkpoint, key, reader: as in `plan`.
      strict: whether every parameter must be filled and every tensor used. Otherwise parameters
        without a tensor keep their values, and the report lists them. A tensor that does not fit
        is an error in any case.
      dtype: ``"keep"`` the checkpoint's dtypes bit for bit, ``"model"`` casts to the model's, or
        a dtype for all floating parameters; the report lists the casts.
      example: an input of the model or its ``jax.ShapeDtypeStruct``, as in `plan`.
      **how: `names`, `rules`, `ignore` and `prefix`, as in `plan`.

    Returns:
      The same model, filled, and the report. Each warning of the report is also issued as a
      `ConversionWarning`. `save_torch` uses the names and rules of this load. An abstract model
      becomes a real one; its random streams (of Dropout) then start from seed 0.

    Raises:
      ConversionError: the plan's problems, all at once; the model is unchanged.
      ValueError: values that jax or the dtype cannot hold; a checkpoint that is already converted.
    """
    structure = structure_of(model)
    with opened(checkpoint, key, reader) as source:
        made = planned(structure, model, source, example=example, **how)
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
    remember(model, made, how)
    warn_of(report.warnings)
    return model, report


def _seeded(variable: nnx.RngState, number: int) -> bool:
    """Give an abstract random stream a key of its own; returns whether it was abstract."""
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
    reader: str | None = None,
    **how: Any,
) -> tuple[dict[str, Any], Report]:
    """The variables of a linen module from a torch checkpoint.

    Args:
      module: the linen module.
      example: an input, or its ``jax.ShapeDtypeStruct``; a tuple for several arguments.
      checkpoint, strict, dtype, key, reader, how: as in `load_torch`; without `strict`,
        parameters without a tensor are missing in the variables.

    Returns:
      The variables, ``{"params": ..., ...}``, and the report.

    Raises:
      ConversionError, ValueError: as in `load_torch`.
    """
    structure = structure_of(module, example)
    with opened(checkpoint, key, reader) as source:
        made = planned(structure, module, source, example=example, **how)
        values, report = read(made, source, structure, strict, dtype)
    warn_of(report.warnings)
    return nested(structure.params, values), report
