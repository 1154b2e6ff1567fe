"""Docstrings of the functions: those of one kind say the same for every rank; examples run."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import jaxgroups as jg

PACKAGE = Path(jg.__file__).parent
MODULES = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
    if file.stem != "__main__"
)


def skeleton(rank, text):
    """A docstring without its examples and what depends on the rank."""
    text = " ".join(text.split(">>>")[0].split())
    for varying, name in (
        (rf"{rank}-D|(?<=conv){rank}d|(?<=transpose){rank}d", "RANK"),
        (r"an int or (one for each of ([DHW], )+[DHW]|a sequence of one)", "INTS"),
        (r", the same for [DHW]( and [DHW])?", ""),
        (r"\bk[DHW](, k[DHW])*\b|\bk\b", "KERNEL"),
        (r"\b[LDHW]_out(, [DHW]_out)*", "OUT"),
        (r"\b[LDHW](, [DHW])*\b", "SIZES"),
    ):
        text = re.sub(varying, name, text)
    return text


@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_docstrings_differ_in_the_rank_only(kind):
    one, *others = (
        skeleton(rank, inspect.getdoc(getattr(jg, f"{kind}{rank}d"))) for rank in (1, 2, 3)
    )
    assert len(one) > 1000
    for other in others:
        assert other == one


@pytest.mark.parametrize("kind", ["conv", "conv_transpose"])
def test_signatures_are_the_same_and_documented(kind):
    one, *others = (inspect.signature(getattr(jg, f"{kind}{rank}d")) for rank in (1, 2, 3))
    assert all(other == one for other in others)
    assert next(iter(one.parameters)) == "input"
    for rank in (1, 2, 3):
        text = inspect.getdoc(getattr(jg, f"{kind}{rank}d"))  # without the indent of the function
        documented = re.findall(r"^  (\w+): ", text, re.M)
        assert set(one.parameters) <= set(documented)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        example
        for name in MODULES
        for found in finder.find(importlib.import_module(name))
        for example in found.examples
    ]
    assert len(examples) >= 16
