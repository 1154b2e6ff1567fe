"""Write files in torch.save's two formats without torch, valid and malicious ones."""

import io
import struct
import zipfile
from typing import NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
CLASSES = {
    **{"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage"},
    **{"bfloat16": "BFloat16Storage", "bool": "BoolStorage", "int64": "LongStorage"},
    **{"int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage"},
    **{"uint8": "ByteStorage"},
    **{"complex128": "ComplexDoubleStorage", "complex64": "ComplexFloatStorage"},
}
FORMATS = ("torch-zip", "torch-legacy")


class Name(NamedTuple):
    """The name of a global in a pickle."""

    module: str
    name: str


class Call(NamedTuple):
    function: object
    arguments: tuple


class Persistent(NamedTuple):
    identity: object


class Raw(NamedTuple):
    opcodes: bytes


def opcodes(value) -> bytes:
    """The pickle opcodes, protocol 2, that leave `value` on the stack."""
    match value:
        case Raw(code):
            return code
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return opcodes(function) + opcodes(arguments) + b"R"
        case Persistent(identity):
            return opcodes(identity) + b"Q"
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
    raise TypeError(value)


def pickled(value) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def storage(key, dtype, count, *window):
    kind = Name("torch", CLASSES[dtype])
    return Persistent(("storage", kind, key, "cpu", count, *window))


def tensor(key, dtype, count, shape, stride, offset=0, window=()):
    """The call that rebuilds a tensor over the storage with this key."""
    hooks = Call(Name("collections", "OrderedDict"), ())
    arguments = (storage(key, dtype, count, *window), offset, shape, stride, False, hooks)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def dense(key, array, window=()):
    """The call for a whole array in C order."""
    stride = tuple(step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    return tensor(key, array.dtype.name, array.size, array.shape, stride, window=window)


def write(path, format, pickle, storages, **how):
    """Write a file in this format: the pickle's bytes, and arrays as storages by key."""
    data = {"torch-zip": zipped, "torch-legacy": legacy}[format](pickle, storages, **how)
    path.write_bytes(data)
    return path


def zipped(pickle, storages, compression=zipfile.ZIP_STORED, order=b"little", extra=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", order)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for name, content in extra:
            archive.writestr(name, content)
    return file.getvalue()


def legacy(pickle, storages, little=True, magic=MAGIC, version=1001, keys=None, end=b""):
    head = [pickled(magic), pickled(version), pickled({"little_endian": little}), pickle]
    keys = list(storages) if keys is None else keys
    body = [struct.pack("<q", a.size) + a.tobytes() for a in storages.values()]
    return b"".join([*head, pickled(keys), *body, end])


def state_dict(path, format, arrays, **how):
    """Write a file with a flat dict of arrays, one storage for each."""
    keys = {name: str(i) for i, name in enumerate(arrays)}
    window = (None,) if format == "torch-legacy" else ()
    root = {name: dense(keys[name], array, window) for name, array in arrays.items()}
    return write(path, format, pickled(root), {keys[n]: a for n, a in arrays.items()}, **how)
