"""A valid checkpoint, and all ways to make it invalid, each with its error message."""

import json
import struct
import zipfile

import numpy as np

from support import torch_files
from support.checkpoints import written


def state():
    rng = np.random.default_rng(0)
    shapes = {"fc.weight": (3, 4), "fc.bias": (3,)}
    shapes |= {f"bn.{n}": (3,) for n in ("weight", "bias", "running_mean", "running_var")}
    arrays = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    return arrays | {"bn.num_batches_tracked": np.array(7)}


def safetensors(change_header=None, change_data=None):
    """The valid file with another header, or other bytes after it."""

    def make(place):
        whole = (place / "good.safetensors").read_bytes()
        length = int.from_bytes(whole[:8], "little")
        header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
        if change_header:
            header = change_header(header) or header
        text = json.dumps(header).encode()
        data = change_data(data) if change_data else data
        path = place / "bad.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return path

    return make


def raw(change):
    def make(place):
        path = place / "bad.safetensors"
        path.write_bytes(change((place / "good.safetensors").read_bytes()))
        return path

    return make


def field(name, key, value):
    def change(header):
        header[name][key] = value

    return safetensors(change)


def evil(format):
    """A pickle that runs a command when it is loaded."""

    def make(place):
        call = torch_files.Call(torch_files.Name("os", "system"), ("touch ran",))
        pickle = torch_files.pickled({"fc.weight": call})
        return torch_files.write(place / "bad.pth", format, pickle, {})

    return make


def evil_on_build(place):
    """A pickle that has the call in the state of an object."""
    code = b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00acos\nsystem\nX\x09\x00\x00\x00"
    path = place / "bad.pth"
    path.write_bytes(torch_files.zipped(code + b"touch ran\x85Rsb.", {}))
    return path


def bomb(place):
    """100 MB of zeros in 100 KB."""
    path = place / "bad.pth"
    arrays = {"0": np.zeros(25_000_000, "f4")}
    pickle = torch_files.pickled({"fc.weight": torch_files.dense("0", arrays["0"])})
    path.write_bytes(torch_files.zipped(pickle, arrays, compression=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 200_000
    return path


def repeating(place):
    """Strides of zero: 4 bytes as a tensor of 4 TB."""
    shape = (1 << 20, 1 << 20)
    root = {"fc.weight": torch_files.tensor("0", "float32", 1, shape, (0, 0))}
    pickle = torch_files.pickled(root)
    return torch_files.write(place / "bad.pth", "torch-zip", pickle, {"0": np.ones(1, "f4")})


def cut(format):
    def make(place):
        path = torch_files.state_dict(place / "bad.pth", format, state())
        path.write_bytes(path.read_bytes()[:-7])
        return path

    return make


def index(shard, content=None):
    def make(place):
        names = dict.fromkeys(state(), shard)
        path = place / "bad.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": names}))
        if content is not None:
            written(place / shard, content)
        return path

    return make


def wrong_dtype(place):
    arrays = state()
    return written(place / "bad.safetensors", arrays | {"fc.weight": np.ones((3, 4), "i1")})


def directory(place):
    (place / "bad.safetensors").mkdir()
    return place / "bad.safetensors"


def text(content):
    def make(place):
        (place / "bad.pth").write_bytes(content)
        return place / "bad.pth"

    return make


BAD = {
    "empty": (raw(lambda b: b""), "an empty file: download or save it again"),
    "empty, of torch": (text(b""), "an empty file: download or save it again"),
    "html": (text(b"<!DOCTYPE html>"), "a web page, not the file that it offers"),
    "a directory": (directory, "a directory"),
    "not there": (lambda place: place / "bad.safetensors", "No such file"),
    "truncated in the length": (raw(lambda b: b[:5]), "5 bytes are not a safetensors file"),
    "truncated in the header": (raw(lambda b: b[:50]), "truncated: the header needs"),
    "truncated in the data": (raw(lambda b: b[:-1]), "truncated: the tensors take"),
    "too long": (raw(lambda b: b + b"\0"), "too long: the tensors take"),
    "header larger than the file": (
        raw(lambda b: struct.pack("<Q", len(b)) + b[8:]),
        "truncated: the header needs",
    ),
    "header of an exabyte": (
        raw(lambda b: struct.pack("<Q", 1 << 60) + b[8:]),
        "over the limit of 100000000",
    ),
    "header that is no JSON": (raw(lambda b: b[:20] + b"\xff" + b[21:]), "not valid JSON"),
    "overlapping offsets": (field("fc.bias", "data_offsets", [36, 48]), "overlaps the tensor"),
    "offsets with a hole": (
        safetensors(lambda h: h["fc.weight"].update(data_offsets=[64, 112]), lambda d: d + d),
        "leaves a hole before it",
    ),
    "offsets beyond the file": (
        field("fc.weight", "data_offsets", [1 << 40, (1 << 40) + 48]),
        "leaves a hole before it",
    ),
    "offsets of another size": (field("fc.weight", "shape", [3, 5]), "takes 60 bytes, but its"),
    "a shape of minus one": (field("fc.weight", "shape", [-3, -4]), "a list of at most 64 sizes"),
    "a shape that is a text": (field("fc.weight", "shape", "3"), "a list of at most 64 sizes"),
    "an unknown dtype": (field("fc.weight", "dtype", "F99"), "has dtype 'F99', but only"),
    "the dtype of others": (field("fc.weight", "dtype", "I32"), "dtype mismatch for fc.weight"),
    "integers for floats": (wrong_dtype, "dtype mismatch for fc.weight: int8 in the checkpoint"),
    "truncated zip": (cut("torch-zip"), "truncated or damaged"),
    "truncated legacy": (cut("torch-legacy"), "truncated: storage"),
    "zip bomb": (bomb, "is compressed or encrypted, as torch.save never does"),
    "a tensor of repeated values": (repeating, "its strides repeat values"),
    "a pickle that runs code, zip": (evil("torch-zip"), "the pickle names os.system; nothing was"),
    "a pickle that runs code, legacy": (evil("torch-legacy"), "the pickle names os.system; noth"),
    "a pickle that runs code, deeper": (evil_on_build, "the pickle names os.system; nothing was"),
    "a missing shard": (
        index("a.safetensors"),
        "names the shard a.safetensors, which is not there",
    ),
    "a shard elsewhere": (index("../good.safetensors"), "is a .safetensors file beside its index"),
    "a shard of another checkpoint": (
        index("a.safetensors", {"x": np.ones(2)}),
        "index and shards are not of one checkpoint",
    ),
}
