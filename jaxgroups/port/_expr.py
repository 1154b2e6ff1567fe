"""Expressions of the source that is written, before its variables have names."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NO_DEFAULT = object()


class Use(NamedTuple):
    """The value of that number, as it lies in memory."""

    number: int


class Lit(NamedTuple):
    """A setting of the original: a literal, or an argument of the class if instances differ.

    Attributes:
      value: a literal of Python.
      name: what the setting is called, ``"stride"``.
      default: an argument by name is left out where all instances have this value.
    """

    value: Any
    name: str
    default: Any = NO_DEFAULT


class Self(NamedTuple):
    """A child or an array of the module that is written: its path below the module."""

    path: tuple[str, ...]


@dataclass
class Expr:
    """Text with uses of values and settings in between.

    Attributes:
      parts: strings, `Use`, `Lit`, `Self`, `Named`, and expressions.
      atom: whether it needs no parentheses as an operand.
    """

    parts: list[Any]
    atom: bool = True

    def uses(self) -> Iterator[int]:
        """The values that the expression reads."""
        for part in self.parts:
            if isinstance(part, Use):
                yield part.number
            elif isinstance(part, Expr):
                yield from part.uses()


class Named(NamedTuple):
    """An argument of a function by name, in front of which a comma stands."""

    lit: Lit


@dataclass
class Make:
    """A call of a constructor: of a layer, or of a class that is written.

    Attributes:
      target: the text ``"jnn.Conv2d"``, or an `Instance` of a class that is written.
      arguments: by position (keys ``""``) and by name: `Lit`, `Make` or `Expr`.
      rngs: whether it takes ``rngs``.
    """

    target: Any
    arguments: list[tuple[str, Any]] = field(default_factory=list)
    rngs: bool = False


@dataclass
class Statement:
    """``target = expression``.

    Attributes:
      target: a structure of `Ref`.
      line: a key of the original's line; expressions of one line are written as one.
      hint: the name that the original gives the result, or a structure of names.
      why: a comment, for what a reader would not expect.
      origin: the name of the child of the original that it was.
      keeps: whether it makes one value of one other, in the same order of axes.
      when: the condition under which it runs, where some instances do not have it.
    """

    target: Any
    expr: Expr
    line: Any = None
    hint: Any = ""
    why: str = ""
    origin: str = ""
    keeps: bool = False
    when: str = ""


@dataclass
class Instance:
    """One module of the original with its body; instances with equal bodies share a class.

    Attributes:
      kind: the name of the original's class.
      parameters: the arguments of ``__call__`` by name: structures of `Ref`.
      children: what the constructor makes, by path below the module.
      returns: a structure of `Ref` and constants.
      inputs, outputs: by argument and of the results the shapes in memory, for the docstring.
      base: of a class that is a Sequential, the call of the base's constructor.
      ties: of the whole, the places of modules that stand at several, see `_ties`.
    """

    path: str
    kind: str
    doc: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    children: dict[tuple[str, ...], Make] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    returns: Any = None
    base: Make | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    group: Any = None  # the class, once instances are grouped
    values: dict[str, Any] = field(default_factory=dict)  # of the class's arguments
    ties: list[tuple[str, str]] = field(default_factory=list)
