"""Parametrized weights in a checkpoint: torch's names of the tensors they are computed from.

    key_g, key_v                                    weight norm, older torch
    parametrizations.key.original0, .original1      weight norm
    key_orig, key_u, key_v                          spectral norm, older torch
    parametrizations.key.original, .0._u, .0._v     spectral norm
    key_orig, key_mask                              pruning
    parametrizations.key.original, .0.base          orthogonal

They are recognised by these names only. Other parametrizations have no distinctive names, so they
are not merged.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxgroups.convert._files import TensorInfo
from jaxgroups.convert._plan.plan import Entry
from jaxgroups.convert._rules.merges import Mask, Merge, Orthogonal, SpectralNorm, WeightNorm

Infos = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Parametrized:
    """The tensors that a weight is computed from, in the order that their merge takes."""

    merge: Merge
    keys: tuple[str, ...]


def parametrized(key: str, infos: Infos, axis: int) -> Parametrized | None:
    """The tensors that `key` is computed from, or None.

    Args:
      key: the torch key of the weight.
      infos: the tensors of the checkpoint.
      axis: the axis of the output channels, for a spectral norm.
    """
    match = _older(key, infos, axis) or _registered(key, infos, axis)
    if match is None:
        return None
    merge, names = match
    return Parametrized(merge, tuple(names))


def _older(key: str, infos: Infos, axis: int) -> tuple[Merge, Sequence[str]] | None:
    def has(*ends: str) -> bool:
        return all(key + end in infos for end in ends)

    if has("_v", "_g"):
        return WeightNorm(), (f"{key}_v", f"{key}_g")
    spectral, pruned = has("_orig", "_u", "_v"), has("_orig", "_mask")
    if spectral and not pruned:
        return SpectralNorm(axis), (f"{key}_orig", f"{key}_u", f"{key}_v")
    if pruned and not spectral:
        return Mask(), (f"{key}_orig", f"{key}_mask")
    return None


def _registered(key: str, infos: Infos, axis: int) -> tuple[Merge, list[str]] | None:
    """A registered parametrization; None if there are other tensors, as of a second one."""
    module, _, tensor = key.rpartition(".")
    front = f"{module}." if module else ""
    front = f"{front}parametrizations.{tensor}."
    if f"{front}original" not in infos and f"{front}original0" not in infos:
        return None
    there = {name[len(front) :] for name in infos if name.startswith(front)}
    original = infos.get(f"{front}original")
    shape = () if original is None else tuple(original.shape)
    known: list[tuple[Merge, tuple[str, ...]]] = [
        (WeightNorm(), ("original1", "original0")),
        (SpectralNorm(axis), ("original", "0._u", "0._v")),
        (Orthogonal(_default_map(shape, original)), ("original", "0.base")),
    ]
    for merge, ends in known:
        if there == set(ends):
            return merge, [front + end for end in ends]
    return None


def _default_map(shape: Sequence[int], original: TensorInfo | None) -> str:
    """torch's default ``orthogonal_map`` for a weight."""
    square = len(shape) >= 2 and shape[-2] == shape[-1]
    whole = square or (original is not None and original.dtype.startswith("complex"))
    return "matrix_exp" if whole else "householder"


# --- notes, warnings, hints -----------------------------------------------------------------------


def folded_note(found: Parametrized) -> str:
    """The note of an entry for a folded parametrization."""
    first, *others = found.keys
    if isinstance(found.merge, WeightNorm):  # magnitude first, as torch numbers them
        first, others = others[0], [first]
    names = ", ".join([first, *others[:-1]]) + f" and {others[-1]}"
    return f"{found.merge.noun} of {names} is folded: import only"


def unnamed(entries: Sequence[Entry]) -> Iterator[str]:
    """Warnings on parametrizations that a checkpoint does not name."""
    texts: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        match entry.merge:
            case WeightNorm() if entry.torch[0].endswith(".original1"):
                texts[
                    "a parametrization of two tensors is taken as a weight norm; the file does not "
                    "name it: for another one, call "
                    "torch.nn.utils.parametrize.remove_parametrizations before saving in torch"
                ].append(entry.torch[0])
            case Orthogonal(map=kind):
                texts[
                    f"taken as torch's orthogonal with orthogonal_map={kind!r}, the default for "
                    "such a shape; the file does not hold the map: for another one, call "
                    "torch.nn.utils.parametrize.remove_parametrizations before saving in torch"
                ].append(entry.torch[0])
    for text, keys in texts.items():
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield f"{keys[0]}{more}: {text}"


def hints(unexpected: Sequence[str], infos: Infos) -> Iterator[str]:
    """Hints on tensors of parametrizations that are not merged."""
    fronts: dict[str, None] = {}
    for key in unexpected:
        front, middle, end = key.rpartition(".parametrizations.")
        if not middle and key.startswith("parametrizations."):
            end, middle = key.removeprefix("parametrizations."), "."
        if middle:
            fronts[f"{front}.{end.split('.')[0]}".lstrip(".")] = None
    if fronts:
        first, more = next(iter(fronts)), len(fronts) - 1
        yield (
            f"{first}{f' and {more} more' if more else ''}: the file does not say what this "
            "parametrization computes: call "
            f'torch.nn.utils.parametrize.remove_parametrizations(module, "{first.split(".")[-1]}") '
            "in torch before saving"
        )
    for key in unexpected:
        tensor = key.removesuffix("_orig")
        if tensor != key and tensor in infos and f"{tensor}_u" in infos:
            yield (
                f"{tensor} is the normalized tensor of an older torch's spectral norm: pass "
                r'ignore=[r".*_(orig|u)"]'
            )
            return
