"""Strict settings for every test: x64 on, no implicit promotion of dtypes or ranks."""

import ctypes
import gc
import os
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings

from jaxgroups import _native as native

os.environ.pop("COLUMNS", None)  # texts have the same width in every terminal
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# no deadline, because the first example includes the compile time
settings.register_profile("jax", deadline=None, derandomize=True)
settings.load_profile("jax")

SEED = int(os.environ.get("JAXGROUPS_SEED", "0"))
TORCH = find_spec("torch") is not None
LARGE = 3 << 29  # bytes of memory of this process
STATM = Path("/proc/self/statm")


def pytest_report_header() -> list[str]:
    lines = [f"jax {jax.__version__} on {jax.default_backend()}, JAXGROUPS_SEED={SEED}"]
    if not TORCH:
        lines.append("torch is NOT installed: every comparison with torch is skipped")
    if missing := native.find().missing:
        lines.append(f"NO C++ KERNELS: every test of the kernels is skipped: {missing}")
    return lines


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("JAXGROUPS_REQUIRE_TORCH") == "1" and not TORCH:
        raise pytest.UsageError("torch is not installed, but JAXGROUPS_REQUIRE_TORCH=1")
    missing = native.find().missing
    if os.environ.get("JAXGROUPS_REQUIRE_KERNELS") == "1" and missing:
        raise pytest.UsageError(
            f"the kernels are missing, but JAXGROUPS_REQUIRE_KERNELS=1: {missing}"
        )


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Forget compiled programs where the process is large.

    JAX keeps each program that was computed without jit, 4 MB for a convolution of one shape.
    """
    yield
    if STATM.exists() and int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > LARGE:
        jax.clear_caches()
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc: back to the system
        if trim is not None:
            trim(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator seeded with JAXGROUPS_SEED; the header prints the seed."""
    return np.random.default_rng(SEED)


@pytest.fixture
def without_kernels(monkeypatch):
    """Behave as if the C++ kernels were not compiled."""
    missing = native.Status("the kernels are not compiled")
    monkeypatch.setattr(native, "status", lambda: missing)


@pytest.fixture
def with_kernels(monkeypatch):
    """Behave as if they were compiled, for tests that choose but do not run."""
    monkeypatch.setattr(native, "status", lambda: native.Status(None))


@pytest.fixture
def flax_promotion():
    """Allow the promotion of ranks and dtypes, which Flax's own layers need."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
