"""The sharding that the new value of a parameter gets."""

from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, NamedSharding, Sharding


def sharding_of(value: Any) -> Sharding | None:
    """The sharding of an array that is committed to its devices, or of an abstract value.

    The sharding of an abstract parameter names a mesh without devices. Its devices are those of the
    mesh that is set (``jax.set_mesh``). None where the devices are not determined.
    """
    if isinstance(value, Tracer) or (isinstance(value, jax.Array) and not value.committed):
        return None
    sharding = getattr(value, "sharding", None)
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh):
        mesh = jax.sharding.get_mesh()
        fits = not mesh.empty and mesh.abstract_mesh.shape == sharding.mesh.shape
        return NamedSharding(mesh, sharding.spec) if fits else None
    return sharding
