"""An interpreter for the pickles of torch that can make plain data and nothing else.

`pickletools.genops` splits the file into opcodes, which is all it does; what each of them means is
here. Names in the file are looked up in `_torch_objects.GLOBALS` and nowhere else: Python's import
system, `pickle.Unpickler` and `copyreg` have no part in it, and no attribute of anything is set.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from jaxgroups.convert._files.base import CheckpointError
from jaxgroups.convert._files.torch_objects import GLOBALS, Global, refusal, set_items

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's; bytes, read as latin-1
_STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_ARGUMENTS = _NUMBERS | _STRINGS | _BYTES
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LINE = 1 << 20  # bytes of a name or of a number written in digits


def unpickle(
    file: BinaryIO, size: int, storage: Callable[[Any], Any] | None = None, what: str = "pickle"
) -> Any:
    """The data of the pickle that starts where `file` stands, which is left behind its end.

    Args:
      file: seekable.
      size: of the file, in bytes: no length in the pickle is believed beyond it.
      storage: what a persistent id, torch's way to name a storage, stands for; None allows none.
      what: to name the pickle in errors.
    """
    machine = _Machine(storage)
    bounded = _Bounded(file, size)
    try:
        for opcode, argument, _ in pickletools.genops(bounded):  # pyright: ignore
            machine.step(opcode.name, argument)
        return machine.pop()
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{what}: not a pickle, or a damaged one, at byte {file.tell()} of {size}: {error!r}"
        ) from error


class _Bounded:
    """The file as genops wants it, but asked for more than there is it says so."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.tell = file.tell

    def readline(self) -> bytes:
        line = self._file.readline(_LINE)
        if b"\\" in line:  # an escape, which genops would resolve even in names
            raise CheckpointError(f"damaged pickle, or not torch's: a backslash in {line!r:.80}")
        return line

    def read(self, count: int) -> bytes:
        if count > 16 or count < 0:
            left = self._size - self._file.tell()
            if not 0 <= count <= left:
                raise CheckpointError(f"truncated: {count} bytes are announced where {left} follow")
        return self._file.read(count)


class _Machine:
    """Stack, marks and memo of the pickle machine; what lies on it is data or a `Global`."""

    def __init__(self, storage: Callable[[Any], Any] | None) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _ARGUMENTS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [self.pop() for _ in range(count)]
            self._stack.append(tuple(reversed(items)))
        elif name in _OLD_STRINGS:
            self._stack.append(_old_string(argument))
        else:
            method = _METHODS.get(name)
            if method is None:
                raise CheckpointError(
                    f"refused: the pickle uses {name}{self._named(name)}, which a state_dict does "
                    "not need; nothing was run"
                )
            method(self, argument)

    def pop(self) -> Any:
        return self._stack.pop()

    def _named(self, name: str) -> str:
        """What NEWOBJ and its like would build, for the message."""
        named = next((v.name for v in reversed(self._stack) if isinstance(v, Global)), None)
        return f" on {named}" if named and name in ("NEWOBJ", "NEWOBJ_EX", "OBJ") else ""

    def _items(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _do_pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._items()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _nothing(self, _: Any) -> None:
        pass

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _list(self, _: Any) -> None:
        items = self._items()
        self._stack.append(items)

    def _tuple(self, _: Any) -> None:
        items = self._items()
        self._stack.append(tuple(items))

    def _dict(self, _: Any) -> None:
        items = self._items()
        self._stack.append({})
        self._set(items)

    def _append(self, _: Any) -> None:
        self._extend([self.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._items())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise CheckpointError(f"damaged pickle: it appends to a {type(target).__name__}")
        target.extend(items)

    def _setitem(self, _: Any) -> None:
        value = self.pop()
        self._set([self.pop(), value])

    def _setitems(self, _: Any) -> None:
        self._set(self._items())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise CheckpointError(f"damaged pickle: it sets items of a {type(target).__name__}")
        set_items(target, zip(items[::2], items[1::2], strict=True))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _global(self, argument: str) -> None:
        self._find(argument.replace(" ", ".", 1))

    def _stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("damaged pickle: the name of a global is not a string")
        self._find(f"{module}.{name}")

    def _find(self, name: str) -> None:
        if name not in GLOBALS:
            raise CheckpointError(refusal(name))
        self._stack.append(GLOBALS[name])

    def _reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or function.make is None:
            what = function.name if isinstance(function, Global) else type(function).__name__
            raise CheckpointError(f"refused: the pickle calls {what}; nothing was run")
        if type(arguments) is not tuple:
            raise CheckpointError(f"damaged pickle: {function.name} must get a tuple of arguments")
        try:
            self._stack.append(function.make(*arguments))
        except (TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"damaged pickle: {function.name}: {error}") from error

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if type(target) is not dict or type(state) is not dict:  # _metadata of an OrderedDict
            what = target.name if isinstance(target, Global) else type(target).__name__
            raise CheckpointError(
                f"refused: the pickle sets the state of a {what}, which a state_dict does not need"
            )

    def _persistent(self, _: Any) -> None:
        if self._storage is None:
            raise CheckpointError("refused: the pickle names a storage where none can be")
        self._stack.append(self._storage(self.pop()))


_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Machine._nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    **{"MARK": _Machine._mark, "POP": _Machine._do_pop, "DUP": _Machine._dup},
    **{"EMPTY_LIST": _Machine._empty_list, "EMPTY_DICT": _Machine._empty_dict},
    **{"LIST": _Machine._list, "TUPLE": _Machine._tuple, "DICT": _Machine._dict},
    **{"APPEND": _Machine._append, "APPENDS": _Machine._appends},
    **{"SETITEM": _Machine._setitem, "SETITEMS": _Machine._setitems},
    **{"MEMOIZE": _Machine._memoize, "BINPERSID": _Machine._persistent},
    **{"GLOBAL": _Machine._global, "STACK_GLOBAL": _Machine._stack_global},
    **{"REDUCE": _Machine._reduce, "BUILD": _Machine._build},
}


def _old_string(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
