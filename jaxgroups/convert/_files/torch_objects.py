"""Checked records of the objects in torch's pickles."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import CheckpointError, TensorInfo, short
from jaxgroups.convert._files.bytes import extent
from jaxgroups.convert._files.opaque import Opaque
from jaxgroups.convert._files.pickle_budget import ENTRY, NAMED, RECORD, SLOT

EXPANSION = 1 << 30  # maximum size of a tensor whose strides repeat values of a smaller storage
_AXES = 64  # numpy's limit
_LIMIT = 1 << 63  # the limit of torch's int64
_KEYS = (str, float, bytes, type(None))


@dataclass(frozen=True)
class Global:
    """A name that pickles may use.

    Attributes:
      name: the name, with its module.
      make: the function for a call; None if it cannot be called.
      dtype: the dtype of a storage class or a dtype.
      cost: the bytes that a call takes.
      item: the bytes that it takes for each item of its arguments.
    """

    name: str
    make: Callable[..., Any] | None = None
    dtype: str | None = None
    cost: int = RECORD
    item: int = SLOT


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage in a pickle, or a window of it.

    Attributes:
      key: its key.
      dtype: its dtype.
      count: its number of elements.
      start, nbytes: first byte and size of the window.
    """

    key: str
    dtype: str
    count: int
    start: int
    nbytes: int

    @property
    def itemsize(self) -> int:
        return _itemsize(self.dtype)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor, a view of a storage; offset and stride are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.shape, self.dtype)

    @property
    def start(self) -> int:
        """Its first byte within the storage."""
        return self.storage.start + self.offset * self.info.numpy_dtype.itemsize


def _itemsize(dtype: str) -> int:
    """The element size of a dtype by name, or of torch's own dtypes by the storage class."""
    own = dtypes.OPAQUE_STORAGES.get(dtype)
    return dtypes.numpy_dtype(dtype).itemsize if own is None else own


def storage(identity: Any) -> Any:
    """The storage of a persistent id ``("storage", class, key, location, count[, window])``.

    The oldest files also name classes in this way: ``("module", class, file, source)``.
    """
    match identity:
        case ("module", Global() | Opaque() as named, _, _):
            return named
        case ("storage", Global(dtype=str(dtype)), key, _, int(count), *rest) if len(rest) < 2:
            pass
        case _:
            raise CheckpointError(f"damaged pickle: {short(identity)} names no storage")
    if not isinstance(key, (str, int)) or not 0 <= count < _LIMIT:
        raise CheckpointError(f"damaged pickle: storage {short(key)} of {count} elements")
    itemsize = _itemsize(dtype)
    match rest:
        case [] | [None]:
            start, length = 0, count
        case [(_, int(start), int(length))] if start >= 0 and length >= 0:
            pass
        case _:
            raise CheckpointError(f"damaged pickle: {short(rest[0])} is not a window of a storage")
    if start + length > count:
        raise CheckpointError(
            f"damaged: elements {start} to {start + length} of storage {key}, which has {count}"
        )
    return Storage(str(key), dtype, count, start * itemsize, length * itemsize)


def check_expansion(info: TensorInfo, stored: int) -> None:
    """Raise CheckpointError for strides that expand a small storage to a huge tensor."""
    if info.nbytes > max(stored, EXPANSION):
        raise CheckpointError(
            f"a tensor {info} takes {info.nbytes} bytes, but its storage has {stored}: its strides "
            f"repeat values, which is allowed up to {EXPANSION} bytes; save it contiguous"
        )


def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    del requires_grad, hooks
    _check_lazy(metadata)
    return _tensor(storage, offset, size, stride, dtype)


def _tensor_v2(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> Tensor:
    del requires_grad, hooks
    _check_lazy(metadata)
    return _tensor(storage, offset, size, stride)


def _check_lazy(metadata: Any) -> None:
    if metadata:
        raise CheckpointError(
            f"a tensor with {short(metadata)}, an operation put off until it is used: try "
            "reader='torch', or save tensor.resolve_conj().resolve_neg()"
        )


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Tensor:
    if not isinstance(storage, Storage):
        raise CheckpointError(f"damaged pickle: a tensor over a {type(storage).__name__}")
    name = storage.dtype
    if dtype is not None:
        if isinstance(dtype, Opaque) and dtype.name.startswith("torch."):
            raise CheckpointError(
                f"a tensor of {dtype.name}, a dtype without a counterpart in numpy or ml_dtypes: "
                "cast it"
            )
        if not isinstance(dtype, Global) or dtype.dtype is None or not dtype.name.islower():
            raise CheckpointError(f"damaged pickle: a tensor of dtype {short(dtype)}")
        name = dtype.dtype
    if name not in dtypes.NAMES:
        raise CheckpointError(
            f"a tensor over a {name}, a dtype without a counterpart in numpy or ml_dtypes: cast it"
        )
    if not (_counts(size) and _counts(stride) and _counts((offset,))):
        raise CheckpointError(
            f"damaged: a tensor of shape {short(size)}, stride {short(stride)} and offset "
            f"{short(offset)}, which must be integers >= 0"
        )
    if len(size) != len(stride) or len(size) > _AXES:
        raise CheckpointError(
            f"damaged: a tensor with {len(size)} sizes and {len(stride)} strides; as many of one "
            f"as of the other are needed, at most {_AXES}"
        )
    tensor = Tensor(storage, offset, tuple(size), tuple(stride), name)
    count = extent(tensor.shape, tensor.stride)
    itemsize = tensor.info.numpy_dtype.itemsize
    if count and (offset + count) * itemsize > storage.nbytes:
        raise CheckpointError(
            f"damaged: a tensor {tensor.info} of stride {list(stride)} reaches from byte "
            f"{offset * itemsize} to {(offset + count) * itemsize} of storage {storage.key}, which "
            f"has {storage.nbytes}"
        )
    check_expansion(tensor.info, storage.nbytes)
    return tensor


def _counts(values: Any) -> bool:
    if not isinstance(values, (tuple, list)):
        return False
    return all(type(n) is int and 0 <= n < _LIMIT for n in values)


def _parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Tensor:
    del requires_grad, hooks, state
    if not isinstance(data, Tensor):
        raise CheckpointError(f"damaged pickle: a parameter of a {type(data).__name__}")
    return data


def _of_type(function: Any, kind: Any, arguments: Any, state: Any = None) -> Any:
    """A tensor with attributes, which are dropped; refuses other classes of tensors."""
    del state
    plain = isinstance(kind, Global) and kind.name in _TENSOR_CLASSES
    if plain and isinstance(function, Global) and function.make and type(arguments) is tuple:
        return function.make(*arguments)
    raise CheckpointError(
        f"a tensor of the class {short(kind)}, whose meaning only its own code knows: save it as "
        "a plain tensor"
    )


def _size(values: Any = ()) -> tuple[int, ...]:
    if not _counts(values):
        raise CheckpointError(f"damaged pickle: torch.Size of {short(values)}")
    return tuple(values)


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) is dict:
        return dict(pairs)
    if type(pairs) not in (list, tuple) or any(
        type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs
    ):
        raise CheckpointError("damaged pickle: an OrderedDict of something else than pairs")
    made: dict[Any, Any] = {}
    set_items(made, pairs)
    return made


def _default_dict(factory: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    del factory  # never called
    return _ordered_dict(pairs)


def _set(items: Any = ()) -> list[Any]:
    """A list in place of a set, since hashing its items may be costly."""
    if type(items) not in (list, tuple):
        raise CheckpointError(f"damaged pickle: a set of {short(items)}")
    return list(items)


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes, as protocols below 3 write them."""
    if type(text) is not str or encoding != "latin1":
        raise CheckpointError(f"damaged pickle: bytes of {short(text)} in {short(encoding)}")
    return text.encode("latin1")


def set_items(target: dict[Any, Any], pairs: Iterable[Any]) -> None:
    """Add pairs to a dict whose keys are scalars or flat tuples of them, which are cheap to hash.

    Other keys, such as classes, are replaced by opaque values, which equal only themselves.
    """
    for key, value in pairs:
        parts = key if type(key) is tuple else (key,)
        if len(parts) > _AXES or not all(map(_is_key, parts)):
            key = key if isinstance(key, Opaque) else Opaque(f"key of type {type(key).__name__}")
        target[key] = value


def _is_key(part: Any) -> bool:
    return isinstance(part, _KEYS) or (isinstance(part, int) and -_LIMIT <= part < _LIMIT)


def _device(kind: Any, index: Any = None) -> str:
    return f"{short(kind)}:{short(index)}"  # not used


_TENSOR_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_BUILTINS = ("builtins", "__builtin__")
GLOBALS = {
    known.name: known
    for known in (
        Global("collections.OrderedDict", _ordered_dict, item=ENTRY + NAMED),
        Global("collections.Counter", _ordered_dict, item=ENTRY + NAMED),
        Global("collections.defaultdict", _default_dict, item=ENTRY + NAMED),
        *(Global(f"{m}.{n}", _set) for m in _BUILTINS for n in ("set", "frozenset")),
        Global("_codecs.encode", _encoded),
        Global("torch.Size", _size),
        Global("torch.device", _device),
        Global("torch._utils._rebuild_tensor", _tensor),
        Global("torch._utils._rebuild_tensor_v2", _tensor_v2),
        Global("torch._utils._rebuild_tensor_v3", _tensor_v3),
        Global("torch._utils._rebuild_parameter", _parameter),
        Global("torch._utils._rebuild_parameter_with_state", _parameter),
        # its arguments are one level deeper
        Global("torch._tensor._rebuild_from_type_v2", _of_type, cost=RECORD + 2 * _AXES * SLOT),
        *(Global(name) for name in _TENSOR_CLASSES),
        Global("torch.storage.UntypedStorage", dtype="uint8"),
        *(Global(f"torch.{name}", dtype=d) for name, d in dtypes.TORCH_STORAGES.items()),
        *(Global(f"torch.{name}", dtype=name) for name in dtypes.OPAQUE_STORAGES),
        *(Global(f"torch.{name}", dtype=name) for name in dtypes.NAMES),
        *(Global(f"torch.{name}") for name in ("strided", "contiguous_format", "preserve_format")),
    )
}
