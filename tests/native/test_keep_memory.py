"""`jaxgroups.keep_memory`: what a program frees stays with the process, and when that is not so."""

import platform

import pytest
from support.command import python

import jaxgroups as jg
from jaxgroups._native import keep_memory as home

GLIBC = platform.libc_ver()[0] == "glibc"
# The fewest pages that a call of a program with 96 MiB of scratch memory takes from the system; the
# first calls make the heap large enough.
FAULTS = """
import resource
import jaxgroups as jg
{first}
import jax, jax.numpy as jnp

@jax.jit
def call(x):
    return jnp.sort(x, axis=1)[:, ::-1] @ x[:4].T

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

x = jnp.ones((2048, 4096)) * jnp.arange(4096.0)
print(min([faults() for _ in range(16)]))
"""


def faults(first: str) -> int:
    done = python("-W", "error", "-c", FAULTS.format(first=first))
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_a_program_takes_no_new_pages():
    kept, returned = faults("assert jg.keep_memory() and jg.keep_memory()"), faults("")
    assert kept < returned / 4, f"{kept} page faults with keep_memory(), {returned} without"


def test_another_c_library_is_told(monkeypatch):
    monkeypatch.setattr(home, "_kept", False)
    monkeypatch.setattr(home.platform, "libc_ver", lambda: ("", ""))
    with pytest.warns(UserWarning, match="another C library: nothing is changed"):
        assert jg.keep_memory() is False


def test_a_call_after_the_first_computation_is_told():
    lines = [
        "import warnings, jax, jaxgroups as jg",
        "jax.numpy.ones(3).block_until_ready()",
        "with warnings.catch_warnings(record=True) as told:",
        "    warnings.simplefilter('always')",
        "    print(jg.keep_memory(), told[0].message, told[0].filename)",
        "    jg.keep_memory(); assert len(told) == 1",
    ]
    done = python("-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    if GLIBC:
        assert "True jaxgroups: keep_memory() comes after JAX's first computation" in done.stdout
        assert "<string>" in done.stdout  # the line of the caller
