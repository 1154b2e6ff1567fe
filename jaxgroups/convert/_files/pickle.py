"""An interpreter for torch's pickles that can make plain data only.

`pickletools.genops` splits the file into opcodes, which are interpreted here. Names in the file are
looked up in `torch_objects.GLOBALS` only: Python's import system, `pickle.Unpickler` and `copyreg`
are not used, and no attributes are set. Other names become `Opaque` values. `PickleBudget` bounds
the memory.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from jaxgroups.convert._files.base import CheckpointError, short
from jaxgroups.convert._files.opaque import Opaque, runs_code
from jaxgroups.convert._files.pickle_budget import CONTAINER, ENTRY, NAMED, RECORD, SLOT
from jaxgroups.convert._files.pickle_budget import PickleBudget as Budget
from jaxgroups.convert._files.torch_objects import GLOBALS, Global, Tensor, set_items

FindStorage = Callable[[Any], Any]  # what a persistent id stands for

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's; bytes, read as latin-1
_STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_ARGUMENTS = _NUMBERS | _STRINGS | _BYTES
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LINE = 1 << 20  # maximum bytes of a name, or of a number in digits
_NAME = 1000  # maximum characters of the name of a global


def unpickle(
    file: BinaryIO, size: int, storage: FindStorage | None = None, what: str = "pickle"
) -> Any:
    """The data of the pickle at the current position of `file`, which is then at its end.

    Args:
      file: a seekable file.
      size: the size of the file in bytes, which lengths in the pickle must not exceed.
      storage: the function from a persistent id, torch's name of a storage, to its value; None
        allows no persistent id.
      what: the name of the pickle in errors.

    Raises:
      CheckpointError: a damaged pickle, or one with names or opcodes that are refused.
    """
    budget = Budget()
    machine = _Machine(storage, budget)
    bounded = _Bounded(file, size)
    start = file.tell()
    try:
        for opcode, argument, _ in pickletools.genops(bounded):  # pyright: ignore
            budget.at(file.tell() - start)
            machine.step(opcode.name, argument)
        return machine.pop()
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{what}: not a pickle, or a damaged one, at byte {file.tell()} of {size}: "
            f"{type(error).__name__}({short(str(error))})"
        ) from error


class _Bounded:
    """The interface of genops to the file, which refuses lengths beyond its end."""

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
    """The pickle machine: a stack with marks and a memo of data, `Global` and `Opaque`."""

    def __init__(self, storage: FindStorage | None, budget: Budget) -> None:
        self._storage = storage
        self._budget = budget
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _ARGUMENTS:
            self._budget.scalar(argument)
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [self.pop() for _ in range(count)]
            self._push(tuple(reversed(items)), CONTAINER + SLOT * count)
        elif name in _OLD_STRINGS:
            text = _old_string(argument)
            self._budget.scalar(text)
            self._stack.append(text)
        else:
            method = _METHODS.get(name)
            if method is None:
                raise CheckpointError(
                    f"refused: the pickle uses {name}, which a state_dict does not need; nothing "
                    "was run"
                )
            method(self, argument)

    def pop(self) -> Any:
        return self._stack.pop()

    def _push(self, value: Any, cost: int = 0) -> None:
        self._budget.spend(SLOT + cost)
        self._stack.append(value)

    def _items(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._budget.spend(SLOT + CONTAINER)
        self._below.append(self._stack)
        self._stack = []

    def _do_pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._items()

    def _pop_mark(self, _: Any) -> None:
        self._items()

    def _dup(self, _: Any) -> None:
        self._push(self._stack[-1])

    def _nothing(self, _: Any) -> None:
        pass

    def _empty_list(self, _: Any) -> None:
        self._push([], CONTAINER)

    def _empty_dict(self, _: Any) -> None:
        self._push({}, CONTAINER)

    def _list(self, _: Any) -> None:
        items = self._items()
        self._push(items, CONTAINER + SLOT * len(items))

    def _tuple(self, _: Any) -> None:
        items = self._items()
        self._push(tuple(items), CONTAINER + SLOT * len(items))

    def _dict(self, _: Any) -> None:
        items = self._items()
        self._push({}, CONTAINER)
        self._set(items)

    def _append(self, _: Any) -> None:
        self._extend([self.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._items())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        self._budget.spend(SLOT * len(items))
        if isinstance(target, Opaque):
            target.parts += items
        elif type(target) is list:
            target.extend(items)
        else:
            raise CheckpointError(f"damaged pickle: it appends to a {type(target).__name__}")

    def _setitem(self, _: Any) -> None:
        value = self.pop()
        self._set([self.pop(), value])

    def _setitems(self, _: Any) -> None:
        self._set(self._items())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Opaque):
            self._extend(items)
            return
        if type(target) is not dict:
            raise CheckpointError(f"damaged pickle: it sets items of a {type(target).__name__}")
        more = {Tensor: NAMED, dict: ENTRY + CONTAINER}  # what the search for tensors adds
        for value in items[1::2]:
            self._budget.spend(ENTRY + more.get(type(value), 0))
        set_items(target, zip(items[::2], items[1::2], strict=True))

    def _put(self, index: int) -> None:
        self._budget.spend(ENTRY)
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _global(self, argument: str) -> None:
        self._push(self._find(argument.replace(" ", ".", 1)), RECORD)

    def _stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("damaged pickle: the name of a global is not a string")
        self._push(self._find(f"{module}.{name}"), RECORD + len(module) + len(name))

    def _find(self, name: str) -> Any:
        if name in GLOBALS:
            return GLOBALS[name]
        if len(name) > _NAME or not name.isprintable():
            raise CheckpointError(f"damaged pickle: the name of a global is {short(name)}")
        if runs_code(name):
            raise CheckpointError(
                f"refused: the pickle names {name}; nothing was imported or run. No checkpoint "
                "needs it, and other programs run code of the file's author when they load this: "
                "do not open it with them"
            )
        return Opaque(name)

    def _reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise CheckpointError(f"damaged pickle: {short(function)} must get a tuple")
        self._call(function, arguments)

    def _object(self, _: Any) -> None:
        function, *arguments = self._items()
        self._call(function, tuple(arguments))

    def _instance(self, argument: str) -> None:
        self._call(self._find(argument.replace(" ", ".", 1)), tuple(self._items()))

    def _new_with_names(self, _: Any) -> None:
        named, arguments, function = self.pop(), self.pop(), self.pop()
        self._push(Opaque(_name_of(function), (arguments, named)), RECORD)

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """Push the result of a known global; for other calls and arguments, an opaque value."""
        sizes = [len(part) for part in arguments if type(part) in (list, tuple, dict, str)]
        reason = ""
        if isinstance(function, Global) and function.make is not None:
            self._budget.spend(function.cost + function.item * sum(sizes))
            try:
                made = function.make(*arguments)
            except (TypeError, ValueError) as error:  # among them CheckpointError
                own = isinstance(error, CheckpointError)
                reason = str(error) if own else f"damaged pickle: {function.name}: {error}"
            else:
                self._push(made)
                return
        self._push(Opaque(_name_of(function), arguments, reason), RECORD + len(reason))

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, Opaque):
            self._extend([state])
        elif isinstance(target, Tensor):
            raise CheckpointError("refused: the pickle sets the state of a tensor")
        # otherwise the _metadata of an OrderedDict, which is not needed

    def _persistent(self, _: Any) -> None:
        if self._storage is None:
            raise CheckpointError("refused: the pickle names a storage where none can be")
        self._push(self._storage(self.pop()), RECORD + ENTRY)


def _name_of(function: Any) -> str:
    """The name of a global, or of the type of another value that the file calls."""
    if isinstance(function, (Global, Opaque)):
        return function.name
    return type(function).__name__


_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Machine._nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), _Machine._empty_list),
    **dict.fromkeys(("TUPLE", "FROZENSET"), _Machine._tuple),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine._appends),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine._reduce),
    **{"MARK": _Machine._mark, "POP": _Machine._do_pop, "POP_MARK": _Machine._pop_mark},
    **{"DUP": _Machine._dup, "LIST": _Machine._list},
    **{"EMPTY_DICT": _Machine._empty_dict, "DICT": _Machine._dict},
    **{"APPEND": _Machine._append, "BINPERSID": _Machine._persistent},
    **{"SETITEM": _Machine._setitem, "SETITEMS": _Machine._setitems},
    **{"MEMOIZE": _Machine._memoize, "BUILD": _Machine._build},
    **{"GLOBAL": _Machine._global, "STACK_GLOBAL": _Machine._stack_global},
    **{"OBJ": _Machine._object, "INST": _Machine._instance},
    **{"NEWOBJ_EX": _Machine._new_with_names},
}


def _old_string(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
