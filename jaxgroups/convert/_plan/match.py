"""The last two stages of a plan: the tensors of each parameter, and their entries.

    find_tensors   Target, tensors of the checkpoint   -> Match
    classify       Match                               -> entries of the plan

Without a checkpoint (a plan for export) `exported` takes the place of both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jaxgroups._types import Shape
from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._model.structure import Structure
from jaxgroups.convert._plan import dtype_kinds as kinds
from jaxgroups.convert._plan.mismatch import mismatch
from jaxgroups.convert._plan.parametrized import Parametrized, folded_note, parametrized
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._plan.resolve import Constant, Counter, Problem, Target, without_rule
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.merges import Mask

Infos = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Match:
    """The tensors of a parameter.

    Attributes:
      target: the parameter.
      tensors: the keys of its tensors: one, those of a parametrization, two of a sum, or none.
      folded: the parametrization, or None.
      aliases: pairs (key, kept key) of tensors that must have the same data.
      missing: keys of tensors that the checkpoint lacks.
    """

    target: Target
    tensors: tuple[str, ...] = ()
    folded: Parametrized | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()


def find_tensors(target: Target, infos: Infos) -> Match:
    """The tensors under the first of the keys that the checkpoint has, plain or parametrized."""
    if target.plus:
        return _find_pair(target, infos)
    keys = dict.fromkeys(target.keys)
    present = [key for key in keys if key in infos]
    if present:
        kept, *others = present
        return Match(target, (kept,), aliases=tuple((other, kept) for other in others))
    candidates = [parametrized(key, infos, target.axis) for key in keys]
    first, *others = [one for one in candidates if one is not None] or [None]
    if first is None:
        return Match(target, missing=target.keys[:1])
    aliases = [
        alias
        for other in others
        if other is not None and other.merge == first.merge
        for alias in zip(other.keys, first.keys, strict=True)
    ]
    return Match(target, first.keys, first, tuple(aliases))


def _find_pair(target: Target, infos: Infos) -> Match:
    """The two tensors of a sum, under the first of the layer's names that has either."""
    pairs = list(dict.fromkeys(zip(target.keys, target.plus, strict=True)))
    present = [pair for pair in pairs if any(key in infos for key in pair)]
    first, *others = present or pairs[:1]
    missing = tuple(key for key in first if key not in infos)
    if missing:
        return Match(target, missing=missing)
    aliases = [
        alias for other in others for alias in zip(other, first, strict=True) if alias[0] in infos
    ]
    return Match(target, first, aliases=tuple(aliases))


def classify(structure: Structure, found: Match, infos: Infos) -> list[Entry] | Problem:
    """The entries of a parameter and of its aliases, or the problem of one without a rule."""
    target = found.target
    if len(found.tensors) == 1:
        entries = [_plain(target, found.tensors[0], infos)]
    elif found.tensors:
        entries = [_merged(found, infos)]
    elif target.module_without_rule is not None:
        return without_rule(structure, target)
    else:
        return [_entry("missing", target, (key,)) for key in found.missing]
    return entries + [_alias(key, kept, infos[key]) for key, kept in found.aliases]


def exported(target: Target) -> list[Entry]:
    """The entries for export: the parameter determines the torch tensor."""
    param, key = target.param, target.keys[0]
    try:
        shape = target.op.torch_shape(param.shape)
    except ops.ShapeRefused as error:
        note = f"size mismatch for {key}: {param.name}: {error}"
        return [_entry("mismatched", target, (key,), note=note)]
    info = TensorInfo(shape, param.dtype)
    aliases = [(other, key) for other in target.keys]
    if target.plus:
        keys = (key, target.plus[0])
        entry = _entry("summed", target, keys, shape, param.dtype, sum_note(keys))
        entry = replace(entry, merge=target.merge)
        aliases += [(other, keys[1]) for other in target.plus]
    else:
        entry = _entry("ok", target, (key,), shape, param.dtype)
    return [
        entry,
        *(_alias(*pair, info) for pair in dict.fromkeys(aliases) if pair[0] != pair[1]),
    ]


def constant(found: Constant) -> Entry:
    """The entry of a parameter that torch's layer does not have."""
    param = found.param
    note = f"{param.name} is only in Flax: filled with {found.rule.value:g}"
    return Entry(
        "constant",
        (),
        param.name,
        flax_shape=param.shape,
        dtype=param.dtype,
        note=note,
        merge=found.rule,
    )


def sum_note(keys: tuple[str, ...]) -> str:
    """The note of an entry for the sum of two tensors."""
    one, other = keys
    return (
        f"{one} and {other} are added up, since Flax has one such parameter: saving writes it to "
        f"{one}, and zeros to {other}"
    )


def counted(counter: Counter, infos: Infos | None) -> Iterator[Entry]:
    """The entries of a tensor that only torch has: a counter, and aliases for its other names."""
    keys = [key for key in counter.keys if infos is None or key in infos]
    for key in keys:
        info = TensorInfo((), "int64") if infos is None else infos[key]
        if key == keys[0]:
            shape = tuple(info.shape)
            note = "torch's counter, which Flax does not have"
            yield Entry("counter", (key,), None, torch_shape=shape, dtype=info.dtype, note=note)
        else:
            yield _alias(key, keys[0], info)


def _plain(target: Target, key: str, infos: Infos) -> Entry:
    info = infos[key]
    note = mismatch(target.param, key, info, target.op)
    status = "mismatched" if note else "ok"
    return _entry(status, target, (key,), info.shape, info.dtype, note)


def _merged(found: Match, infos: Infos) -> Entry:
    """A parameter of several tensors: a parametrization, or a sum."""
    target, keys = found.target, found.tensors
    merge = target.merge if found.folded is None else found.folded.merge
    first, *others = (infos[key] for key in keys)
    note = mismatch(target.param, keys[0], first, target.op)
    shapes = [tuple(info.shape) for info in (first, *others)]
    if not note and (reason := merge.problem(shapes)):
        note = f"size mismatch for {', '.join(keys[1:])}: {reason}."
    for key, info in zip(keys[1:], others, strict=True):
        # a mask may have any dtype
        if not isinstance(merge, Mask) and kinds.kind(info.dtype) != kinds.kind(first.dtype):
            note = note or (
                f"dtype mismatch for {key}: {info.dtype}, but {keys[0]} is {first.dtype}."
            )
    if note:
        return _entry("mismatched", target, keys, first.shape, first.dtype, note)
    status = "summed" if found.folded is None else "folded"
    note = sum_note(keys) if found.folded is None else folded_note(found.folded)
    entry = _entry(status, target, keys, first.shape, first.dtype, note)
    return replace(entry, merge=merge)


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
