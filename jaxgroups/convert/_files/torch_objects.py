"""Records for the names in torch's pickles, checked when they are made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jaxgroups.convert._files import dtypes
from jaxgroups.convert._files.base import CheckpointError, TensorInfo, short
from jaxgroups.convert._files.bytes import extent

EXPANSION = 1 << 30  # bytes that repeated values may take beyond their storage
_AXES = 64  # numpy's limit
_LIMIT = 1 << 63  # what fits torch's int64
_KEYS = (str, float, bytes, type(None))


@dataclass(frozen=True)
class Global:
    """A name that pickles may use; `make` is what a call of it gives, None if it is not called."""

    name: str
    make: Callable[..., Any] | None = None
    dtype: str | None = None  # of a storage class or a dtype


@dataclass(frozen=True)
class Storage:
    """A storage that a pickle names: `count` elements, of which a window is meant."""

    key: str
    dtype: str
    count: int
    start: int  # the window, in bytes
    nbytes: int

    @property
    def itemsize(self) -> int:
        return dtypes.numpy_dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and stride in elements."""

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


def storage(identity: Any) -> Storage:
    """The storage of a persistent id ``("storage", class, key, location, count[, window])``."""
    match identity:
        case ("storage", Global(dtype=str(dtype)), key, _, int(count), *rest) if len(rest) < 2:
            pass
        case _:
            raise CheckpointError(f"damaged pickle: {short(identity)} names no storage")
    if not isinstance(key, (str, int)) or not 0 <= count < _LIMIT:
        raise CheckpointError(f"damaged pickle: storage {short(key)} of {count} elements")
    itemsize = dtypes.numpy_dtype(dtype).itemsize
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
    """CheckpointError for strides that make a huge tensor of a small storage."""
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
            f"a tensor with {short(metadata)}, an operation put off until it is used: save "
            "tensor.resolve_conj().resolve_neg()"
        )


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Tensor:
    if not isinstance(storage, Storage):
        raise CheckpointError(f"damaged pickle: a tensor over a {type(storage).__name__}")
    name = storage.dtype
    if dtype is not None:
        if not isinstance(dtype, Global) or dtype.dtype is None or not dtype.name.islower():
            raise CheckpointError(f"damaged pickle: a tensor of dtype {short(dtype)}")
        name = dtype.dtype
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


def _size(values: Any = ()) -> tuple[int, ...]:
    if not _counts(values):
        raise CheckpointError(f"damaged pickle: torch.Size of {short(values)}")
    return tuple(values)


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) not in (list, tuple) or any(
        type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs
    ):
        raise CheckpointError("damaged pickle: an OrderedDict of something else than pairs")
    made: dict[Any, Any] = {}
    set_items(made, pairs)
    return made


def set_items(target: dict[Any, Any], pairs: Iterable[Any]) -> None:
    """Puts pairs into a dict whose keys are scalars or flat tuples of them: cheap to hash."""
    for key, value in pairs:
        parts = key if type(key) is tuple else (key,)
        if len(parts) > _AXES or not all(map(_is_key, parts)):
            raise CheckpointError(
                f"refused: a dict with the key {short(key)}, which is neither a string nor a "
                "number of 64 bits nor a flat tuple of them"
            )
        target[key] = value


def _is_key(part: Any) -> bool:
    return isinstance(part, _KEYS) or (isinstance(part, int) and -_LIMIT <= part < _LIMIT)


def _device(kind: Any, index: Any = None) -> str:
    return f"{short(kind)}:{short(index)}"  # kept only so that something is there


GLOBALS = {
    known.name: known
    for known in (
        Global("collections.OrderedDict", _ordered_dict),
        Global("torch.Size", _size),
        Global("torch.device", _device),
        Global("torch._utils._rebuild_tensor", _tensor),
        Global("torch._utils._rebuild_tensor_v2", _tensor_v2),
        Global("torch._utils._rebuild_tensor_v3", _tensor_v3),
        Global("torch._utils._rebuild_parameter", _parameter),
        Global("torch._utils._rebuild_parameter_with_state", _parameter),
        Global("torch.storage.UntypedStorage", dtype="uint8"),
        *(Global(f"torch.{name}", dtype=d) for name, d in dtypes.TORCH_STORAGES.items()),
        *(Global(f"torch.{name}", dtype=name) for name in dtypes.NAMES),
        *(Global(f"torch.{name}") for name in ("strided", "contiguous_format", "preserve_format")),
    )
}


def refusal(name: str) -> str:
    """What to say of a global that is not among them."""
    if name.startswith(("numpy.", "torch.")):
        start = f"refused: the pickle needs {name}, which is no part of a plain state_dict"
    else:
        start = f"refused: the pickle names {name}"
    return (
        f"{start}; nothing was imported or run. A checkpoint is a dict of dense tensors, so if the "
        "file is yours, load it where it was made and save model.state_dict()"
    )
