"""The kernels under the sanitizers: random problems, and the pool with its kept memory.

What is compiled is `native_driver.cc`, without XLA, with the sources of the library; every
instruction set that this processor runs takes part, in float32 and float64.
"""

import pytest
from conftest import SEED
from support.native_builds import THREADS, program, said, sanitized_driver

from jaxgroups import _native as native


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return sanitized_driver(tmp_path_factory.mktemp("driver"))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "callers"), [(1, 1), (2, 1), (3, 2), (4, 4)])
def test_random_problems_touch_their_arrays_alone(driver, seed, callers):
    """Also: right results, the same bits for 1 to 4 threads, wrong calls refused."""
    out = said(driver, 2000, SEED + seed, callers)
    words, _, sets = out.strip().partition(" with ")
    assert words == "2000 problems, right"
    if native.status().missing is None:
        names = native.status().instruction_sets
        assert sets.split()[-len(names) :] == list(names)


@pytest.mark.slow
def test_the_pool_and_the_kept_memory_have_no_races():
    assert said(program("native_pool", THREADS)) == "0 wrong\n"


def test_the_pool_works_after_a_fork():
    """In the child none of its threads runs, and any of its locks may be held for ever."""
    assert said(program("native_pool", "-O1"), "fork") == "0 wrong\n"
