"""Whether large blocks of memory have huge pages: what the doctor says, and that it is so."""

import os
import subprocess
import sys

import pytest
from support import command

from jaxgroups._native import huge_pages as memory
from jaxgroups._problem import ynnpack

MADVISE = "always [madvise] never\n"
REMEDY = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
ASKED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
OTHERS = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=0"}
AMONG = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=2:odd"}
JEMALLOC = {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}
NEW, OLD = ("glibc", "2.35"), ("glibc", "2.34")

CASES = [
    ("[always] madvise never\n", OLD, {}, ("huge", "the system gives them always", None)),
    ("always madvise [never]\n", NEW, ASKED, ("small", "the system's setting is never", None)),
    ("nothing in brackets\n", NEW, ASKED, ("small", "the system's setting is unknown", None)),
    (MADVISE, NEW, {}, ("small", "glibc.malloc.hugetlb not set", REMEDY)),
    (MADVISE, NEW, OTHERS, ("small", "glibc.malloc.hugetlb not set", REMEDY)),
    (MADVISE, NEW, ASKED, ("huge", "glibc.malloc.hugetlb is set", None)),
    (MADVISE, NEW, AMONG, ("huge", "glibc.malloc.hugetlb is set", None)),
    (
        MADVISE,
        OLD,
        {},
        ("small", "glibc is 2.34, and only glibc 2.35 or newer asks for them", None),
    ),
    (
        MADVISE,
        ("", ""),
        {},
        ("small", "the C library is not glibc, and only glibc 2.35 or newer asks for them", None),
    ),
    (
        MADVISE,
        NEW,
        JEMALLOC,
        ("unknown", "another allocator is preloaded: /usr/lib/libjemalloc.so.2", None),
    ),
    (None, NEW, {}, ("unknown", "{SETTING} cannot be read", None)),
]


@pytest.mark.parametrize(("setting", "library", "environment", "expected"), CASES)
def test_what_the_doctor_says(
    monkeypatch, capsys, tmp_path, setting, library, environment, expected
):
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if setting is not None:
        (tmp_path / "enabled").write_text(setting)
    monkeypatch.setattr(ynnpack, "faults", list)
    monkeypatch.setattr(memory, "SETTING", tmp_path / "enabled")
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: library)
    pages, because, remedy = expected
    because = because.format(SETTING=memory.SETTING)
    assert memory.examine() == (pages, because, remedy)
    _, out, _ = command.run(capsys, "doctor")
    state = {"huge": "on", "small": "off", "unknown": "unknown"}[pages]
    lines = [f"transparent huge pages: {state} ({because})"]
    if remedy:
        lines += [f"  {remedy} in the environment makes training on a CPU faster,"]
        lines += ["  and so does jaxgroups.keep_memory() at the start of the program"]
    assert out.splitlines()[-len(lines) :] == lines


# a program of XLA with 128 MB of scratch memory: page faults of a call
FAULTS = """
import resource
import jax, jax.numpy as jnp
def f(x):
    for _ in range(4):
        x = jax.lax.optimization_barrier(jnp.sin(x))
    return x.sum()
f, x = jax.jit(f), jnp.ones((64, 512, 1024), "float32")
f(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    f(x).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4)
"""


def test_the_remedy_saves_page_faults(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    here = memory.examine()
    if here.remedy is None:
        pytest.skip(f"the remedy is NOT tried: pages are {here.pages}, {here.because}")
    name, _, value = here.remedy.partition("=")

    def faults(**environment):
        known = dict(os.environ, JAX_PLATFORMS="cpu") | environment
        command = [sys.executable, "-c", FAULTS]
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=True)
        return int(done.stdout)

    small = faults()
    assert small > 2**27 // 4096 / 2  # at least half of the scratch memory, page by page
    assert faults(**{name: value}) < small / 10
