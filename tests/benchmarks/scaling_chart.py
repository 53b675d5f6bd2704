"""The chart of efficiency over workers: lines on a ground of their own, so that they read on a light and on a dark page."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from chart import STYLE

CHART = Path(__file__).parents[2] / "docs" / "scaling.svg"
WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 72, 56
"""Widths around the plot; the names of the lines are at the right."""
LINE = 18
"""Height of a name."""
COLORS = ("#64748b", "#0d9488", "#2563eb", "#ea580c", "#a21caf", "#4f46e5")
"""Of the lines in their order. The last one is thicker: it is the sum of the others."""

Lines = Mapping[str, Sequence[float]]
"""The efficiency of each scenario, a value for each count of workers."""


def draw(rows: float, counts: Sequence[int], lines: Lines) -> str:
    """An SVG of lines over a logarithmic axis, of a job of so many rows."""
    lowest = math.floor(10 * min(min(values) for values in lines.values())) / 10
    parts = [*_titles(rows), *_grid(counts, lowest)]
    tops = _apart([_y(values[-1], lowest) for values in lines.values()])
    for number, (name, values) in enumerate(lines.items()):
        points = [(_x(count, counts), _y(value, lowest)) for count, value in zip(counts, values, strict=True)]
        label = f"{name}, {values[-1]:.0%}"
        parts += _line(label, points, tops[number], COLORS[number], 3.0 if number == len(lines) - 1 else 1.8)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12"'
        " font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\">\n"
        "  <title>Efficiency of a simulated bulk job over the number of workers, a line for each scenario</title>\n"
        f"  <style>{STYLE}"
        "    .grid { stroke: #e2e8f0 }\n    .middle { fill: #475569; text-anchor: middle }\n"
        "    .line { fill: none; stroke-linejoin: round }\n    .lead { fill: none; opacity: 0.5 }\n  </style>\n"
        '  <rect width="100%" height="100%" fill="#f8fafc" rx="10"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _titles(rows: float) -> list[str]:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        f'<text class="title" x="20" y="30">Efficiency of a simulated job of {rows:,.0f} rows</text>',
        '<text class="note" x="20" y="47">undisturbed compute time of one worker / (workers × time of the job)</text>',
        f'<text class="middle" x="{middle:.0f}" y="{HEIGHT - 14}">workers</text>',
    ]


def _grid(counts: Sequence[int], lowest: float) -> list[str]:
    parts = []
    for tenth in range(round(10 * lowest), 11):
        y = _y(tenth / 10, lowest)
        parts += [
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>',
            f'<text class="name" x="{LEFT - 8}" y="{y + 4:.1f}">{tenth / 10:.0%}</text>',
        ]
    for count in counts:
        x = _x(count, counts)
        parts += [
            f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>',
            f'<text class="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{count:,}</text>',
        ]
    return parts


def _line(label: str, points: Sequence[tuple[float, float]], top: float, color: str, width: float) -> list[str]:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    x, y = points[-1]
    return [
        f'<path class="line" stroke="{color}" stroke-width="{width}" d="M{path}"/>',
        f'<path class="lead" stroke="{color}" d="M{x + 3:.1f} {y:.1f}L{x + 18:.1f} {top:.1f}"/>',
        f'<text class="value" style="fill: {color}" x="{x + 22:.1f}" y="{top + 4:.1f}">{escape(label)}</text>',
    ]


def _x(count: int, counts: Sequence[int]) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * math.log(count / counts[0]) / math.log(counts[-1] / counts[0])


def _y(value: float, lowest: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - value) / (1 - lowest)


def _apart(tops: Sequence[float]) -> list[float]:
    """The same heights, moved down so far that names do not touch."""
    moved = list(tops)
    order = sorted(range(len(tops)), key=lambda number: tops[number])
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + LINE)
    return moved
