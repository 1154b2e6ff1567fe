"""The last two stages of a plan: which tensors of the checkpoint hold a parameter, and their entry.

    find_tensors   Target, tensors of the checkpoint   -> Match
    classify       Match                               -> entries of the plan

Without a checkpoint (a plan for export) `exported` takes the place of both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jaxgroups._types import Shape
from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.structure import Structure, dotted
from jaxgroups.convert._plan.mismatch import mismatch
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._plan.resolve import Counter, Problem, Target
from jaxgroups.convert._plan.weight_norm import is_magnitude, weight_norm_keys
from jaxgroups.convert._rules import ops

Infos = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Match:
    """The tensors that a parameter is made of: one; direction and magnitude of a weight norm; none.

    Attributes:
      aliases: (key, kept key) of tensors that must hold the same data as one of them.
    """

    target: Target
    tensors: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()


def find_tensors(target: Target, infos: Infos) -> Match:
    """The first of the keys that the checkpoint has, plain or under a weight norm."""
    keys = dict.fromkeys(target.keys)
    present = [key for key in keys if key in infos]
    if present:
        kept, *others = present
        return Match(target, (kept,), tuple((other, kept) for other in others))
    pairs = [pair for key in keys for pair in weight_norm_keys(key)]
    pairs = [pair for pair in pairs if all(key in infos for key in pair)]
    if not pairs:
        return Match(target)
    (magnitude, direction), *others = pairs
    aliases = [
        alias for other in others for alias in zip(other, (magnitude, direction), strict=True)
    ]
    return Match(target, (direction, magnitude), tuple(aliases))


def classify(structure: Structure, found: Match, infos: Infos) -> list[Entry] | Problem:
    """The entries of a parameter and of its aliases, or the problem of one without a rule."""
    target = found.target
    if len(found.tensors) == 1:
        entries = [_plain(target, found.tensors[0], infos)]
    elif found.tensors:
        direction, magnitude = found.tensors
        entries = [_weight_norm(target, magnitude, direction, infos)]
    elif target.bare_in is not None:
        return _no_rule(structure, target)
    else:
        return [_entry("missing", target, target.keys[:1])]
    return entries + [_alias(key, kept, infos[key]) for key, kept in found.aliases]


def exported(target: Target) -> list[Entry]:
    """Without a checkpoint: the parameter decides what the torch tensor will be."""
    param, key = target.param, target.keys[0]
    try:
        shape = target.op.torch_shape(param.shape)
    except ops.ShapeRefused as error:
        note = f"size mismatch for {key}: {param.name}: {error}"
        return [_entry("mismatched", target, (key,), note=note)]
    info = TensorInfo(shape, param.dtype)
    others = [other for other in dict.fromkeys(target.keys) if other != key]
    return [
        _entry("ok", target, (key,), shape, param.dtype),
        *(_alias(other, key, info) for other in others),
    ]


def counted(counter: Counter, infos: Infos | None) -> Iterator[Entry]:
    """The entries of a tensor that only torch has: kept aside once, the other names aliases."""
    keys = [key for key in counter.keys if infos is None or key in infos]
    for key in keys:
        info = TensorInfo((), "int64") if infos is None else infos[key]
        if key == keys[0]:
            shape = tuple(info.shape)
            note = "torch's counter, kept aside"
            yield Entry("counter", (key,), None, torch_shape=shape, dtype=info.dtype, note=note)
        else:
            yield _alias(key, keys[0], info)


def _plain(target: Target, key: str, infos: Infos) -> Entry:
    info = infos[key]
    note = mismatch(target.param, key, info, target.op)
    status = "mismatched" if note else "ok"
    return _entry(status, target, (key,), info.shape, info.dtype, note)


def _weight_norm(target: Target, magnitude: str, direction: str, infos: Infos) -> Entry:
    info, norms = infos[direction], infos[magnitude]
    note = mismatch(target.param, direction, info, target.op)
    if not note and not is_magnitude(norms.shape, info.shape):
        note = (
            f"size mismatch for {magnitude}: {tuple(norms.shape)} is not the shape of a magnitude "
            f"for {direction} of shape {tuple(info.shape)}: at most one axis may be longer than 1."
        )
    status = "mismatched" if note else "folded"
    note = note or f"weight norm of {magnitude} and {direction} is folded: import only"
    return _entry(status, target, (direction, magnitude), info.shape, info.dtype, note)


def _no_rule(structure: Structure, target: Target) -> Problem:
    module = target.bare_in or ()
    kind = type(structure.layers.get(module))
    where = dotted(module) or "the model itself"
    note = (
        f"{where} ({kind.__module__}.{kind.__qualname__}) holds {str(target.param.path[-1])!r} of "
        f"shape {target.param.shape}, and no rule names it; a bare parameter is found by the exact "
        f"name {target.keys[0]!r}"
    )
    return Problem(note, (target.param,), kind=kind)


def _entry(
    status: str,
    target: Target,
    keys: tuple[str, ...],
    torch_shape: Shape | None = None,
    dtype: str | None = None,
    note: str = "",
) -> Entry:
    param = target.param
    dtype = param.dtype if dtype is None else dtype
    return Entry(status, keys, param.name, target.op, torch_shape, param.shape, dtype, note)


def _alias(key: str, kept: str, info: TensorInfo) -> Entry:
    note = f"shares its data with {kept}"
    return Entry("alias", (key, kept), None, torch_shape=info.shape, dtype=info.dtype, note=note)
