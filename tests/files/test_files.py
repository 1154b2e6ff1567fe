"""Checkpoint files without torch: both torch formats, safetensors, and the writer."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from support import torch_files
from support.torch_files import FORMATS, Call, Name, Persistent, Raw, dense, pickled, tensor, write

from jaxgroups.convert._files import (
    CheckpointError,
    TensorInfo,
    from_dict,
    open_checkpoint,
    write_safetensors,
)

DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)
FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
SAFE = (*DTYPES[:-1], "uint16", "uint32", "uint64")  # safetensors has no complex128
BIG = 2**40 + 1  # does not survive int32 nor float32


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def bits(rng, shape, dtype):
    """Random bits of that dtype, NaNs and all; 0 and 1 for bool."""
    dtype = dtype_of(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    data = rng.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return np.frombuffer(data.tobytes(), dtype).reshape(shape)


def assert_bits(actual, expected):
    """Shape, dtype and bits; and that it is C-contiguous and may be written to."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert actual.tobytes() == expected.tobytes()
    assert actual.flags.c_contiguous
    assert actual.flags.writeable


def some(rng, dtypes=DTYPES):
    """One of everything: each dtype, 0-d, without elements, one big int64."""
    arrays = {f"w.{dtype}": bits(rng, (2, 3, 4), dtype) for dtype in dtypes}
    arrays["big"] = np.array(BIG)
    return arrays | {"none": np.zeros((0, 3), "float32"), "one": bits(rng, (1,), "int8")}


def sources(arrays):
    infos = {name: TensorInfo(a.shape, a.dtype.name) for name, a in arrays.items()}
    return [(name, infos[name], lambda name=name: arrays[name]) for name in arrays]


def assert_holds(checkpoint, arrays):
    assert list(checkpoint.infos) == list(arrays)
    for name, array in arrays.items():
        assert checkpoint.infos[name] == TensorInfo(array.shape, array.dtype.name)
        assert_bits(checkpoint.read(name), array)


def refused(match, path, *args, **kw):
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path, *args, **kw)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


class TestMemory:
    def test_holds_what_it_was_given_as_copies(self, rng):
        arrays = some(rng, DTYPES + FLOAT8)
        with from_dict(arrays) as checkpoint:
            assert checkpoint.format == "memory"
            assert checkpoint.path is None
            assert_holds(checkpoint, arrays)
            checkpoint.read("w.float32")[:] = 0
            assert_bits(checkpoint.read("w.float32"), arrays["w.float32"])

    def test_jax_arrays_and_byte_orders(self, rng):
        plain = rng.standard_normal((2, 3))
        checkpoint = from_dict({"jax": jnp.asarray(plain), "big": plain.astype(">f8")})
        assert_bits(checkpoint.read("jax"), plain)
        assert_bits(checkpoint.read("big"), plain)

    def test_aliases_are_the_same_memory_in_the_same_way(self, rng):
        a = rng.standard_normal((3, 3))
        j = jnp.ones(3)
        held = {"a": a, "again": a, "view": a[:], "turned": a.T, "row": a[0], "j": j, "j2": j}
        held |= {"e1": a[:0], "e2": a[:0], "equal": a.copy()}
        checkpoint = from_dict(held)
        assert checkpoint.aliases == {"again": "a", "view": "a", "j2": "j"}
        assert list(checkpoint.infos) == list(held)
        assert_bits(checkpoint.read("view"), a)
        assert_bits(checkpoint.read("turned"), a.T.copy())

    @pytest.mark.parametrize("value", [3.0, [1.0], {"a": np.ones(2)}, None])
    def test_what_is_no_tensor_is_refused(self, value):
        with pytest.raises(CheckpointError, match=r"'x' is a .*, not a tensor"):
            from_dict({"x": value})

    def test_names_and_dtypes_are_checked(self):
        with pytest.raises(CheckpointError, match="strings, but got 3"):
            from_dict({3: np.ones(2)})
        with pytest.raises(CheckpointError, match="'x' has dtype str"):
            from_dict({"x": np.array(["text"])})

    def test_unknown_names_and_closed_checkpoints(self):
        checkpoint = from_dict({"layer.weight": np.ones(2)})
        with pytest.raises(CheckpointError, match=r"no tensor 'layer.weigth'.*'layer.weight'"):
            checkpoint.read("layer.weigth")
        checkpoint.close()
        checkpoint.close()
        with pytest.raises(CheckpointError, match="closed"):
            checkpoint.read("layer.weight")


@pytest.mark.parametrize("format", FORMATS)
class TestOwnReader:
    """Files made by tests/torch_files.py; tests/test_files_torch.py has torch make them."""

    def test_every_dtype(self, tmp_path, rng, format):
        arrays = some(rng)
        path = torch_files.state_dict(tmp_path / "a.pt", format, arrays)
        with open_checkpoint(path, reader="own") as checkpoint:
            assert checkpoint.format == format
            assert checkpoint.path == path
            assert_holds(checkpoint, arrays)
            assert checkpoint.aliases == {}

    def test_views_and_aliases(self, tmp_path, rng, format):
        base = rng.standard_normal(24).astype("float32")
        views = {
            "c": tensor("0", "float32", 24, (4, 6), (6, 1)),
            "t": tensor("0", "float32", 24, (6, 4), (1, 6)),
            "part": tensor("0", "float32", 24, (2, 3), (12, 2), offset=7),
            "wide": tensor("0", "float32", 24, (3, 2), (0, 1), offset=2),
            "again": tensor("0", "float32", 24, (4, 6), (6, 1)),
            "scalar": tensor("0", "float32", 24, (), (), offset=23),
            "none": tensor("0", "float32", 24, (0, 5), (5, 1), offset=24),
            "none2": tensor("0", "float32", 24, (0, 5), (5, 1), offset=24),
        }
        path = write(tmp_path / "a.pt", format, pickled(views), {"0": base})
        checkpoint = open_checkpoint(path, reader="own")
        assert checkpoint.aliases == {"again": "c"}
        expected = {
            "c": base.reshape(4, 6),
            "t": base.reshape(4, 6).T,
            "part": np.stack([base[7:13:2], base[19:25:2]]),
            "wide": np.stack([base[2:4]] * 3),
            "again": base.reshape(4, 6),
            "scalar": base[23],
            "none": np.zeros((0, 5), "float32"),
            "none2": np.zeros((0, 5), "float32"),
        }
        for name, array in expected.items():
            assert_bits(checkpoint.read(name), np.array(array, order="C"))

    def test_windows_of_storages(self, tmp_path, rng, format):
        base = rng.standard_normal(10)
        view = tensor("0", "float64", 10, (2, 2), (2, 1), offset=1, window=(("7", 3, 5),))
        path = write(tmp_path / "a.pt", format, pickled({"w": view}), {"0": base})
        checkpoint = open_checkpoint(path, reader="own")
        assert_bits(checkpoint.read("w"), base[4:8].reshape(2, 2))
        for window in ((("7", 3, 8),), (("7", -1, 5),), (("7", 3, 4),), (3,)):
            view = tensor("0", "float64", 10, (2, 2), (2, 1), offset=1, window=window)
            write(path, format, pickled({"w": view}), {"0": base})
            refused("damaged", path, reader="own")

    def test_untyped_storages_and_float8(self, tmp_path, rng, format):
        data = bits(rng, (16,), "float8_e4m3fn")
        kind = Name("torch.storage", "UntypedStorage")
        held = Persistent(("storage", kind, "0", "cpu", 16))
        arguments = (held, 4, (3, 4), (4, 1), False, {}, Name("torch", "float8_e4m3fn"))
        call = Call(Name("torch._utils", "_rebuild_tensor_v3"), arguments)
        path = write(tmp_path / "a.pt", format, pickled({"w": call}), {"0": data})
        assert_bits(open_checkpoint(path, reader="own").read("w"), data[4:].reshape(3, 4))

    def test_parameters_sizes_devices_and_metadata(self, tmp_path, rng, format):
        array = rng.standard_normal((2, 3))
        parameter = Call(Name("torch._utils", "_rebuild_parameter"), (dense("0", array), True, {}))
        ordered = torch_files.opcodes(Call(Name("collections", "OrderedDict"), ()))
        held = torch_files.opcodes("w") + torch_files.opcodes(parameter) + b"s"
        meta = torch_files.opcodes({"_metadata": {"": {"version": 1}}}) + b"b"
        root = {
            "model": Raw(ordered + held + meta),
            "size": Call(Name("torch", "Size"), ([2, 3],)),
            "device": Call(Name("torch", "device"), ("cuda", 0)),
            "dtype": Name("torch", "float32"),
            "layout": Name("torch", "strided"),
            "lr": 0.5,
            "steps": [1, (2, None)],
        }
        path = write(tmp_path / "a.pt", format, pickled(root), {"0": array})
        assert_bits(open_checkpoint(path, "model", reader="own").read("w"), array)
        refused(r"select one with key='model' \(1 tensor\)$", path, reader="own")

    def test_keys(self, tmp_path, rng, format):
        arrays = {str(i): rng.standard_normal(i + 1) for i in range(4)}
        t = [dense(key, array) for key, array in arrays.items()]
        root = {
            "top": t[0],
            "epoch": 3,
            "model": {"w": t[1], "b": t[2], "steps": 4, "lists": [t[3]]},
            "nets": {"ema.decay": {"w": t[3]}, 7: {"w": t[2], 0: t[1]}},
            "empty": {},
        }
        path = write(tmp_path / "a.pt", format, pickled(root), arrays)

        def names(key):
            checkpoint = open_checkpoint(path, key, reader="own")
            return list(checkpoint.infos), checkpoint.extras

        assert names("model") == (["w", "b"], ("steps", "lists"))
        assert names("nets.ema.decay") == (["w"], ())
        assert names("nets.7") == (["w", "0"], ())
        assert names("") == (["top"], ("epoch", "model", "nets", "empty"))
        assert names("empty") == ([], ())
        message = refused("tensors are at several levels", path, reader="own")
        for part in (
            "key='model' (2 tensors)",
            "key='nets.ema.decay' (1 tensor)",
            "key='nets.7' (2 tensors)",
            "key='' for the top level alone (1 tensor)",
        ):
            assert part in message
        assert "empty" not in message
        refused(
            r"key='modle' leads to nothing: select one with key='model'",
            path,
            "modle",
            reader="own",
        )
        refused("key='epoch' leads to no dict", path, "epoch", reader="own")
        refused("key='top' leads to no dict", path, "top", reader="own")
        refused("the dict at key='nets' holds no tensor", path, "nets", reader="own")

    def test_extras_beside_tensors_and_no_dict_at_all(self, tmp_path, rng, format):
        array = rng.standard_normal(3)
        root = {"w": dense("0", array), "epoch": 3, "config": {"lr": 0.1}}
        path = write(tmp_path / "a.pt", format, pickled(root), {"0": array})
        assert open_checkpoint(path, reader="own").extras == ("epoch", "config")
        refused(
            "key='x' leads to nothing: the top level itself holds 1 tensor", path, "x", reader="own"
        )
        for root, match in (
            (dense("0", array), "it holds one tensor, not a dict"),
            ([dense("0", array)], "it holds a list, not a dict"),
            ({"epoch": 3}, r"holds no tensor: no dict in it holds tensors.*\['epoch'\]"),
            ({(1, 2): dense("0", array)}, "1 tensors, but only 0 different names"),
            ({"1": dense("0", array), 1: dense("0", array)}, "2 tensors, but only 1 different"),
        ):
            write(path, format, pickled(root), {} if "epoch" in root else {"0": array})
            refused(match, path, reader="own")

    @pytest.mark.parametrize(
        ("shape", "stride", "offset", "match"),
        [
            ((5,), (1,), 1, "from byte 8 to 48 of storage 0, which has 40"),
            ((2, 2), (4, 1), 0, "to 48"),
            ((-1,), (1,), 0, "integers >= 0"),
            ((2,), (-1,), 1, "integers >= 0"),
            ((2,), (1,), -1, "integers >= 0"),
            ((2, 2), (1,), 0, "2 sizes and 1 strides"),
            ((1,) * 65, (1,) * 65, 0, "65 sizes and 65 strides"),
            ((2.0,), (1,), 0, "integers >= 0"),
            ((True,), (1,), 0, "integers >= 0"),
            ((2**62, 2**62), (2**62, 1), 0, "of storage 0, which has 40"),
            ((2**80,), (0,), 0, "integers >= 0"),
            ((2**28,), (0,), 0, "takes 2147483648 bytes, but its storage has 40"),
            ("ab", (1,), 0, "integers >= 0"),
        ],
    )
    def test_bounds(self, tmp_path, format, shape, stride, offset, match):
        view = tensor("0", "float64", 5, shape, stride, offset)
        path = write(tmp_path / "a.pt", format, pickled({"w": view}), {"0": np.ones(5)})
        refused(match, path, reader="own")

    def test_storages_of_another_size_or_none(self, tmp_path, format):
        for count in (4, 6, -1, 2**70):
            view = tensor("0", "float64", count, (2,), (1,))
            path = write(tmp_path / "a.pt", format, pickled({"w": view}), {"0": np.ones(5)})
            refused("damaged|needs storage 0 of", path, reader="own")
        view = tensor("1", "float64", 5, (2,), (1,))
        write(path, format, pickled({"w": view}), {"0": np.ones(5)})
        refused("damaged", path, reader="own")

    def test_truncated_anywhere(self, tmp_path, rng, format):
        arrays = {"a": rng.standard_normal((5, 7)), "b": bits(rng, (9,), "bfloat16")}
        whole = torch_files.state_dict(tmp_path / "a.pt", format, arrays).read_bytes()
        path = tmp_path / "cut.pt"
        for length in range(1, len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(CheckpointError):
                open_checkpoint(path, reader="own")
        path.write_bytes(whole[:-20])
        refused(r"\d+ bytes", path, reader="own")

    def test_truncated_or_changed_after_it_was_opened(self, tmp_path, rng, format):
        path = torch_files.state_dict(tmp_path / "a.pt", format, {"a": rng.standard_normal(99)})
        checkpoint = open_checkpoint(path, reader="own")
        os.truncate(path, path.stat().st_size - 500)
        with pytest.raises(CheckpointError, match="changed since it was opened"):
            checkpoint.read("a")

    def test_big_endian_files_are_refused(self, tmp_path, rng, format):
        how = {"little": False} if format == "torch-legacy" else {"order": b"big"}
        arrays = {"a": rng.standard_normal(3)}
        path = torch_files.state_dict(tmp_path / "a.pt", format, arrays, **how)
        refused("only little-endian", path, reader="own")

    def test_lazily_conjugated_tensors_are_refused(self, tmp_path, format):
        plain = dense("0", np.ones(3, "complex64"))
        view = Call(plain.function, (*plain.arguments, {"conj": True}))
        path = write(tmp_path / "a.pt", format, pickled({"w": view}), {"0": np.ones(3, "c8")})
        refused("resolve_conj", path, reader="own")

    def test_reading_one_tensor_takes_the_memory_of_one(self, tmp_path, format):
        arrays = {str(i): np.full(1_000_000, i, "float32") for i in range(8)}
        path = torch_files.state_dict(tmp_path / "a.pt", format, arrays)
        tracemalloc.start()
        try:
            with open_checkpoint(path, reader="own") as checkpoint:
                for name in checkpoint.infos:
                    checkpoint.read(name)
            assert tracemalloc.get_traced_memory()[1] < 9_000_000
        finally:
            tracemalloc.stop()

    @settings(max_examples=300)
    @given(data=st.data())
    def test_damage_is_never_anything_but_an_error(self, tmp_path_factory, format, data):
        arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(3)}
        path = tmp_path_factory.mktemp("fuzz") / "a.pt"
        whole = bytearray(torch_files.state_dict(path, format, arrays).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        try:
            with open_checkpoint(path, reader="own") as checkpoint:
                for name in checkpoint.infos:
                    checkpoint.read(name)
        except CheckpointError:
            pass


class Evil:
    """Pickles as a call of os.system that leaves a file behind."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(mark):
    """Pickles that run code where `pickle.loads` reads them, by what they do."""
    touch = f"open({str(mark)!r}, 'w').close()"
    for protocol in range(6):
        yield (
            f"os.system {protocol}",
            pickle.dumps({"w": Evil(os.system, f"touch {mark}")}, protocol),
        )
        yield f"exec {protocol}", pickle.dumps({"w": Evil(exec, touch)}, protocol)
    text = torch_files.opcodes(touch)
    yield "eval by GLOBAL", b"\x80\x02cbuiltins\neval\n" + text + b"\x85R."
    yield "eval by STACK_GLOBAL", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + text + b"\x85R."
    yield "INST", b"(" + text + b"ibuiltins\nexec\n."
    yield "OBJ", b"(cbuiltins\nexec\n" + text + b"o."
    yield "NEWOBJ", b"\x80\x02ccollections\nOrderedDict\n)\x81."
    yield "getattr", b"\x80\x02cbuiltins\ngetattr\nctorch\nSize\nX\x05\0\0\0index\x86R."
    yield "dotted name", b"\x80\x04\x8c\x05torch\x8c\x10Size.__class__.x\x93."
    yield "call of a size", b"\x80\x02ctorch\nSize\n)R)R."
    yield "call of a storage", b"\x80\x02ctorch\nFloatStorage\n)R."
    yield "BUILD of a function", b"\x80\x02ctorch\nSize\n}X\x04\0\0\0makecos\nsystem\nsb."
    yield "BUILD of a name", b"\x80\x02ctorch\nSize\n}X\x04\0\0\0makeK\x01sb."
    yield "BUILD with slots", b"\x80\x02}N}X\x01\0\0\0aK\x01s\x86b."
    yield "EXT1", b"\x80\x02\x82\x01."
    yield "PERSID", b"Pos.system\n."
    yield "a foreign persistent id", pickled(Persistent(("module", "os", "x", "y")))
    yield "numpy", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R."
    yield "torch.load", b"\x80\x02ctorch\nload\nX\x01\0\0\0x\x85R."
    yield "frozenset", b"\x80\x04(\x91."


ATTACKS = [name for name, _ in attacks(Path("mark"))]
EMPTY = ("NEWOBJ", "BUILD with slots")  # of which no more than an empty dict comes


@pytest.mark.parametrize("format", FORMATS)
class TestAttacks:
    @pytest.mark.parametrize("name", ATTACKS)
    def test_code_is_refused_and_not_run(self, tmp_path, format, name):
        mark = tmp_path / "mark"
        pickle = dict(attacks(mark))[name]
        path = write(tmp_path / "a.pt", format, pickle, {})
        if name in EMPTY:
            assert open_checkpoint(path, reader="own").infos == {}
            return
        message = refused(".", path, reader="own").removeprefix(str(path))
        assert not mark.exists()
        words = ("refused", "damaged", "nothing was imported", "made by", "not a dict")
        assert any(word in message for word in words)
        for word in ("system", "exec", "eval", "getattr", "_reconstruct"):
            if word in name and "persistent" not in name:
                assert word in message

    def test_the_attacks_are_real(self, tmp_path, format):
        """Else their being refused would say nothing."""
        real = [name for name in ATTACKS if name.startswith(("os.", "exec", "eval", "INST", "OBJ"))]
        for name in real:
            mark = tmp_path / "mark"
            pickle.loads(dict(attacks(mark))[name])
            assert mark.exists(), name
            mark.unlink()

    def test_shared_and_endless_structures_cost_nothing(self, tmp_path, format):
        double = b"]" + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60))
        within = b"}q\0X\x01\0\0\0ah\0s"  # a dict in itself
        deep = b"".join([b"}X\x01\0\0\0a"] * 20_000 + [b"N"] + [b"s"] * 20_000)
        lists = b"]" * 50_000 + b"a" * 49_999
        for body in (double, within, deep, lists):
            path = write(tmp_path / "a.pt", format, b"\x80\x02" + body + b".", {})
            refused("holds", path, reader="own")
            keyed = b"\x80\x02}X\x01\0\0\0x" + body + b"s."
            write(path, format, keyed, {})
            refused("holds no tensor", path, reader="own")
            refused("leads to", path, "y", reader="own")

    def test_keys_that_are_dear_to_hash(self, tmp_path, format):
        nest = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
        array = np.ones(2)
        held = torch_files.opcodes("w") + torch_files.opcodes(dense("0", array)) + b"s"
        body = b"\x80\x02}" + nest + b"Ns" + torch_files.opcodes(2**64) + b"Ns" + held
        path = write(tmp_path / "a.pt", format, body + b".", {"0": array})
        with open_checkpoint(path, reader="own") as checkpoint:
            assert list(checkpoint.infos) == ["w"]
        write(path, format, pickled({2**64: dense("0", array)}), {"0": array})
        refused("1 tensors, but only 0 different names", path, reader="own")

    def test_announced_lengths_are_not_believed(self, tmp_path, format):
        for code in (b"X" + b"\xff" * 3 + b"\x7f", b"\x8d" + b"\xff" * 7 + b"\x7f"):
            path = write(tmp_path / "a.pt", format, b"\x80\x04" + code + b"abc.", {})
            refused("truncated: .* bytes are announced", path, reader="own")

    def test_rubbish(self, tmp_path, format):
        for body in (
            b"",
            b"\x80\x02.",
            b"\x80\x02R.",
            b"\x80\x02t.",
            b"\x80\x02h\x07.",
            b"\xff",
            b"cos\n\\x\n.",
        ):
            path = write(tmp_path / "a.pt", format, body, {})
            refused("damaged|refused", path, reader="own")


class TestZip:
    def test_compressed_members_are_refused(self, tmp_path):
        how = {"compression": zipfile.ZIP_DEFLATED}
        arrays = {"w": np.zeros(100_000)}
        path = torch_files.state_dict(tmp_path / "bomb.pt", "torch-zip", arrays, **how)
        refused("compressed or encrypted.*try reader='zipfile'", path, reader="own")

    @pytest.mark.parametrize("field", [18, 22])
    def test_sizes_that_lie_in_the_directory_are_refused(self, tmp_path, field):
        arrays = {"w": np.ones(5)}
        path = torch_files.state_dict(tmp_path / "a.pt", "torch-zip", arrays)
        data = bytearray(path.read_bytes())
        entry = data.rindex(b"PK\1\2")
        data[entry + field + 2 : entry + field + 6] = struct.pack("<I", 50_000)
        path.write_bytes(data)
        refused("announces|truncated", path, reader="own")

    def test_other_zips(self, tmp_path):
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "hello")
        refused(r"0 named \*/data.pkl", path, reader="own")
        extra = [("archive/constants.pkl", b"")]
        write(path, "torch-zip", pickled({}), {}, extra=extra)
        refused("TorchScript", path, reader="own")
        write(path, "torch-zip", pickled({}), {}, extra=[("other/data.pkl", b"")])
        refused(r"2 named \*/data.pkl", path, reader="own")

    def test_the_same_name_twice_or_another_in_the_local_header(self, tmp_path):
        arrays = {"w": np.ones(5), "v": np.zeros(5)}
        path = torch_files.state_dict(tmp_path / "a.pt", "torch-zip", arrays)
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"archive/data/1", b"archive/data/0"))
        refused("members, but", path, reader="own")
        path.write_bytes(whole.replace(b"archive/data/1", b"archive/data/2", 1))
        refused("another name in its own header", path, reader="own")


class TestLegacy:
    @pytest.mark.parametrize(
        ("how", "match"),
        [
            ({"magic": 5}, "not torch's: it starts with 5"),
            ({"magic": "text"}, "not torch's"),
            ({"version": 1000}, "version 1000"),
            ({"keys": []}, "1?68 bytes follow|48 bytes follow"),
            ({"keys": ["0", "0"]}, "truncated|twice"),
            ({"keys": ["1"]}, "does not list"),
            ({"keys": "0"}, "not a list of storages"),
            ({"keys": [None]}, "not a list of storages"),
            ({"end": b"more"}, "4 bytes follow the last of 1"),
        ],
    )
    def test_heads_and_tails(self, tmp_path, how, match):
        arrays = {"w": np.ones(5)}
        path = torch_files.state_dict(tmp_path / "a.pt", "torch-legacy", arrays, **how)
        refused(match, path, reader="own")

    def test_strings_of_python_2(self, tmp_path):
        name = "gewöhnlich".encode()
        code = torch_files.opcodes(dense("0", np.ones(2)))
        pickle = b"\x80\x02}U" + bytes([len(name)]) + name + code + b"s."
        path = write(tmp_path / "a.pt", "torch-legacy", pickle, {"0": np.ones(2)})
        assert list(open_checkpoint(path, reader="own").infos) == ["gewöhnlich"]

    def test_a_huge_number_for_magic(self, tmp_path):
        number = b"\x80\x02\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000 + b"."
        path = tmp_path / "a.pt"
        path.write_bytes(number)
        refused("not torch's", path, reader="own")


def raw_safetensors(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


class TestSafetensors:
    def test_every_dtype(self, tmp_path, rng):
        arrays = {k: v for k, v in some(rng).items() if v.dtype not in ("c8", "c16")}
        safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", {"by": "us"})
        with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
            assert checkpoint.format == "safetensors"
            assert checkpoint.metadata == {"by": "us"}
            assert checkpoint.infos.keys() == arrays.keys()
            for name, array in arrays.items():
                assert_bits(checkpoint.read(name), array)

    def test_without_the_extension_and_in_the_order_of_the_data(self, tmp_path):
        header = {"b": entry(offsets=(4, 8)), "a": entry(offsets=(0, 4))}
        path = raw_safetensors(tmp_path / "model", header, np.array([1, 2], "f4").tobytes())
        checkpoint = open_checkpoint(path)
        assert list(checkpoint.infos) == ["a", "b"]
        assert checkpoint.read("b") == 2

    def test_aliases(self, tmp_path):
        metadata = {"head": "embed", "format": "pt", "embed": "embed", "x": "nowhere"}
        path = tmp_path / "a.safetensors"
        array = np.arange(6.0).reshape(2, 3)
        safetensors.numpy.save_file({"embed": array, "pt2": array}, path, metadata)
        checkpoint = open_checkpoint(path)
        assert checkpoint.aliases == {"head": "embed"}
        assert checkpoint.metadata == metadata
        assert checkpoint.infos["head"] == checkpoint.infos["embed"]
        assert_bits(checkpoint.read("head"), array)

    def test_a_key_is_refused(self, tmp_path):
        path = raw_safetensors(tmp_path / "a.safetensors", {})
        refused("flat, but got key='model'", path, "model")

    @pytest.mark.parametrize(
        ("header", "match"),
        [
            ({"a": entry(offsets=(0, 8))}, r"takes 4 bytes, but its data_offsets \[0, 8\] hold 8"),
            ({"a": entry(), "b": entry(offsets=(2, 6))}, "overlaps"),
            ({"a": entry(), "b": entry()}, "overlaps"),
            ({"a": entry(offsets=(4, 8))}, "hole"),
            ({"a": entry()}, "too long: the tensors take 4 bytes, but 8 follow"),
            ({"a": entry(shape=(4,), offsets=(0, 16))}, "truncated: the tensors take 16 bytes"),
            ({"a": entry(shape=(-1,), offsets=(4, 0))}, "a list of at most 64 sizes"),
            ({"a": entry(shape=(1.0,))}, "a list of at most 64 sizes"),
            ({"a": entry(shape=(True,))}, "a list of at most 64 sizes"),
            ({"a": entry(shape=(1,) * 65)}, "a list of at most 64 sizes"),
            ({"a": entry(shape=(2**62, 4), offsets=(0, 0))}, "takes 73786976294838206464 bytes"),
            ({"a": entry(offsets=(4, 0))}, "not a start and a stop"),
            ({"a": entry(offsets=(0, 2, 4))}, "not a start and a stop"),
            ({"a": entry(offsets=(-4, 0))}, "not a start and a stop"),
            ({"a": entry(dtype="F4")}, "only these can be read: BOOL"),
            ({"a": entry(dtype=["F4"])}, "only these can be read"),
            ({"a": {"dtype": "F32", "shape": [1]}}, "needs exactly dtype"),
            ({"a": 3}, "needs exactly dtype"),
            ({"__metadata__": {"a": 3}}, "must hold strings"),
            ({"__metadata__": []}, "must hold strings"),
            (b'{"a":1,"a":2}', "'a' is a duplicate key"),
            (b'{"a":', "not valid JSON"),
            (b'{"\xff":1}', "not valid JSON"),
            (b"[]", "instead of {"),
            (b"{" * 1, "not valid JSON"),
            (b'{"a":' * 200_000, "not valid JSON"),
            (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
            (b"", "instead of {"),
        ],
    )
    def test_header_attacks(self, tmp_path, header, match):
        refused(match, raw_safetensors(tmp_path / "a.safetensors", header, b"\0" * 8))

    def test_lengths_of_the_header(self, tmp_path):
        path = tmp_path / "a.safetensors"
        refused("over the limit", raw_safetensors(path, {}, length=2**64 - 1))
        refused("the header needs 100 bytes", raw_safetensors(path, {}, length=100))
        path.write_bytes(b"")
        refused("an empty file", path)

    def test_truncated_anywhere(self, tmp_path, rng):
        path = tmp_path / "a.safetensors"
        safetensors.numpy.save_file({"a": rng.standard_normal(5), "b": np.ones(3)}, path)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            refused("truncated|no safetensors", path)

    @settings(max_examples=300)
    @given(data=st.data())
    def test_damage_is_never_anything_but_an_error(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
        safetensors.numpy.save_file({"a": np.arange(6.0), "b": np.arange(3)}, path, {"c": "a"})
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(32, 126))
        path.write_bytes(whole)
        try:
            with open_checkpoint(path) as checkpoint:
                for name in checkpoint.infos:
                    checkpoint.read(name)
        except CheckpointError:
            pass

    def test_other_files(self, tmp_path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"MZ and so on")
        refused("as neither a safetensors file nor", path)
        path.write_bytes(b"")
        refused("an empty file", path)
        refused("a directory", tmp_path)
        with pytest.raises(FileNotFoundError):
            open_checkpoint(tmp_path / "none.pt")
        with pytest.raises(ValueError, match="reader must be"):
            open_checkpoint(path, reader="pickle")


class TestIndex:
    def sharded(self, tmp_path, shards, weight_map=None, metadata=None):
        for file, (arrays, texts) in shards.items():
            safetensors.numpy.save_file(arrays, tmp_path / file, texts)
        if weight_map is None:
            weight_map = {name: file for file, (arrays, _) in shards.items() for name in arrays}
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": weight_map, "metadata": metadata or {}}))
        return path

    def test_reads_across_shards(self, tmp_path, rng):
        arrays = {name: rng.standard_normal((2, n)) for n, name in enumerate("dbca")}
        one = ({"d": arrays["d"], "b": arrays["b"]}, {"format": "pt", "tied": "b"})
        two = ({"c": arrays["c"], "a": arrays["a"]}, {"format": "pt"})
        path = self.sharded(
            tmp_path,
            {"1.safetensors": one, "2.safetensors": two},
            {name: f"{1 if name in 'db' else 2}.safetensors" for name in "dcba"},
            {"total_size": 96},
        )
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == "safetensors-index"
            assert list(checkpoint.infos) == ["d", "c", "b", "a", "tied"]
            assert checkpoint.aliases == {"tied": "b"}
            assert checkpoint.metadata == {"format": "pt", "tied": "b", "total_size": "96"}
            for name, array in (arrays | {"tied": arrays["b"]}).items():
                assert_bits(checkpoint.read(name), array)
        with pytest.raises(CheckpointError, match="closed"):
            checkpoint.read("a")

    @pytest.mark.parametrize(
        ("weight_map", "match"),
        [
            ({"a": "1.safetensors", "b": "3.safetensors"}, "names the shard 3.safetensors, which"),
            ({"a": "1.safetensors", "x": "2.safetensors"}, "'x' should be in 2.safetensors"),
            ({"a": "1.safetensors"}, None),
            ({"a": "2.safetensors", "b": "2.safetensors"}, "'a' should be in 2.safetensors"),
            ({"b": "2.safetensors", "z": "1.safetensors"}, "'z' should be in"),
            ({"a": "../1.safetensors"}, "beside its index"),
            ({"a": "/etc/1.safetensors"}, "beside its index"),
            ({"a": "..\\1.safetensors"}, "beside its index"),
            ({"a": "1.bin"}, "beside its index"),
            ({"a": 3}, "no weight_map"),
            ([], "no weight_map"),
        ],
    )
    def test_what_does_not_fit_together(self, tmp_path, weight_map, match):
        shards = {
            "1.safetensors": ({"a": np.ones(2)}, {}),
            "2.safetensors": ({"b": np.ones(2)}, {}),
        }
        path = self.sharded(tmp_path, shards, weight_map)
        if match is None:
            assert list(open_checkpoint(path).infos) == ["a"]
        else:
            refused(match, path)

    def test_duplicates_and_what_the_index_leaves_out(self, tmp_path):
        shards = {
            "1.safetensors": ({"a": np.ones(2), "b": np.ones(2)}, {}),
            "2.safetensors": ({"b": np.ones(2)}, {}),
        }
        path = self.sharded(tmp_path, shards)
        refused("'b' is in two shards, 2.safetensors", path)
        path = self.sharded(tmp_path, shards, {"a": "1.safetensors"})
        refused("'b' is in 1.safetensors, but the index does not list it", path)
        path.write_text('{"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}}')
        refused("'a' is a duplicate key", path)
        path.write_text("{")
        refused("not valid JSON", path)

    def test_a_damaged_shard_is_named(self, tmp_path):
        path = self.sharded(tmp_path, {"1.safetensors": ({"a": np.ones(2)}, {})})
        os.truncate(tmp_path / "1.safetensors", 30)
        refused("shard 1.safetensors: truncated", path)


class TestWriter:
    def test_the_official_library_reads_it(self, tmp_path, rng):
        arrays = {k: v for k, v in some(rng, SAFE).items() if v.dtype != "c8"}
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources(arrays), {"format": "pt"})
        with safetensors.safe_open(path, framework="numpy") as official:
            assert official.metadata() == {"format": "pt"}
            assert set(official.keys()) == arrays.keys()
            for name, array in arrays.items():
                assert_bits(official.get_tensor(name), array)

    def test_own_round_trip(self, tmp_path, rng):
        arrays = some(rng, SAFE + FLOAT8)
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources(arrays), {"a": "ö\n"})
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.metadata == {"a": "ö\n"}
            assert_holds(checkpoint, arrays)

    @pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 5), (2, 3, 4, 5)])
    def test_any_layout_of_memory_is_written_right(self, tmp_path, rng, shape):
        array = bits(rng, shape, "float32")
        layouts = {
            "plain": array,
            "transposed": array.T,
            "fortran": np.asfortranarray(array),
            "flipped": np.flip(array),
            "strided": np.repeat(array[..., None], 2, -1)[..., 0],
            "broadcast": np.broadcast_to(array, (2, *shape)),
            "big-endian": array.astype(">f4"),
            "big-endian transposed": array.astype(">f4").T,
        }
        path = tmp_path / "a.safetensors"
        write_safetensors(path, sources(layouts))
        with safetensors.safe_open(path, framework="numpy") as official:
            for name, layout in layouts.items():
                expected = np.array(layout.tolist(), "float32").reshape(layout.shape)
                np.testing.assert_array_equal(official.get_tensor(name), expected)

    def test_bytes_are_deterministic_and_in_the_order_given(self, tmp_path, rng):
        arrays = {"z": bits(rng, (3,), "bool"), "a": bits(rng, (2,), "float64")}
        one, two = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
        for path in (one, two):
            write_safetensors(path, sources(arrays), {"k": "v"})
        data = one.read_bytes()
        assert data == two.read_bytes()
        length = int.from_bytes(data[:8], "little")
        assert length % 8 == 0
        assert list(json.loads(data[8 : 8 + length])) == ["__metadata__", "z", "a"]
        assert data[8 + length :] == arrays["z"].tobytes() + arrays["a"].tobytes()

    def test_nothing_to_write_and_progress(self, tmp_path):
        write_safetensors(tmp_path / "0.safetensors", [])
        assert open_checkpoint(tmp_path / "0.safetensors").infos == {}
        calls = []
        arrays = {"a": np.ones(3, "f4"), "b": np.ones(1, "f8")}
        write_safetensors(
            tmp_path / "a.safetensors", sources(arrays), None, lambda *call: calls.append(call)
        )
        assert calls == [("a", 12, 20), ("b", 20, 20)]

    def test_an_existing_file_is_replaced_only_on_demand(self, tmp_path):
        path = tmp_path / "a.safetensors"
        path.write_bytes(b"precious")
        with pytest.raises(CheckpointError, match="overwrite=True"):
            write_safetensors(path, sources({"a": np.ones(2)}))
        assert path.read_bytes() == b"precious"
        write_safetensors(path, sources({"a": np.ones(2)}), overwrite=True)
        assert list(open_checkpoint(path).infos) == ["a"]
        with pytest.raises(CheckpointError, match="directory"):
            write_safetensors(tmp_path, [], overwrite=True)
        assert os.listdir(tmp_path) == ["a.safetensors"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("old", [None, b"precious"])
    def test_failures_leave_everything_as_it_was(self, tmp_path, error, old):
        def fail(*_):
            raise error

        path = tmp_path / "a.safetensors"
        if old is not None:
            path.write_bytes(old)
        before = os.listdir(tmp_path)
        info = TensorInfo((2,), "float32")
        good = ("a", info, lambda: np.ones(2, "f4"))
        for tensors, progress in (([good, ("b", info, fail)], None), ([good], fail)):
            with pytest.raises(error):
                write_safetensors(path, tensors, None, progress, overwrite=True)
            assert os.listdir(tmp_path) == before
            assert old is None or path.read_bytes() == old

    @pytest.mark.parametrize(
        ("tensors", "metadata", "match"),
        [
            ([("a", TensorInfo((3,), "float32"), lambda: np.ones(2, "f4"))], {}, r"float32\[3\]"),
            ([("a", TensorInfo((2,), "float64"), lambda: np.ones(2, "f4"))], {}, "announced as"),
            ([("a", TensorInfo((1,), "float32"), lambda: np.ones((), "f4"))], {}, "announced as"),
            ([("a", TensorInfo((2,), "complex128"), lambda: None)], {}, "has no such dtype"),
            (sources({"a": np.ones(2)}) * 2, {}, "2 tensors to write, but only 1"),
            (sources({"__metadata__": np.ones(2)}), {}, "cannot be named"),
            ([(3, TensorInfo((2,), "float32"), lambda: None)], {}, "cannot be named 3"),
            (sources({"\ud800": np.ones(2)}), {}, "not valid Unicode"),
            ([], {"a": 3}, "strings by name, but got 'a': 3"),
            ([], {"a": "x" * 100_000_001}, "over safetensors' limit"),
        ],
    )
    def test_what_cannot_be_written(self, tmp_path, tensors, metadata, match):
        with pytest.raises(CheckpointError, match=match):
            write_safetensors(tmp_path / "a.safetensors", tensors, metadata)
        assert os.listdir(tmp_path) == []

    def test_what_reads_back_otherwise_is_not_kept(self, tmp_path, monkeypatch):
        from jaxgroups.convert._files import write as _write

        monkeypatch.setattr(_write.os, "fsync", lambda descriptor: os.pwrite(descriptor, b"!", 90))
        with pytest.raises(CheckpointError, match="'a' differs after it was written and read back"):
            write_safetensors(tmp_path / "a.safetensors", sources({"a": np.ones(20)}))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("old", [None, b"precious"])
    def test_a_killed_process_leaves_no_half_file(self, tmp_path, old):
        path = tmp_path / "a.safetensors"
        if old is not None:
            path.write_bytes(old)
        code = (
            "import os, signal, sys, numpy as np\n"
            "from jaxgroups.convert._files import TensorInfo, write_safetensors\n"
            "info = TensorInfo((1000,), 'float64')\n"
            "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
            "tensors = [('a', info, lambda: np.ones(1000)), ('b', info, kill)]\n"
            "write_safetensors(sys.argv[1], tensors, overwrite=True)\n"
        )
        ended = subprocess.run([sys.executable, "-c", code, path])
        assert ended.returncode == -signal.SIGKILL
        assert (path.read_bytes() if path.exists() else None) == old
        write_safetensors(path, sources({"a": np.ones(2)}), overwrite=True)
        assert_bits(open_checkpoint(path).read("a"), np.ones(2))

    def test_memory_of_few_tensors(self, tmp_path):
        size = 5_000_000
        info = TensorInfo((size // 4,), "float32")
        tensors = [(str(i), info, lambda i=i: np.full(size // 4, i, "f4")) for i in range(40)]
        tracemalloc.start()
        try:
            write_safetensors(tmp_path / "a.safetensors", tensors)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * size, f"{peak / size:.1f} tensors"


def test_neither_jax_nor_flax_nor_torch_is_needed():
    """The files under _files import none of them; `import jaxgroups` does not import _files."""
    files = sorted(Path(sys.modules[open_checkpoint.__module__].__file__).parent.glob("*.py"))
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    modules = {words[1] for words in lines if words[:1] in (["import"], ["from"])}
    assert "safetensors" in modules
    assert not {m for m in modules if m.split(".")[0] in ("jax", "flax", "torch", "pickle")}
    code = "import sys, jaxgroups; sys.exit(any('safetensors' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
