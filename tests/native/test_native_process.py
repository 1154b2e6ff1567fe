"""The compiled kernels in whole processes: threads, forks, instruction sets, memory over time.

A child of fork can run what its parent compiled, kernels included. XLA itself compiles nothing in
such a child: its compiler waits for threads that are gone.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from support import command, native_results

from jaxgroups import _native as native

TESTS = str(Path(__file__).parents[1])
RESULTS = ("-P", "-m", "support.native_results")  # -P: not the checkout, which has no kernels
HERE = f"import sys; sys.path.insert(0, {TESTS!r})\n"
MISSING = native.status().missing
SETS = native.status().instruction_sets
slow = partial(pytest.param, marks=pytest.mark.slow)
needs_kernels = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to run: {MISSING}")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")


@cache
def results(wanted="1", threads="2"):
    """What `native_results.py` tells, in a process with so many threads in XLA's pool."""
    path = os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))
    environment = {"JAXGROUPS_NATIVE": wanted, "NPROC": threads, "PYTHONPATH": path}
    done = command.python(*RESULTS, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_kernels
@pytest.mark.parametrize("threads", [slow("1"), "2", slow("5")])
def test_results_have_the_same_bits_for_any_number_of_threads(threads):
    found = results(threads=threads)
    assert found["wrong"] == []
    assert len(found["bits"]) == len(native_results.SPECS)
    assert found["bits"] == results()["bits"]
    if found["threads"] is not None and threads != "2":
        assert (found["threads"] > results()["threads"]) == (threads == "5")


@needs_kernels
@pytest.mark.parametrize("name", SETS)
def test_each_instruction_set_is_right(name):
    found = results(name)
    assert found["missing"] is None
    assert found["sets"] == list(SETS[SETS.index(name) :])
    assert found["wrong"] == []


def test_switched_off_xla_computes():
    found = results("0")
    assert found["missing"] == "switched off by JAXGROUPS_NATIVE=0"
    assert (found["sets"], found["wrong"]) == ([], [])


@needs_kernels
def test_many_threads_call_at_once():
    """Every thread its own data, over the same compiled functions."""
    functions = [native_results.function(text, "native") for text in native_results.SPECS[:4]]
    jobs = [(f, native_results.arrays(f[0], "float32", seed)) for f in functions for seed in (1, 2)]
    expected = [[np.asarray(y) for y in f[1](*operands)] for f, operands in jobs]

    def rounds(start):
        for i in range(20):
            n = (start + i) % len(jobs)
            for got, right in zip(jobs[n][0][1](*jobs[n][1]), expected[n], strict=True):
                np.testing.assert_array_equal(got, right)
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(rounds, range(16)))


FORK = """
import os, signal, warnings
from support import native_results as of
warnings.filterwarnings("ignore")  # JAX warns of forks
jobs = [(f, of.arrays(spec, "float32", 1)) for spec, f in map(of.native_function, of.SPECS[:2])]
right = [of.digest(f(*operands)) for f, operands in jobs]
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        os._exit([of.digest(f(*operands)) for f, operands in jobs] != right)
    assert os.waitpid(child, 0)[1] == 0
assert [of.digest(f(*operands)) for f, operands in jobs] == right
"""


@needs_kernels
@needs_fork
def test_a_forked_child_computes():
    done = command.python("-P", "-c", HERE + FORK)
    assert done.returncode == 0, done.stderr


SOAK = """
import gc
from support import native_results as of
jobs = [(f, of.arrays(spec, "float32", 1)) for spec, f in map(of.native_function, of.SPECS[:4])]
right = [of.digest(f(*operands)) for f, operands in jobs]
def pages():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1])
def calls(rounds):
    for _ in range(rounds):
        for f, operands in jobs:
            f(*operands)[0].block_until_ready()
calls(200)
before = pages()
calls(800)
print(pages() - before, [of.digest(f(*operands)) for f, operands in jobs] == right)
"""


@pytest.mark.slow
@needs_kernels
@needs_proc
def test_memory_is_flat_over_thousands_of_calls():
    """4000 calls, 12000 convolutions: less is left than one of their arrays for every hundred."""
    done = command.python("-P", "-c", HERE + SOAK)
    assert done.returncode == 0, done.stderr
    grown, right = done.stdout.split()
    assert right == "True"
    assert int(grown) * os.sysconf("SC_PAGE_SIZE") < 8 << 20


SHORT = """
import os, resource
import jax, jax.numpy as jnp, numpy as np
import jaxgroups as jg
how = {"groups": 2, "data_format": "channels_last", "implementation": "native"}
f = jax.jit(lambda *a: jg.conv1d(*a, **how))
# a task packs 48 MiB: malloc keeps nothing above 32 MiB for later calls
x, weight = jnp.ones((1, 3, 8192), "float32"), jnp.ones((3, 4096, 4096), "float32")
right = np.asarray(f(x, weight))
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * os.sysconf("SC_PAGE_SIZE") + (32 << 20)  # the weights are 192 MiB
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (most, hard))
try:
    f(x, weight).block_until_ready()
except Exception as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert (f(x, weight) == right).all()
"""


@needs_kernels
@needs_proc
def test_too_little_memory_is_an_error():
    done = command.python("-P", "-c", SHORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "RESOURCE_EXHAUSTED: jaxgroups: std::bad_alloc\n"
