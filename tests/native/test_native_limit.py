"""``JAXGROUPS_NATIVE`` is an upper limit; what keeps convolutions from the kernels is warned of."""

import os
import warnings
from pathlib import Path

import pytest
from support import command

from jaxgroups import _native as native
from jaxgroups._native import build as _build

MISSING = native.status().missing
needs_kernels = pytest.mark.skipif(MISSING is not None, reason=f"NO KERNELS to load: {MISSING}")
PACKAGE = Path(native.__file__).parents[2]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "JAXGROUPS_NATIVE"}

LIMITS = {
    "": "avx512",
    "1": "avx512",
    "true": "avx512",
    " Yes\n": "avx512",
    "ON": "avx512",
    "AVX2": "avx2",
    "avx512": "avx512",
    " Baseline ": "baseline",
    "0": None,
    "off": None,
    "False": None,
    "no": None,
}


@pytest.mark.parametrize("value", LIMITS)
def test_the_limit_is_read_in_any_case(monkeypatch, value):
    monkeypatch.setenv("JAXGROUPS_NATIVE", value)
    assert _build.isa_limit() == LIMITS[value]


def test_without_the_variable_there_is_no_limit(monkeypatch):
    monkeypatch.delenv("JAXGROUPS_NATIVE", raising=False)
    assert _build.isa_limit() == "avx512"


def unknown(value):
    return (
        "JAXGROUPS_NATIVE must be 1 (on, true, yes), 0 (off, false, no), or the widest instruction "
        f"set to use, one of avx512, avx2, baseline; but got JAXGROUPS_NATIVE={value!r}"
    )


@pytest.mark.parametrize("value", ["mmx", "2", "avx 2", "avx2,avx512", "\x1b[2J"])
def test_an_unknown_value_is_an_error(monkeypatch, value):
    monkeypatch.setenv("JAXGROUPS_NATIVE", value)
    with pytest.raises(ValueError, match=r"^JAXGROUPS_NATIVE must") as caught:
        native.find()
    assert str(caught.value) == unknown(value)
    native.register()  # the import goes on: the first convolution raises


class Library:
    """A library with kernels of some instruction sets, as `ctypes` gives it."""

    def __init__(self, names):
        self.names, self.used = names, None

    def __getattr__(self, name):
        def answer(argument):
            if name == "jaxgroups_instruction_set":
                found = self.names[argument : argument + 1]
                return found[0].encode() if found else None
            if name == "jaxgroups_use_instruction_set":
                self.used = argument.decode()
            return 1

        vars(self)[name] = lambda argument: answer(argument)
        return vars(self)[name]


NARROWER = {  # limit, processor, sets that the library has and the processor runs: used, advice
    ("avx512", "avx512", "avx512 baseline"): ("avx512", None),
    ("avx512", "avx2", "avx2 baseline"): ("avx2", None),
    ("avx512", "baseline", "baseline"): ("baseline", None),
    ("avx2", "avx512", "avx512 avx2 baseline"): ("avx2", None),
    ("baseline", "avx512", "avx512 avx2 baseline"): ("baseline", None),
    ("avx512", "avx512", "avx2 baseline"): ("avx2", "no avx512 kernels, .* Run python -m"),
    ("avx2", "avx512", "avx512 baseline"): (
        "baseline",
        "no avx2 kernels, .* Run JAXGROUPS_NATIVE_ISAS=avx2 python -m jaxgroups._native.build$",
    ),
    ("avx512", None, "avx2 baseline"): ("avx2", None),
}


@pytest.mark.parametrize("case", NARROWER, ids=lambda case: "-".join(map(str, case)))
def test_a_limit_that_the_processor_lacks_is_no_error(monkeypatch, case):
    (limit, processor, names), (used, advice) = case, NARROWER[case]
    library = Library(names.split())
    monkeypatch.setenv("JAXGROUPS_NATIVE", limit)
    monkeypatch.setattr(_build, "widest_isa", lambda: processor)
    monkeypatch.setattr(native, "places", lambda: (Path(__file__),))
    monkeypatch.setattr(native, "_open", lambda path: library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = native.find()
    assert (found.missing, found.instruction_sets[0]) == (None, used)
    assert library.used == (None if used == names.split()[0] else used)
    if advice is None:
        assert caught == []
    else:
        (warning,) = caught
        with pytest.warns(UserWarning, match=advice):
            warnings.warn_explicit(warning.message, UserWarning, __file__, 1)


TWICE = """
import jax.numpy as jnp, jaxgroups as jg
for size in (9, 8):
    jg.conv1d(jnp.ones((1, 8, size)), jnp.ones((8, 1, 3)), groups=8)
jg.explain("conv1d in=8 out=8 kernel=3 groups=8 batch=1 size=9", platform="cpu")
"""
WITHOUT = "convolutions on a CPU run without the compiled kernels, which is slower: "


def test_what_switches_the_kernels_off_is_said_once():
    done = command.python("-c", TWICE, env=ENVIRONMENT | {"JAXGROUPS_NATIVE": "Off"})
    assert done.returncode == 0, done.stderr
    text = f"UserWarning: jaxgroups: {WITHOUT}switched off by JAXGROUPS_NATIVE=Off\n"
    assert done.stderr.count("Warning") == done.stderr.count(text) == 1


def test_missing_kernels_are_said_once(monkeypatch):
    monkeypatch.setattr(native, "find", lambda: native.Status("so it is"))
    native_status = native.cache(native.status.__wrapped__)
    with pytest.warns(UserWarning, match=WITHOUT + "so it is") as caught:
        assert native_status() is native_status()
    assert len(caught) == 1


def test_an_unknown_value_is_an_error_of_the_first_convolution_and_of_the_doctor():
    environment = ENVIRONMENT | {"JAXGROUPS_NATIVE": "mmx", "JAX_PLATFORMS": "cpu"}
    done = command.python("-c", TWICE, env=environment)
    assert done.returncode == 1
    assert f"\nValueError: {unknown('mmx')}\n" in done.stderr
    done = command.python("-m", "jaxgroups", "doctor", env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"jaxgroups doctor: {unknown('mmx')}\n"


@needs_kernels
def test_a_value_for_another_machine_computes_with_the_kernels():
    for value in ("avx512", "", "true", "AVX2"):
        environment = ENVIRONMENT | {"JAXGROUPS_NATIVE": value}
        code = f"{TWICE}\nfrom jaxgroups import _native\nprint(_native.status().missing)"
        done = command.python("-W", "ignore", "-c", code, env=environment)
        assert (done.stdout, done.stderr) == ("None\n", "")


# --- without a home directory ---------------------------------------------------------------------

HOMELESS = """
import os, pwd, sys
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
def nobody(*_):
    raise KeyError("uid not found")
pwd.getpwuid = nobody
from pathlib import Path
try:
    Path.home()
    sys.exit("there is a home")
except RuntimeError:
    pass
import jax.numpy as jnp, jaxgroups as jg
from jaxgroups import _native, cli
print(jg.conv1d(jnp.ones((1, 8, 9)), jnp.ones((8, 1, 3)), groups=8).sum(), _native.status().path)
sys.exit(cli.main(["doctor"]))
"""


def test_no_home_directory_is_needed():
    """As in a container whose user has no entry in the password file."""
    done = command.python("-W", "ignore", "-c", HOMELESS, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    first, *doctor = done.stdout.splitlines()
    assert first.startswith("168.0 ")
    beside = Path(native.__file__).with_name(_build.LIBRARY)
    if beside.is_file() and MISSING is None:
        assert first == f"168.0 {beside}"
    assert any(line.startswith("compiled kernels: ") for line in doctor)


def test_a_home_directory_that_cannot_be_read_is_passed_over(monkeypatch):
    monkeypatch.delenv("JAXGROUPS_NATIVE", raising=False)

    def refused(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(native, "places", lambda: (Path("/root/x/_kernels.so"),))
    monkeypatch.setattr(os, "stat", refused)
    found = native.find()
    monkeypatch.undo()
    assert found.missing.startswith("the kernels are not compiled: ")


# --- programs of another process ------------------------------------------------------------------

SAVE = """
import pickle, sys
import jax, jax.numpy as jnp, jaxgroups as jg
from jax.experimental.serialize_executable import serialize
def both(x, w):
    y, back = jax.vjp(lambda *a: jg.conv1d(*a, groups=4, implementation="native"), x, w)
    return y, *back(y)
x, w = jnp.arange(48.0).reshape(2, 8, 3), jnp.arange(32.0).reshape(8, 2, 2)
compiled = jax.jit(both).lower(x, w).compile()
assert "jaxgroups_weight_gradient" in compiled.as_text()
pickle.dump((serialize(compiled), [y.tolist() for y in compiled(x, w)]), open(sys.argv[1], "wb"))
"""
LOAD = """
import pickle, sys, time
import jax.numpy
from jax._src import xla_bridge
import jaxgroups
assert not xla_bridge._backends, "the import started a backend"
assert not {"flax", "torch"} & set(sys.modules)
import jax.numpy as jnp
from jax.experimental.serialize_executable import deserialize_and_load
program, expected = pickle.load(open(sys.argv[1], "rb"))
x, w = jnp.arange(48.0).reshape(2, 8, 3), jnp.arange(32.0).reshape(8, 2, 2)
assert [y.tolist() for y in deserialize_and_load(*program)(x, w)] == expected
"""


@needs_kernels
def test_a_serialized_program_runs_in_a_new_process_that_imports_jaxgroups(tmp_path):
    for code in (SAVE, LOAD):
        done = command.python("-c", code, str(tmp_path / "program"), env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
