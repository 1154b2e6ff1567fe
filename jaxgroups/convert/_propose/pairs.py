"""Pairs of rows and columns with the best scores, and longest increasing subsequences."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

Allowed = Sequence[Sequence[bool]]
Scores = Sequence[Sequence[float]]
Place = tuple[int, int]


def in_order(allowed: Allowed, scores: Scores) -> list[Place]:
    """The most pairs that keep the order of both sides, and among those the best total score."""
    rows, columns = len(allowed), len(allowed[0])
    best = [[(0, 0.0)] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            options = [best[i + 1][j], best[i][j + 1]]
            if allowed[i][j]:
                count, score = best[i + 1][j + 1]
                options.append((count + 1, score + scores[i][j]))
            best[i][j] = max(options)
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        count, score = best[i + 1][j + 1]
        if allowed[i][j] and best[i][j] == (count + 1, score + scores[i][j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def best_first(allowed: Allowed, scores: Scores) -> list[Place]:
    """Pairs chosen greedily by score; at equal scores, the one nearest to the diagonal."""
    candidates = [
        (-scores[i][j], abs(i - j), i, j)
        for i, row in enumerate(allowed)
        for j, fits in enumerate(row)
        if fits
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in sorted(candidates):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return sorted(pairs.items())


def longest_increasing(places: Sequence[Place]) -> list[Place]:
    """The longest subsequence of places whose rows and columns both increase."""
    ends: list[int] = []
    chains: list[tuple[Place, Any]] = []
    for place in sorted(places):
        n = bisect_left(ends, place[1])
        link = (place, chains[n - 1] if n else None)
        ends[n : n + 1] = [place[1]]
        chains[n : n + 1] = [link]
    found, link = [], chains[-1] if chains else None
    while link is not None:
        found.append(link[0])
        link = link[1]
    return found[::-1]
