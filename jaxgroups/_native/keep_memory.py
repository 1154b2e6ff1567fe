"""Freed memory that stays with the process, which makes training on a CPU faster.

XLA allocates the scratch memory of a program at every call and frees it afterwards. glibc returns
large blocks to the system, which maps and zeroes every page again at the next call: a third to a
half of the time of a training step. Three settings of ``mallopt`` (glibc's ``malloc.h``) change it:

* ``M_MMAP_MAX`` 0: no block is mapped by itself, so none is unmapped when it is freed;
* ``M_TRIM_THRESHOLD`` -1, which is none: the end of the heap is not returned either;
* ``M_ARENA_MAX`` 1: the threads share the heap. An arena of a thread holds 64 MiB at most, so a
  larger block would be mapped by itself again. A thread that has an arena keeps it: the setting
  has to come before XLA's threads.

``GLIBC_TUNABLES`` has the same settings, for programs that cannot call this function.
"""

import ctypes
import platform
import warnings

from jaxgroups._problem import jax_private as private

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
SETTINGS = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
_kept = False  # whether this process has the settings


def keep_memory() -> bool:
    """Keep the memory that programs free, instead of returning it to the system, from now on.

    A training step on a CPU then does not map its scratch memory anew. The process holds the memory
    of its largest step until it ends, and all its threads allocate from one heap. Call it once, at
    the start of a program, before JAX computes anything. Repeated calls change nothing.

    Returns:
      Whether the settings were accepted. It is False with another C library than glibc (macOS,
      musl), where nothing changes. glibc also accepts them, without an effect, where another
      allocator is preloaded.

    Warns:
      UserWarning: the C library is not glibc, or JAX has started a backend already, whose threads
        keep what they have.
    """
    global _kept
    if _kept:
        return True
    if platform.libc_ver()[0] != "glibc":
        warnings.warn(
            "jaxgroups: keep_memory() changes settings of glibc, and this process uses another C "
            "library: nothing is changed",
            stacklevel=2,
        )
        return False
    if private.backends_started():
        warnings.warn(
            "jaxgroups: keep_memory() comes after JAX's first computation, and threads that have "
            "allocated memory keep their way: call it at the start of the program",
            stacklevel=2,
        )
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    _kept = all(mallopt(name, value) == 1 for name, value in SETTINGS)
    return _kept
