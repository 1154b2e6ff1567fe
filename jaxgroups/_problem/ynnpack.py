"""Faults of YNNPACK, the library that XLA calls on a CPU, in some releases of jaxlib.

A product of matrices and the sum of the squares of its result may become one call of YNNPACK. In
jaxlib 0.10.2 such a call gives wrong sums for some sizes. A sum of products of arrays with seven
axes or more ends the process for some sizes. jaxlib 0.10.1 and 0.11.1 have neither fault.

The implementations that consist of XLA's operations give it neither form where it has the fault.
"""

import os
import re

import jax
import jax.numpy as jnp
from jax import lax
from jaxlib.version import __version__ as JAXLIB

WRONG_SUMS = ("0.10.2",)
CRASHES = ("0.10.2", "0.11.0")
_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
REMEDY = f"Use another version of jaxlib, or put XLA_FLAGS={_FLAG} into the environment."


def faults() -> list[str]:
    """The faults that this jaxlib has on a CPU, a sentence each.

    None of them is left where XLA_FLAGS has an empty list of the operations that YNNPACK computes.
    """
    given = re.findall(rf"{_FLAG}(\S*)", os.environ.get("XLA_FLAGS", ""))
    if given and not given[-1].strip("\"'"):
        return []
    found = []
    if JAXLIB in WRONG_SUMS:
        found.append(
            f"jaxlib {JAXLIB} computes some sums of the squares of a matrix product wrong, "
            "without a word (jax-ml/jax#39103)"
        )
    if JAXLIB in CRASHES:
        found.append(
            f"jaxlib {JAXLIB} crashes in some sums of products of arrays with 7 or more axes "
            "(jax-ml/jax#39257)"
        )
    return found


def apart(array: jax.Array) -> jax.Array:
    """The same array, which XLA does not compute together with what reads it.

    The rounding to its own precision changes nothing, and YNNPACK does not have it. An optimization
    barrier is of no use: XLA removes it before it joins operations.
    """
    if JAXLIB not in WRONG_SUMS or not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    of = jnp.finfo(array.dtype)
    return lax.reduce_precision(array, exponent_bits=of.nexp, mantissa_bits=of.nmant)


def one_axis(array: jax.Array, first: int) -> jax.Array:
    """The array with its first axes as one, where a sum over so many may crash."""
    return array.reshape(-1, *array.shape[first:]) if JAXLIB in CRASHES else array
