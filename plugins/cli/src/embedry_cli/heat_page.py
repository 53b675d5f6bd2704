"""Creates the HTML page of `embedry compare`: a heat map of many texts."""

import numpy as np
from numpy.typing import NDArray

from embedry_cli import page
from embedry_cli.heat_map import Compared


def html(title: str, facts: str, found: Compared) -> bytes:
    """The HTML page. The rows are texts; the columns are the queries, or else the same texts.

    Args:
        title: the title above the heat map.
        facts: one line next to the title.
        found: the comparison to show.
    """
    pairs = found.pairs
    if found.queries is None:
        order, name = alike_together(found.matrix), "Alike together"
    else:
        order, name = np.argsort(-found.matrix.max(axis=0), kind="stable"), "Best first"
    data = {
        "similarity": found.similarity,
        "texts": list(found.texts),
        "queries": found.queries and list(found.queries),
        "values": page.packed(found.matrix.T),
        "low": float(np.nanmin(pairs)),
        "high": float(np.nanmax(pairs)),
        "stops": page.VIRIDIS,
        "order": order.tolist(),
        "orders": [name, "As given"],
    }
    return page.html("heat.js", title, facts, data)


def alike_together(matrix: NDArray[np.float32]) -> NDArray[np.intp]:
    """Orders texts so that similar ones are next to each other: the leaves of average linkage.

    Repeatedly joins the two most similar groups, oriented so that their most similar ends meet.

    Args:
        matrix: float32 (n, n), the similarity of each pair of texts.
    """
    groups = [[number] for number in range(len(matrix))]
    sizes = np.ones(len(matrix))
    between = matrix.astype(np.float64)
    np.fill_diagonal(between, -np.inf)
    for _ in range(len(matrix) - 1):
        one, other = divmod(int(between.argmax()), len(between))
        groups[one] = _joined(groups[one], groups[other], matrix)
        joined = np.average(between[[one, other]], axis=0, weights=sizes[[one, other]])
        joined[one] = -np.inf
        between[one] = between[:, one] = joined
        between[other] = between[:, other] = -np.inf
        sizes[one] += sizes[other]
    return np.array(max(groups, key=len))


def _joined(one: list[int], other: list[int], matrix: NDArray[np.float32]) -> list[int]:
    turns = [(left, right) for left in (one, one[::-1]) for right in (other, other[::-1])]
    left, right = max(turns, key=lambda turn: matrix[turn[0][-1], turn[1][0]])
    return left + right
