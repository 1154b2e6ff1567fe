"""Where kernels ask for huge pages: for large new results and the unused memory around them."""

import os
from pathlib import Path

import pytest
from support import command
from support.native_builds import program, said
from test_native_process import needs_kernels

from jaxgroups._native import huge_pages

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
setting = SETTING.read_text(encoding="ascii") if SETTING.exists() else "[never]"
no_huge = pytest.mark.skipif("[never]" in setting, reason="NO HUGE PAGES on this system")
only_asked = pytest.mark.skipif(
    "[madvise]" not in setting,
    reason=f"HUGE PAGES ARE NOT GIVEN WHERE ASKED FOR: {setting.strip()}",
)
ENVIRONMENT = {name: v for name, v in os.environ.items() if name != "GLIBC_TUNABLES"}

# of 128 MB mapped anew, with a result of 1 MB at 64: what was there before, what is marked
HINTS = {
    "nothing": "32-98 ",  # 32 times the result to either side
    "neighbours": "32-98 ",  # a byte written at 43 and at 81
    "ends": "34-96 ",  # at 33 and at 97
    "hole": "44-98 ",
    "used": "",
    "small": "",
}


@pytest.mark.skipif(not SETTING.exists(), reason="NO HUGE PAGES on this system")
@pytest.mark.parametrize("before", HINTS)
def test_how_far_the_hint_goes(before):
    assert said(program("native_pages", "-O1"), before) == HINTS[before]


@pytest.mark.skipif(not SETTING.exists(), reason="NO HUGE PAGES on this system")
def test_the_hint_can_be_limited_to_the_result_or_switched_off():
    pages = program("native_pages", "-O1")
    assert said(pages, "nothing", huge_pages.REACHES.index("around")) == HINTS["nothing"]
    assert said(pages, "large", huge_pages.REACHES.index("result")) == "64-72 "
    assert said(pages, "large", huge_pages.REACHES.index("0")) == ""


def test_an_unknown_reach_is_an_error(monkeypatch):
    for value in ("0", "result", "around"):
        monkeypatch.setenv("JAXGROUPS_HUGE_PAGES", value)
        assert huge_pages.reach() == value
    monkeypatch.setenv("JAXGROUPS_HUGE_PAGES", "all")
    with pytest.raises(
        ValueError, match=r"^JAXGROUPS_HUGE_PAGES=all, but there is 0, result, around$"
    ):
        huge_pages.reach()


@needs_kernels
@only_asked
def test_the_switch_reaches_the_kernels():
    def faults(reach):
        environment = ENVIRONMENT | {"JAXGROUPS_HUGE_PAGES": reach}
        done = command.python("-P", "-c", AROUND, env=environment)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert faults("0") > 5 * faults("around")


@needs_kernels
@no_huge
def test_large_results_have_huge_pages():
    """Of what malloc got anew for a result of 32 MB nearly all; nothing else asks for any here."""
    text = """
import re, jax, jax.numpy as jnp, jaxgroups as jg
x, w = jnp.ones((1, 512, 512, 32)), jnp.ones((1, 1, 1, 32))
conv = lambda x, w: jg.conv2d(x, w, groups=32, data_format="channels_last", implementation="native")
y = jax.block_until_ready(jax.jit(conv)(x, w))
assert y.min() == y.max() == 1
address = y.unsafe_buffer_pointer() + 2**24
for part in re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read()):
    first, last = (int(n, 16) for n in part.split(" ")[0].split("-"))
    if first <= address < last:
        print(re.search(r"AnonHugePages: +(\\d+) kB", part)[1])
"""
    done = command.python("-P", "-c", text, env=ENVIRONMENT)  # what is installed, no checkout
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 24 * 1024


# a convolution, then what XLA computes from it: page faults of a call, of 80 MB that it writes
AROUND = """
import resource
import jax, jax.numpy as jnp, jaxgroups as jg
def f(x, w):
    all = [jg.conv2d(x, w, groups=32, data_format="channels_last")]
    for _ in range(9):
        all.append(jax.lax.optimization_barrier(jnp.sin(all[-1])))
    return sum(y.sum() for y in jax.lax.optimization_barrier(all))
f, x, w = jax.jit(f), jnp.ones((1, 256, 256, 32)), jnp.ones((1, 1, 1, 32))
f(x, w).block_until_ready()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(4):
    f(x, w).block_until_ready()
print((faults() - before) // 4)
"""


@needs_kernels
@only_asked
def test_what_is_computed_from_a_result_has_huge_pages_too():
    def faults(native):
        environment = ENVIRONMENT | {"JAXGROUPS_NATIVE": native}
        done = command.python("-P", "-c", AROUND, env=environment)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    small = faults("0")
    assert small > (80 << 20) // 4096 / 2
    assert faults("1") < small / 5
