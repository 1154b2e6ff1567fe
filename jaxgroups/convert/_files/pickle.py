"""An interpreter for the pickles of torch that can make plain data and nothing else.

`pickletools.genops` splits the file into opcodes, which is all it does; what each of them means is
here. Names in the file are looked up in `torch_objects.GLOBALS` and nowhere else: Python's import
system, `pickle.Unpickler` and `copyreg` have no part in it, and no attribute of anything is set.
What has another name stands for itself as an `Opaque` value. What all this takes is bounded by
`PickleBudget`.
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
_LINE = 1 << 20  # bytes of a name or of a number written in digits
_NAME = 1000  # characters of the name of a global


def unpickle(
    file: BinaryIO, size: int, storage: FindStorage | None = None, what: str = "pickle"
) -> Any:
    """The data of the pickle that starts where `file` stands, which is left behind its end.

    Args:
      file: seekable.
      size: of the file, in bytes: no length in the pickle is believed beyond it.
      storage: what a persistent id, torch's way to name a storage, stands for; None allows none.
      what: to name the pickle in errors.
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
    """Stack, marks and memo of the pickle machine; on it lie data, `Global` and `Opaque`."""

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
            self._put_on(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [self.pop() for _ in range(count)]
            self._put_on(tuple(reversed(items)), CONTAINER + SLOT * count)
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

    def _put_on(self, value: Any, cost: int = 0) -> None:
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
        self._put_on(self._stack[-1])

    def _nothing(self, _: Any) -> None:
        pass

    def _empty_list(self, _: Any) -> None:
        self._put_on([], CONTAINER)

    def _empty_dict(self, _: Any) -> None:
        self._put_on({}, CONTAINER)

    def _list(self, _: Any) -> None:
        items = self._items()
        self._put_on(items, CONTAINER + SLOT * len(items))

    def _tuple(self, _: Any) -> None:
        items = self._items()
        self._put_on(tuple(items), CONTAINER + SLOT * len(items))

    def _dict(self, _: Any) -> None:
        items = self._items()
        self._put_on({}, CONTAINER)
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
        more = {Tensor: NAMED, dict: ENTRY + CONTAINER}  # what a search of the tensors makes
        for value in items[1::2]:
            self._budget.spend(ENTRY + more.get(type(value), 0))
        set_items(target, zip(items[::2], items[1::2], strict=True))

    def _put(self, index: int) -> None:
        self._budget.spend(ENTRY)
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        self._put_on(self._memo[index])

    def _global(self, argument: str) -> None:
        self._put_on(self._find(argument.replace(" ", ".", 1)), RECORD)

    def _stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("damaged pickle: the name of a global is not a string")
        self._put_on(self._find(f"{module}.{name}"), RECORD + len(module) + len(name))

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
        self._put_on(Opaque(_name_of(function), (arguments, named)), RECORD)

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """What a call of a known global makes; else, or if it gets the wrong, an opaque value."""
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
                self._put_on(made)
                return
        self._put_on(Opaque(_name_of(function), arguments, reason), RECORD + len(reason))

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, Opaque):
            self._extend([state])
        elif isinstance(target, Tensor):
            raise CheckpointError("refused: the pickle sets the state of a tensor")
        # else the _metadata of an OrderedDict, and nothing that is needed

    def _persistent(self, _: Any) -> None:
        if self._storage is None:
            raise CheckpointError("refused: the pickle names a storage where none can be")
        self._put_on(self._storage(self.pop()), RECORD + ENTRY)


def _name_of(function: Any) -> str:
    """Of a global, or of what a file calls although it is none."""
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
