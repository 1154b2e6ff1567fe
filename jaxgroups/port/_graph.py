"""The traced program, without torch: values, operations, and the calls of modules around them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple


class Ref(NamedTuple):
    """A use of a value, by its number."""

    number: int


@dataclass(frozen=True)
class Size:
    """A size that torch computed from the sizes of inputs.

    Attributes:
      text: the symbolic expression; equal texts are equal sizes.
      hint: its value for the example.
      distinct: its value for inputs whose sizes all differ, see `distinct_sizes`.
    """

    text: str
    hint: int
    distinct: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return self.text


Dim = int | Size


@dataclass
class Value:
    """A tensor, or an integer computed from sizes.

    Attributes:
      shape: in torch's order; None for an integer.
      size: of an integer, what it is.
      source: a parameter or buffer: its name in the state_dict, else None.
      constant: the values of a tensor that the program holds, as nested lists.
    """

    number: int
    shape: tuple[Dim, ...] | None
    dtype: str = ""
    size: Dim | None = None
    source: str | None = None
    buffer: bool = False
    constant: Any = None


@dataclass(frozen=True)
class Line:
    """A line of the original program."""

    file: str
    number: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass
class Node:
    """One operation: `op` such as ``"aten.relu"``, whose arguments hold a `Ref` for each value."""

    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[int]
    line: Line | None = None
    variant: str = "default"


@dataclass
class Call:
    """One call of a module.

    Attributes:
      path: the module's name, ``""`` for the whole.
      kind: the qualified name of its class, ``torch.nn.modules.conv.Conv2d``.
      inputs: by parameter name, the arguments that hold tensors: nested structures of `Ref`.
      output: a nested structure of `Ref` and constants.
      steps: operations and calls in the order in which they ran.
    """

    path: str
    kind: str
    inputs: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    steps: "list[Node | Call]" = field(default_factory=list)
    line: Line | None = None


@dataclass
class Graph:
    """A traced module: its values by number, and the call of the whole.

    Attributes:
      notes: what a reader should know.
      fixed: the same of sizes that torch could not trace for other inputs at all.
      example_only: whether it could trace it for the example's image size only.
    """

    values: list[Value]
    root: Call
    modules: dict[str, Any]  # by path, for the settings of layers
    inputs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    example_only: bool = False


def refs(structure: Any) -> Iterator[int]:
    """The numbers of the values that a structure holds, in order."""
    if isinstance(structure, Ref):
        yield structure.number
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from refs(one)
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from refs(one)


def distinct_sizes(*shapes: Sequence[Dim]) -> list[list[int]]:
    """The shapes of a reshape for inputs whose sizes all differ, where torch knows them.

    The example may be square, but its height and width are not one size. Those of the example
    serve where torch's expressions hold for the example alone: then the elements are not as many.
    """
    given = [[n if isinstance(n, int) else n.distinct for n in shape] for shape in shapes]
    if len({prod(sizes) for sizes in given}) == 1 and all(n > 0 for s in given for n in s):
        return given
    return [[hint(n) for n in shape] for shape in shapes]


def hint(dim: Dim) -> int:
    """The size for the example."""
    return dim.hint if isinstance(dim, Size) else dim
