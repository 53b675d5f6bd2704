"""Groups token ids into batches for an engine, and pads them."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

_BATCHES_A_BUDGET = 32
"""What a batch costs besides its tokens, as a part of the budget. Measured: 8 of 512 tokens on one processor, 18 on another
(docs/performance.md)."""

_ALONE = np.zeros(1, dtype=np.intp)


def batches(lengths: Sequence[int], budget: int, workers: int = 1, *, packs: bool = False) -> list[NDArray[np.intp]]:
    """Groups texts of like length, longest first: each group's number times its longest length stays within `budget`.

    Of all such groups the cheapest, where a group costs what is computed, padding included, and a fixed amount. A text
    longer than the budget goes alone, one without tokens is left out. Longest first, the largest memory is taken once, at the
    start. More than one batch is shared by the workers, and the last ones are smaller, so that the workers end together.

    If the engine `packs`, padding costs nothing: then as few groups as the budget of real tokens allows, of about equal size.
    """
    if len(lengths) == 1 and lengths[0]:
        return [_ALONE]
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")[: np.count_nonzero(lengths)]
    falling = [lengths[place] for place in order]
    cuts = _even_cuts(falling, budget) if packs else _cheapest_cuts(falling, budget, workers)
    return [order[start:end] for start, end in pairwise(cuts)]


def _cheapest_cuts(lengths: Sequence[int], budget: int, workers: int) -> list[int]:
    """Where lengths in falling order are cut into batches, from 0 to their number.

    By dynamic programming from the last text to the first: the least cost of what is left, by the text it begins with.
    A batch ends where the length changes, or where the budget does. Other ends hardly ever save a token, and with so few
    to look at it takes a microsecond a text.
    """
    count = len(lengths)
    least = budget if count * max(lengths, default=0) <= budget else budget // 4
    costs = [0.0] * (count + 1)
    ends = [count] * count
    changes = [count] * count  # for each text the next one of another length
    for start in reversed(range(count)):
        length = lengths[start]
        if start + 1 < count:
            changes[start] = changes[start + 1] if lengths[start + 1] == length else start + 1
        share = length * (count - start) // workers
        last = min(count, start + max(1, min(budget, max(least, share)) // length))
        cheapest, end = inf, start
        while end < last:
            end = min(changes[end], last)
            cost = costs[end] + length * (end - start)
            if cost <= cheapest:
                cheapest, ends[start] = cost, end
        costs[start] = cheapest + budget // _BATCHES_A_BUDGET
    cuts = [0]
    while cuts[-1] < count:
        cuts.append(ends[cuts[-1]])
    return cuts


def _even_cuts(lengths: Sequence[int], budget: int) -> list[int]:
    """Where lengths are cut into batches of about as many tokens each, from 0 to their number.

    A batch exceeds the budget by less than one text.
    """
    if not lengths:
        return [0]
    ends = np.cumsum(lengths)
    count = -(-int(ends[-1]) // budget)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    return sorted({0, *(cuts + 1).tolist(), len(lengths)})


def padded(rows: Sequence[NDArray[np.int32]], pad_id: int) -> tuple[NDArray[np.int32], ...]:
    """Ids and mask, both int32 (texts, longest), padded on the right. For rows (tokens, 2) their second column as well."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width, *rows[0].shape[1:]), pad_id, dtype=np.int32)
    mask = np.zeros((len(rows), width), dtype=np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return (ids, mask) if ids.ndim == 2 else (np.ascontiguousarray(ids[..., 0]), mask, ids[..., 1] * mask)
