"""Strictest settings for every test: x64 on, no silent promotion or broadcasting of ranks."""

import os
from importlib.util import find_spec

import jax
import numpy as np
import pytest
from hypothesis import settings

from jaxgroups import _native as native

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# compile time is part of every first example, so no deadline
settings.register_profile("jax", deadline=None, derandomize=True)
settings.load_profile("jax")

SEED = int(os.environ.get("JAXGROUPS_SEED", "0"))
TORCH = find_spec("torch") is not None


def pytest_report_header() -> list[str]:
    lines = [f"jax {jax.__version__} on {jax.default_backend()}, JAXGROUPS_SEED={SEED}"]
    if not TORCH:
        lines.append("torch is NOT installed: every comparison with it is skipped")
    if missing := native.status().missing:
        lines.append(f"NO KERNELS: every test that runs them is skipped: {missing}")
    return lines


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("JAXGROUPS_REQUIRE_TORCH") == "1" and not TORCH:
        raise pytest.UsageError("torch was meant to be here (JAXGROUPS_REQUIRE_TORCH=1)")
    missing = native.status().missing
    if os.environ.get("JAXGROUPS_REQUIRE_KERNELS") == "1" and missing:
        raise pytest.UsageError(
            f"kernels were meant to be here (JAXGROUPS_REQUIRE_KERNELS=1): {missing}"
        )


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that JAXGROUPS_SEED repeats; the header prints the seed."""
    return np.random.default_rng(SEED)


@pytest.fixture
def without_kernels(monkeypatch):
    """As where the C++ kernels are not compiled."""
    missing = native.Status("the kernels are not compiled")
    monkeypatch.setattr(native, "status", lambda: missing)


@pytest.fixture
def with_kernels(monkeypatch):
    """As where they are, for what chooses but does not run."""
    monkeypatch.setattr(native, "status", lambda: native.Status(None))


@pytest.fixture
def flax_promotion():
    """Flax's own layers promote ranks and dtypes, which is forbidden above for jaxgroups."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
