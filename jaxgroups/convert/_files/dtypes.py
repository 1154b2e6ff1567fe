"""Names of dtypes: those of NumPy and ml_dtypes, and their names in safetensors and torch.

torch's names of the dtypes themselves are the same as those of NumPy and ml_dtypes.
"""

import ml_dtypes
import numpy as np

_NUMPY = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_ML_DTYPES = (
    "bfloat16",
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_DTYPES = {name: np.dtype(name) for name in _NUMPY}
_DTYPES |= {name: np.dtype(getattr(ml_dtypes, name)) for name in _ML_DTYPES}
NAMES = frozenset(_DTYPES)

TO_SAFETENSORS = {
    **{"bool": "BOOL", "bfloat16": "BF16", "complex64": "C64"},
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0"},
    **{"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ"},
}
FROM_SAFETENSORS = {code: name for name, code in TO_SAFETENSORS.items()}

# read by safetensors.safe_open(framework="numpy") in every version since 0.5
READ_BY_LIBRARY = frozenset(
    name for name in TO_SAFETENSORS if not name.startswith(("float8", "complex"))
)

TORCH_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "BoolStorage": "bool"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16"},
    **{"CharStorage": "int8", "ByteStorage": "uint8"},
    **{"ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64"},
}
# element sizes, in bytes, of torch's storages whose dtype NumPy and ml_dtypes do not have
OPAQUE_STORAGES = {
    **{"QUInt8Storage": 1, "QInt8Storage": 1, "QInt32Storage": 4},
    **{"QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "ComplexHalfStorage": 4},
}


def numpy_dtype(name: str) -> np.dtype:
    """The dtype of that name in native byte order; raises KeyError for a name not in `NAMES`."""
    return _DTYPES[name]
