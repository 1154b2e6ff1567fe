"""The similarity of the names of layers and modules."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import cache

Words = tuple[str | int, ...]


def words(names: Iterable[str]) -> dict[str, Words]:
    """The words and numbers of each name: ``layer2.0.conv1`` -> (layer, 1, 0, conv, 0).

    A number is replaced by its rank among siblings with the same word, so that it does not matter
    whether a model counts from 0 or from 1, or skips numbers.
    """
    names = list(names)
    split = {name: [_word(part) for part in name.split(".")] for name in names}
    siblings: dict[tuple[str, str], set[int]] = {}
    for name in names:
        parts = name.split(".")
        for length, (word, number) in enumerate(split[name]):
            if number is not None:
                siblings.setdefault((".".join(parts[:length]), word), set()).add(number)
    ranks = {
        place: {n: i for i, n in enumerate(sorted(found))} for place, found in siblings.items()
    }
    found: dict[str, Words] = {}
    for name in names:
        parts = name.split(".")
        all_words: list[str | int] = []
        for length, (word, number) in enumerate(split[name]):
            all_words += [word] if word else []
            all_words += [] if number is None else [ranks[".".join(parts[:length]), word][number]]
        found[name] = tuple(all_words)
    return found


def _word(part: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.*?)_?(\d{1,9})?", part, re.DOTALL)
    word, number = match.groups() if match else (part, None)
    return word.lower().strip("_"), None if number is None else int(number)


@cache
def likeness(one: Words, other: Words) -> float:
    """The similarity, from 0 to 1: the best alignment of equal or similar words, in order."""
    best = [0.0] * (len(other) + 1)
    for word in one:
        above = best[:]
        for j, against in enumerate(other):
            best[j + 1] = max(above[j] + _pair(word, against), above[j + 1], best[j])
    return 2 * best[-1] / max(len(one) + len(other), 1)


@cache
def _pair(one: str | int, other: str | int) -> float:
    if one == other:
        return 1.0
    if isinstance(one, int) or isinstance(other, int):
        return 0.0
    return 0.5 * SequenceMatcher(None, one, other).ratio()
