"""`propose_names`: torch names for a model whose attributes have other names."""

from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn
from flax import nnx

from jaxgroups.convert._model.names import Names, TorchNames
from jaxgroups.convert._model.structure import Path, Structure
from jaxgroups.convert._plan.build import check_rules
from jaxgroups.convert._plan.leftovers import compiled
from jaxgroups.convert._propose import order
from jaxgroups.convert._propose.assign import assign
from jaxgroups.convert._propose.proposal import Proposal, lines_of, literal
from jaxgroups.convert._propose.table import table
from jaxgroups.convert._propose.units import Modules, Unit, units_of
from jaxgroups.convert._transfer.load import structure_of
from jaxgroups.convert._transfer.read import Source, opened, refuse_stamped

_SORTED_FILE = (
    "the checkpoint is sorted, so the order of definition is not known: similar names decide"
)
_SORTED_MODEL = (
    "the order of definition of an abstract model is not known, similar names decide: pass the "
    "function that makes the model"
)


def propose_names(
    model: Any,
    checkpoint: Source,
    *,
    names: Names = None,
    rules: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    prefix: str = "",
    key: str | None = None,
    example: Any = None,
) -> Proposal:
    """Propose `names` for a checkpoint whose names differ from the model's; nothing is applied.

    A module of the checkpoint is proposed for a layer if its tensors are those that the kind of the
    layer needs, with fitting shapes. Where several modules fit, the order of definition decides,
    and similar names confirm it. Where the order is not known (a sorted file, an abstract nnx
    model), similar names decide. A line is marked CHECK if another module fits too and no name
    confirms the order, or if the order is not known: shapes do not distinguish equal layers, nor a
    convolution from a transposed one. Check those lines, load, and run `compare`.

    Args:
      model: as in `plan`, or a function without arguments that returns an nnx model. The function
        or a real model gives the order of the layers; ``nnx.eval_shape`` does not.
      checkpoint, rules, ignore, key, example: as in `plan`.
      names: known names, which the proposal contains as far as they fit.
      prefix: text before every torch key. The proposal may have a longer one, if that makes the
        table shorter.

    Returns:
      The table, with the evidence for each line. ``str()`` of it is text to paste; its attributes
      `names` and `prefix` are arguments of `load_torch`.

    Raises:
      TypeError, ValueError, CheckpointError: as in `plan`.
    """
    structure = _structure(model, example)
    with opened(checkpoint, key) as source:
        refuse_stamped(source)
        patterns = compiled(ignore)
        infos = {
            name.removeprefix(prefix): info
            for name, info in source.infos.items()
            if name.startswith(prefix) and not any(p.fullmatch(name) for p in patterns)
        }
        aliases = {
            name.removeprefix(prefix): kept.removeprefix(prefix)
            for name, kept in source.aliases.items()
        }
    check_rules(rules or {})
    units, notes = units_of(structure, rules or {})
    given, plain = TorchNames(structure, names, ""), TorchNames(structure, None, "")
    modules = Modules(structure, infos, aliases)
    places = order.of_model(structure, [unit.path for unit in units])
    if places is None:
        units.sort(key=lambda unit: order.natural(plain.of(unit.path)))
    else:
        units.sort(key=lambda unit: places[unit.path])
    in_file = order.of_file(infos)

    def name_of(unit: Unit) -> str:
        exact = given.explicit_name(unit.path) if unit.is_parameter else None
        return given.of(unit.path) if exact is None else exact

    found = assign(units, modules, name_of, ordered=places is not None and in_file)
    place = {id(unit): n for n, unit in enumerate(units)}
    found.sort(key=lambda a: place[id(a.unit)])

    def default(path: Path) -> tuple[str, ...]:
        name = plain.of(path)
        return tuple(name.split(".")) if name else ()

    more, branches = table(found, default)
    lines = lines_of(branches)
    if any(line.check for line in lines):
        notes += [] if places is not None else [_SORTED_MODEL]
        notes += [] if in_file else [_SORTED_FILE]
    assigned = {id(a.unit) for a in found}
    used = {k for a in found for k in modules.fitting(a.unit)[a.name]}
    used |= {f"{a.name}.{tensor}".lstrip(".") for a in found for tensor in a.unit.torch_only}
    return Proposal(
        structure.name,
        prefix + more,
        lines,
        len(found) - sum(line.layers for line in lines),
        [str(unit) for unit in units if id(unit) not in assigned],
        [
            f"{literal(prefix + name)} {tuple(info.shape)}"
            for name, info in infos.items()
            if name not in used and aliases.get(name) not in used
        ],
        notes,
    )


def _structure(model: Any, example: Any) -> Structure:
    """The structure of a model, or of the model that a function returns."""
    if isinstance(model, (nnx.Module, nn.Module, Structure)) or not callable(model):
        return structure_of(model, example)
    found: list[Structure] = []

    def make() -> None:
        found.append(structure_of(model(), example))

    nnx.eval_shape(make)
    return found[0]
