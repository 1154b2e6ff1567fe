"""The first two stages of a plan: the rule of each parameter, and its torch name.

    resolve_rules   Structure, user's rules   -> RuleMatch for every parameter
    resolve_names   RuleMatches, TorchNames   -> a Resolved for each, in the plan's order

Both depend on the model and on the arguments of the user, not on the checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxgroups.convert._model.names import TorchNames
from jaxgroups.convert._model.structure import ParamInfo, Path, Structure, dotted
from jaxgroups.convert._rules import ops
from jaxgroups.convert._rules.kernels import kind_of
from jaxgroups.convert._rules.layers import TensorRule, apply_rule, is_built_in, rule_of
from jaxgroups.convert._rules.merges import FlaxOnly, Merge, Sum


@dataclass(frozen=True)
class RuleMatch:
    """The rule of one parameter.

    Attributes:
      param: the parameter.
      path: the one of its paths that has the rule.
      head: the path of the layer with the rule, or of the parameter; None without a rule.
      layer: the layer.
      rule: the rule; None for a layer of Flax that has none.
      from_user: whether the rule is from the user.
    """

    param: ParamInfo
    path: Path
    head: Path | None = None
    layer: Any = None
    rule: Any = None
    from_user: bool = False


@dataclass(frozen=True)
class Target:
    """A parameter, its possible torch keys, and the operation between the two.

    Attributes:
      param: the parameter.
      keys: the possible torch keys.
      op: the operation from torch to Flax.
      used_paths: the paths whose torch names were needed.
      module_without_rule: the module of a parameter without a rule; None with one.
      plus: for each key, the key of a second tensor to add.
      merge: the sum of the two.
      axis: the axis of the output channels of the torch tensor.
    """

    param: ParamInfo
    keys: tuple[str, ...]
    op: ops.Op
    used_paths: tuple[Path, ...] = ()
    module_without_rule: Path | None = None
    plus: tuple[str, ...] = ()
    merge: Merge = field(default_factory=Sum)
    axis: int = 0


@dataclass(frozen=True)
class Constant:
    """A parameter that torch's layer does not have."""

    param: ParamInfo
    rule: FlaxOnly
    used_paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Counter:
    """A tensor that only torch has, with its keys under all names of a shared layer."""

    keys: tuple[str, ...]
    used_paths: tuple[Path, ...]


@dataclass(frozen=True)
class Problem:
    """Parameters without a rule, or a path without a torch name.

    Attributes:
      note: the explanation.
      params: the parameters.
      used_paths: the paths whose torch names were needed.
      unnamed: the path without a torch name.
      kind: the layer type that needs a rule.
      tails: the paths of the parameters within their layer.
      front: the layer's torch name.
    """

    note: str
    params: tuple[ParamInfo, ...] = ()
    used_paths: tuple[Path, ...] = ()
    unnamed: Path | None = None
    kind: type | None = None
    tails: tuple[str, ...] = ()
    front: str = ""


Resolved = Target | Constant | Counter | Problem


@dataclass(frozen=True)
class _Keys:
    """Torch keys, or the problem of a path without a torch name."""

    keys: tuple[str, ...]
    used_paths: tuple[Path, ...]
    problem: Problem | None = None


# --- rules ----------------------------------------------------------------------------------------


def resolve_rules(structure: Structure, rules: Mapping[str, Any]) -> list[RuleMatch]:
    """The rule of every parameter: the nearest one from the user, or that of the outermost layer.

    The rule of a layer holds for everything inside it, except for nested layers whose parameters it
    leaves out. Nothing inside a Flax layer without a rule has one, since torch has no names for its
    parts. The rule of a shared parameter is that of its first path with a rule from the user, or
    else of its first path with any.
    """
    by_type: dict[Path, Any] = {}

    def matched(param: ParamInfo) -> RuleMatch:
        paths = [param.path, *structure.aliases.get(param.path, ())]
        for path in paths if rules else ():
            for head in reversed(list(_heads(path))):
                rule = rules.get(dotted(head))
                if rule is not None:
                    return RuleMatch(param, path, head, structure.at(head), rule, True)
        for path in paths:
            for head in _heads(path):
                if head not in by_type:
                    by_type[head] = _layer_rule(structure.at(head))
                if by_type[head] is not None:
                    return RuleMatch(param, path, head, *by_type[head])
        return RuleMatch(param, param.path)

    return [matched(param) for param in structure.params]


def _heads(path: Path) -> Iterator[Path]:
    return (path[:length] for length in range(len(path) + 1))


def _layer_rule(layer: Any) -> tuple[Any, Any] | None:
    """A layer and its rule, None for a layer of Flax without one; None for other layers."""
    if layer is None:
        return None
    rule = rule_of(layer)
    return (layer, rule) if rule is not None or is_built_in(layer) else None


# --- names ----------------------------------------------------------------------------------------


def resolve_names(
    structure: Structure, matches: list[RuleMatch], names: TorchNames
) -> list[Resolved]:
    """The torch keys of every parameter; parameters without a rule come first."""
    resolved: list[Resolved] = []
    groups: dict[Path, list[RuleMatch]] = {}
    with_own_rule = [match for match in matches if isinstance(match.rule, (ops.Op, TensorRule))]
    for match in matches:
        if match.head is None:
            resolved.append(_by_exact_name(structure, match.param, names))
        else:
            groups.setdefault(match.head, []).append(match)
    for head, group in groups.items():
        if isinstance(group[0].rule, (ops.Op, TensorRule, FlaxOnly)):
            resolved.append(_own_rule(structure, matches, head, group, names))
        else:
            resolved += _layer(structure, head, group, with_own_rule, names)
    return resolved


def _by_exact_name(structure: Structure, param: ParamInfo, names: TorchNames) -> Target | Problem:
    """A parameter outside any layer with a rule: its torch name is its own, exactly."""
    paths = [param.path, *structure.aliases.get(param.path, ())]
    keys = _keys(names, [(path, None, None) for path in paths])
    module = _module_of(structure, param.path)
    return keys.problem or Target(param, keys.keys, ops.Identity(), keys.used_paths, module)


def _layer(
    structure: Structure,
    head: Path,
    group: list[RuleMatch],
    with_own_rule: list[RuleMatch],
    names: TorchNames,
) -> Iterator[Resolved]:
    """The results of the rule of a layer for each of its parameters.

    Parameters in `with_own_rule` have another rule; the layer's rule may ask for their shapes.
    """
    layer, rule = group[0].layer, group[0].rule
    params = tuple(match.param for match in group)
    where = f"{dotted(head) or 'the model'} ({type(layer).__name__})"
    tails = [dotted(match.path[len(head) :]) for match in group]
    front = _front(names, head)
    if rule is None:
        yield Problem(
            f"{where} has parameters, but no rule",
            params,
            kind=type(layer),
            tails=tuple(tails),
            front=front,
        )
        return
    shapes = {tail: param.shape for tail, param in zip(tails, params, strict=True)}
    others = [match for match in with_own_rule if match.path[: len(head)] == head]
    shapes |= {dotted(match.path[len(head) :]): match.param.shape for match in others}
    try:
        answer = apply_rule(rule, layer, shapes)
    except KeyError as error:
        holds = ", ".join(map(repr, tails))
        yield Problem(f"{where}: its rule asks for {error}, but it holds {holds}", params)
        return
    except ValueError as error:
        yield Problem(f"{where}: {error}", params)
        return
    nested: dict[Path, list[RuleMatch]] = {}
    for match, tail in zip(group, tails, strict=True):
        tensor = answer.leaves.get(tail)
        if tensor is not None:
            yield _target(structure, match, head, tensor, names)
        elif (inner := _nested(structure, match, head)) is not None:
            nested.setdefault(inner.head or (), []).append(inner)
        elif _module_of(structure, match.path) != head:
            yield _by_exact_name(structure, match.param, names)
        else:
            note = f"{where} has a parameter {tail!r} without a rule"
            yield Problem(note, (match.param,), kind=type(layer), tails=(tail,), front=front)
    for inside, matches in nested.items():
        yield from _layer(structure, inside, matches, with_own_rule, names)
    heads = [head, *_other_heads(structure, group[0], head)]
    for name in answer.torch_only:
        keys = _keys(names, [(path, name, None) for path in heads])
        yield keys.problem or Counter(tuple(dict.fromkeys(keys.keys)), keys.used_paths)


def _nested(structure: Structure, match: RuleMatch, head: Path) -> RuleMatch | None:
    """The rule of the outermost layer within `head` that holds for the parameter, or None."""
    for length in range(len(head) + 1, len(match.path)):
        inside = match.path[:length]
        own = _layer_rule(structure.at(inside))
        if own is not None:
            layer, rule = own
            return replace(match, head=inside, layer=layer, rule=rule)
    return None


def _front(names: TorchNames, head: Path) -> str:
    """The torch name of a layer, for messages; empty if it has none."""
    try:
        return names.of(head)
    except ValueError:
        return ""


def without_rule(structure: Structure, target: Target) -> Problem:
    """The problem of a parameter that has no rule, and no tensor of its name."""
    module = target.module_without_rule or ()
    kind = type(structure.layers.get(module))
    where, tail = dotted(module) or "the model itself", dotted(target.param.path[len(module) :])
    note = (
        f"{where} ({kind.__module__}.{kind.__qualname__}) holds {tail!r} of shape "
        f"{target.param.shape}, which has no rule; a parameter outside of layers is found by the "
        f"exact name {target.keys[0]!r}"
    )
    front = target.keys[0].removesuffix(tail).removesuffix(".")
    return Problem(note, (target.param,), kind=kind, tails=(tail,), front=front)


def _own_rule(
    structure: Structure,
    matches: list[RuleMatch],
    head: Path,
    group: list[RuleMatch],
    names: TorchNames,
) -> Target | Constant | Problem:
    """The user's rule for one parameter: an operation, a TensorRule or a FlaxOnly."""
    if [match.path for match in group] != [head]:
        holds = ", ".join(dotted(match.path) for match in group)
        note = f"an operation is the rule of one parameter, but {dotted(head)} holds {holds}"
        return Problem(note, tuple(match.param for match in group))
    module, rule = _module_of(structure, head), group[0].rule
    if isinstance(rule, FlaxOnly):
        return Constant(group[0].param, rule, (head,))
    if not isinstance(rule, TensorRule):
        tail = dotted(head[len(module) :])
        rule = TensorRule(_tensor_name(structure, matches, module, tail), rule)
    return _target(structure, group[0], module, rule, names)


def _tensor_name(structure: Structure, matches: list[RuleMatch], module: Path, tail: str) -> str:
    """The torch name of a parameter by the rule of the layer's type; without one, its own name."""
    layer = structure.layers.get(module)
    rule = None if layer is None else rule_of(layer)
    if rule is None:
        return tail
    inside = [match for match in matches if match.path[: len(module)] == module]
    shapes = {dotted(match.path[len(module) :]): match.param.shape for match in inside}
    try:
        tensor = apply_rule(rule, layer, shapes).leaves[tail]
    except (KeyError, ValueError):
        return tail
    return tensor.torch if isinstance(tensor, TensorRule) else tail


def _target(
    structure: Structure,
    match: RuleMatch,
    head: Path,
    rule: TensorRule | FlaxOnly,
    names: TorchNames,
) -> Target | Constant | Problem:
    if isinstance(rule, FlaxOnly):
        return Constant(match.param, rule)
    tail = match.path[len(head) :]
    heads = [head, *_other_heads(structure, match, head)]
    keys = _keys(names, [(one, rule.torch, (*one, *tail)) for one in heads])
    plus = _keys(names, [(one, rule.plus, None) for one in heads if rule.plus is not None])
    axis = int("transpose" in str(kind_of(match.layer)))
    problem = keys.problem or plus.problem
    made = Target(
        match.param, keys.keys, rule.op, keys.used_paths, None, plus.keys, rule.merge, axis
    )
    return problem or made


def _keys(names: TorchNames, wanted: Iterable[tuple[Path, str | None, Path | None]]) -> _Keys:
    """The key of each (module, tensor, path).

    If `tensor` is None, the name of the module is the key. `path` is that of the parameter, for
    which the user's mapping may have a name.
    """
    keys: list[str] = []
    used_paths: list[Path] = []
    for module, tensor, path in wanted:
        if path is not None:
            used_paths.append(path)
            exact = names.explicit_name(path)
            if exact is not None:
                keys.append(exact)
                continue
        used_paths += [module[:length] for length in range(1, len(module) + 1)]
        try:
            front = names.of(module)
        except ValueError as error:
            problem = Problem(str(error), used_paths=tuple(used_paths), unnamed=module)
            return _Keys((), tuple(used_paths), problem)
        dot = "." if front and not front.endswith(".") else ""
        keys.append(front if tensor is None else f"{front}{dot}{tensor}")
    return _Keys(tuple(keys), tuple(used_paths))


def _other_heads(structure: Structure, match: RuleMatch, head: Path) -> list[Path]:
    """The other paths of the layer that holds this parameter."""
    others = structure.aliases.get(match.param.path)
    tail = match.path[len(head) :]
    if not others or not tail:
        return []
    paths = [match.param.path, *others]
    heads = [path[: -len(tail)] for path in paths if path[-len(tail) :] == tail]
    return [other for other in heads if other != head]


def _module_of(structure: Structure, path: Path) -> Path:
    """The path of the innermost module around a parameter."""
    while path and path[:-1] not in structure.layers:
        path = path[:-1]
    return path[:-1]
