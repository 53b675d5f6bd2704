"""Creates the HTML page of a map: points in the plane, colored by group or by a number."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedry_cli import page

PALETTE = (
    "#4269d0", "#f2a900", "#e0483e", "#2f9e4f", "#9a5cf0", "#8a5a3c", "#18a5a0", "#f77fb0", "#f47b20",
    "#86b3f5", "#7a8b1e", "#8c1d5b", "#1f3b73", "#a5cf4c", "#c39be0", "#0b6b4f", "#c9a06a", "#56616d",
)  # fmt: skip
"""Colors of groups, distinguishable on white; the first ones work best."""

_ON_DARK = (
    "#46abff", "#fedd47", "#fc7670", "#34ca97", "#a27cec", "#bc653d", "#32f4fd", "#feafb6", "#ffa328",
    "#afc7fb", "#9fa723", "#c85b9e", "#6183b0", "#8df290", "#ea96fc", "#389970", "#ebe7da", "#a89c96",
)  # fmt: skip
"""Colors for dark mode: similar hues, a contrast with the background of at least 4:1, and as far apart in OKLab."""


class Groups(NamedTuple):
    """Points colored by group."""

    title: str
    names: Sequence[str]
    """At most as many names as `PALETTE` has colors."""
    labels: NDArray[np.intp]
    """The position of each point's name; -1 for none."""
    written: bool
    """Whether the map also shows the names."""
    rest: str
    """The label of the points without a name."""


class Scale(NamedTuple):
    """Points colored by a number."""

    name: str
    values: NDArray[np.float64]
    """One value per point; NaN for none."""


def html(
    title: str,
    facts: str,
    points: NDArray[np.float32],
    texts: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    colors: Groups | Scale,
) -> bytes:
    """The HTML page.

    Args:
        title: the title above the map.
        facts: one line next to the title.
        points: float32 (n, 2).
        texts: n texts, for search and for tooltips.
        columns: further values for the tooltips, n values by column name.
        colors: the colors of the n points.
    """
    data: dict[str, Any] = {"points": page.packed(points), "texts": list(texts)}
    data["columns"] = [
        [name, list(values)] for name, values in columns.items()
    ]  # pairs, which keep their order in JavaScript
    data |= {"groups": _groups(points, colors)} if isinstance(colors, Groups) else {"scale": _scale(colors)}
    return page.html("map.js", title, facts, data)


def _groups(points: NDArray[np.float32], groups: Groups) -> dict[str, Any]:
    members = [np.flatnonzero(groups.labels == label) for label in range(len(groups.names))]
    return groups._asdict() | {
        "names": list(groups.names),
        "labels": groups.labels.tolist(),
        "middles": [_middle(points, each) for each in members],
        "light": PALETTE,
        "dark": _ON_DARK,
    }


def _middle(points: NDArray[np.float32], members: NDArray[np.intp]) -> int:
    """The position of the point nearest to the median, which itself may lie between parts of a cluster."""
    own = points[members]
    return int(members[np.linalg.norm(own - np.median(own, axis=0), axis=1).argmin()])


def _scale(scale: Scale) -> dict[str, Any]:
    low, high = np.nanpercentile(
        scale.values, (1, 99)
    ).tolist()  # so that a few outliers do not compress the color scale
    return {
        "name": scale.name,
        "values": page.packed(scale.values),
        "low": low,
        "high": high,
        "stops": page.VIRIDIS,
    }
