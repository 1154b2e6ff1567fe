"""Weights that torch computes of other tensors at every call, such as those of weight norm."""

import copy
from functools import partial
from typing import Any


def merged(module: Any) -> tuple[Any, list[str]]:
    """The module with the weights themselves, and the names of those that were computed.

    Parametrizations and the hooks of weight norm, spectral norm and pruning compute weights. A
    module without such weights is returned as it is, any other one is copied.
    """
    import torch
    from torch.nn.utils import parametrize

    names = []
    for path, one in module.named_modules():
        held = [*one.parametrizations] if parametrize.is_parametrized(one) else []
        held += [name for name, _, _ in _hooks(one)]
        names += [f"{path}.{name}".strip(".") for name in held]
    if not names:
        return module, []
    with torch.no_grad():
        for one in module.modules():
            for name, computed, _ in _hooks(one):  # a result with a history cannot be copied
                setattr(one, name, computed(one))
    made = copy.deepcopy(module)
    for one in [*made.modules()]:
        if parametrize.is_parametrized(one):
            _set(one, parametrize)
        for name, _, remove in _hooks(one):
            remove(one, name)
    return made, names


def _hooks(one: Any) -> list[tuple[str, Any, Any]]:
    """By hook that computes a weight: its name, a function that computes it, one that ends it."""
    from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    found: list[tuple[str, Any, Any]] = []
    for hook in one._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            found.append((hook.name, hook.compute_weight, remove_weight_norm))
        elif isinstance(hook, SpectralNorm):  # without a step of its power iteration
            computed = partial(hook.compute_weight, do_power_iteration=False)
            found.append((hook.name, computed, remove_spectral_norm))
        elif isinstance(hook, prune.BasePruningMethod):
            found.append((hook._tensor_name, hook.apply_mask, prune.remove))
    return found


def _set(one: Any, parametrize: Any) -> None:
    """Set the weights of a copy, which shares its class with the original."""
    import torch

    values = {}
    for name, parts in one.parametrizations.items():
        parts.eval()  # in training a spectral norm takes a step at every use
        trained = any(p.requires_grad for p in parts.parameters(recurse=False))
        values[name] = torch.nn.Parameter(getattr(one, name).detach().clone(), trained)
    one.__class__ = parametrize.type_before_parametrizations(one)
    del one._modules["parametrizations"]
    for name, value in values.items():
        one.register_parameter(name, value)
