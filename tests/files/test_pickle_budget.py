"""What a pickle makes is bounded by its length: peak memory in a process with a limit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import torch_files
from support.torch_files import Name, Raw, opcodes, pickled, tensor, write

import jaxgroups
from jaxgroups.convert._files import CheckpointError, open_checkpoint
from jaxgroups.convert._files.pickle_budget import FACTOR, FIXED

SIZE = 210_000  # bytes of each file
SLACK = 48 << 20  # of the allocator, and the zip
ORDERED = Name("collections", "OrderedDict")
FEW = b"K\x01"


def memoized(value, index):
    return opcodes(value) + b"q" + bytes([index]) + b"0"


def repeated(function, argument, call=b"h\x00h\x01R"):
    """Calls of a function, again and again, with one argument that is named each time."""
    head = memoized(function, 0) + memoized(Raw(argument + b"\x85"), 1)
    return head + b"(" + call * ((SIZE - len(head)) // len(call)) + b"t"


def many(count, item):
    return b"](" + b"".join(item(i) for i in range(count)) + b"e"


def short_int(i):
    return b"M" + i.to_bytes(2, "little")


def pair(i):
    return short_int(i) + b"N\x86"


def key_and_value(i):
    return short_int(i) + b"N"


def counted(count):
    return b"}(" + b"".join(key_and_value(i) for i in range(count)) + b"u"


def tensors_by_number():
    """One tensor under many names of two bytes each, in one dict after another."""
    head = memoized(tensor("0", "float32", 1, (1,), (1,)), 0)
    one = b"}(" + b"".join(short_int(i) + b"h\x00" for i in range(40_000)) + b"u"
    return head + one


def axes():
    """Tensors of 64 axes, of lists that are copied for each."""
    base = tensor("0", "float32", 1, [1] * 64, [1] * 64)
    head = memoized(base.function, 0) + memoized(base.arguments, 1)
    wrapped = (Raw(b"h\x00"), Name("torch", "Tensor"), Raw(b"h\x01"), {})
    head += memoized(Name("torch._tensor", "_rebuild_from_type_v2"), 2) + memoized(wrapped, 3)
    return head + b"(" + b"h\x02h\x03R" * (SIZE // 5) + b"t"


BOMBS = {
    "sizes": repeated(Name("torch", "Size"), many(30_000, lambda i: FEW)),
    "ordered dicts": repeated(ORDERED, many(20_000, pair)),
    "counters": repeated(Name("collections", "Counter"), counted(20_000)),
    "sets": repeated(Name("builtins", "set"), many(30_000, lambda i: FEW)),
    "sets by NEWOBJ": repeated(Name("builtins", "set"), many(30_000, short_int), b"h\x00h\x01\x81"),
    "bytes": repeated(Name("_codecs", "encode"), opcodes("x" * 50_000), b"h\x00h\x01R").replace(
        b"\x85q\x01", opcodes("latin1") + b"\x86q\x01"
    ),
    "axes": axes(),
    "names": tensors_by_number() * 3 + b"\x87",
    "deep": memoized(Name("a", "B"), 0) + b"N" + b"\x85h\x00\x85\x86" * 50_000,
}
LIMITED = """
import gc, resource, sys
from jaxgroups.convert._files import CheckpointError, open_checkpoint
lines = dict(line.split(":") for line in open("/proc/self/status"))
limit = int(lines["VmSize"].split()[0]) * 1024 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[2:]:
    for reader in ("own", "zipfile"):
        try:
            open_checkpoint(path, reader=reader)
        except CheckpointError:
            print(reader, path)
        gc.collect()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the size of a process")
def test_a_bomb_takes_little_memory(tmp_path):
    """All are refused by a process that may grow by no more than the smallest of them may make."""
    paths = []
    for name, body in BOMBS.items():
        path = tmp_path / f"{name}.pt"
        write(path, "torch-zip", b"\x80\x04" + body + b".", {"0": np.ones(1, "f4")})
        paths.append(str(path))
    limit = FIXED + FACTOR * min(map(os.path.getsize, paths)) + SLACK
    package = str(Path(jaxgroups.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *paths],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": package},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-500:]
    expected = [f"{reader} {path}" for path in paths for reader in ("own", "zipfile")]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("format", torch_files.FORMATS)
@pytest.mark.parametrize("name", ["sizes", "ordered dicts", "counters", "sets", "bytes"])
def test_the_error_says_so(tmp_path, name, format):
    path = write(
        tmp_path / "a.pt", format, b"\x80\x04" + BOMBS[name] + b".", {"0": np.ones(1, "f4")}
    )
    message = (
        r"first \d+ bytes make objects of over \d+ bytes, far more than a state_dict does.*alone"
    )
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_no_alarm_for_a_state_dict_of_many_small_tensors(tmp_path):
    """The most that one makes for each byte: views of one storage, with short names."""
    torch = pytest.importorskip("torch", reason="torch is NOT installed: no large state_dict")
    count = 30_000
    base = torch.arange(count)
    path = tmp_path / "a.pt"
    torch.save({str(i): base[i] for i in range(count)}, path, pickle_protocol=4)
    with open_checkpoint(path) as checkpoint:
        assert len(checkpoint.infos) == count
        assert [int(checkpoint.read(str(i))) for i in (0, 7, count - 1)] == [0, 7, count - 1]


def test_no_alarm_for_long_lists(tmp_path):
    history = {"losses": [0.5 + i for i in range(100_000)], "steps": list(range(100_000))}
    history |= {"rows": [{"epoch": i, "loss": 0.5} for i in range(20_000)]}
    array = np.arange(3.0)
    root = {"model": {"w": torch_files.dense("0", array)}, "history": history}
    path = write(tmp_path / "a.pt", "torch-zip", pickled(root), {"0": array})
    with open_checkpoint(path, "model") as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("w"), array)
