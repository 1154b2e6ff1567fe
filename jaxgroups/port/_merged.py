"""Weights that torch computes of other tensors at every call, such as those of weight norm."""

import copy
from typing import Any


def merged(module: Any) -> tuple[Any, list[str]]:
    """The module with the weights themselves, and the names of those that were computed.

    A module without such weights is returned as it is, any other one is copied.
    """
    import torch
    from torch.nn.utils import parametrize
    from torch.nn.utils.weight_norm import WeightNorm

    def hooks(one: Any) -> list[Any]:
        return [h for h in one._forward_pre_hooks.values() if isinstance(h, WeightNorm)]

    names = []
    for path, one in module.named_modules():
        held = [*one.parametrizations] if parametrize.is_parametrized(one) else []
        held += [hook.name for hook in hooks(one)]
        names += [f"{path}.{name}".strip(".") for name in held]
    if not names:
        return module, []
    with torch.no_grad():
        for one in module.modules():
            for hook in hooks(one):  # a result with a history cannot be copied
                setattr(one, hook.name, hook.compute_weight(one))
    made = copy.deepcopy(module)
    for one in [*made.modules()]:
        if parametrize.is_parametrized(one):
            _set(one, parametrize)
        for hook in hooks(one):
            torch.nn.utils.remove_weight_norm(one, hook.name)
    return made, names


def _set(one: Any, parametrize: Any) -> None:
    """Set the weights of a copy, which shares its class with the original."""
    import torch

    values = {}
    for name, parts in one.parametrizations.items():
        trained = any(p.requires_grad for p in parts.parameters(recurse=False))
        values[name] = torch.nn.Parameter(getattr(one, name).detach().clone(), trained)
    one.__class__ = parametrize.type_before_parametrizations(one)
    del one._modules["parametrizations"]
    for name, value in values.items():
        one.register_parameter(name, value)
