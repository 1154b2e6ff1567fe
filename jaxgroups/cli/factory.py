"""Make a model from the name of its factory, without computing its parameters."""

import importlib
import inspect
import sys
from typing import Any

from flax import linen as nn
from flax import nnx


def model_of(path: str, kwargs: dict[str, Any]) -> Any:
    """The model that `path`, ``pkg.mod:factory``, makes with `kwargs`: abstract nnx, or linen.

    A factory with an argument `rngs` gets ``nnx.Rngs(0)`` unless `kwargs` has one.

    Raises:
      ValueError: the factory cannot be imported, fails, or does not return a model.
    """
    maker = maker_of(path, kwargs)
    if isinstance(maker, (nnx.Module, nn.Module)):
        return maker
    made: list[Any] = []

    def make() -> Any:
        made.append(maker())
        return made[0] if isinstance(made[0], nnx.Module) else None

    try:
        abstract = nnx.eval_shape(make)
    except Exception as error:
        raise ValueError(f"{path} with {kwargs} fails: {_said(error)}") from error
    model = made[0] if abstract is None else abstract
    if not isinstance(model, (nnx.Module, nn.Module)):
        kind = type(model).__name__
        raise ValueError(f"{path} makes a {kind}, not a flax.nnx.Module or flax.linen.Module")
    return model


def maker_of(path: str, kwargs: dict[str, Any]) -> Any:
    """A function without arguments that makes the model of `model_of`, or the model itself.

    Raises:
      ValueError: it cannot be imported, or is no function.
    """
    factory = imported(path)
    if isinstance(factory, (nnx.Module, nn.Module)) and not kwargs:
        return factory
    if not callable(factory):
        raise ValueError(f"{path} is a {type(factory).__name__}, not a callable that makes a model")

    def make() -> Any:
        return factory(**({"rngs": nnx.Rngs(0)} if _takes_rngs(factory) else {}) | kwargs)

    return make


def imported(path: str) -> Any:
    """The object ``pkg.mod:name``; the working directory is searched too.

    Raises:
      ValueError: it cannot be imported.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"a model must be given as package.module:factory, got {path!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(f"{path} cannot be imported: {_said(error)}") from error
    return found


def made(path: str, kwargs: dict[str, Any] | None = None) -> Any:
    """The torch module that is at a path, or that the callable there makes; or nnx, made for real.

    Raises:
      ValueError: it cannot be imported, or making it fails.
    """
    found = imported(path)
    if not isinstance(found, type) and hasattr(found, "state_dict"):
        return found
    maker = maker_of(path, kwargs or {})
    if isinstance(maker, (nnx.Module, nn.Module)):
        return maker
    try:
        return maker()
    except Exception as error:
        raise ValueError(f"{path} fails: {_said(error)}") from error


def _takes_rngs(factory: Any) -> bool:
    # not the signature of the class: Flax's metaclass hides it
    call = factory.__init__ if isinstance(factory, type) else factory
    try:
        return "rngs" in inspect.signature(call).parameters
    except (TypeError, ValueError):
        return False


def _said(error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
