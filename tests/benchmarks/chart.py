"""The chart: four small bar charts on a ground of their own, so that they read on a light and on a dark page."""

from pathlib import Path
from xml.sax.saxutils import escape

from contenders import OURS, REFERENCE
from results import Results

CHART = Path(__file__).parents[2] / "docs" / "benchmarks.svg"
WIDTH, ROW, BAR = 490, 24, 14
LABELS, VALUES = 250, 66
"""Widths of the names before the bars and of the numbers behind them."""

STYLE = """
    .title { fill: #0f172a; font-weight: 600; font-size: 14px }
    .note { fill: #475569; font-size: 12px }
    .name { fill: #334155; text-anchor: end }
    .value { fill: #0f172a }
    .bar { fill: #94a3b8 }
    .ours { fill: #4f46e5 }
    .engine { fill: #a5b4fc }
    .wrong { fill: #ea580c }
"""


def draw(results: Results) -> str:
    """An SVG of speed, one query, cold start and memory."""
    names = results.names()
    panels = [
        ("Paragraphs, texts a second", f"{REFERENCE} = 1; longer is better", "{:.2f}",
         [results.ratio("paragraphs", name).median for name in names]),
        ("One query, median", "milliseconds; shorter is better", "{:.1f} ms",
         [results.latency(name, 50) * 1000 for name in names]),
        ("Cold start to the first vector", "seconds; shorter is better", "{:.2f} s",
         [results.first_use(name, lambda use: use.first_vector).median for name in names]),
        ("Peak memory", "loading and embedding the paragraphs; shorter is better", "{:,.0f} MB",
         [results.first_use(name, lambda use: use.memory).median for name in names]),
    ]  # fmt: skip
    height = 60 + ROW * len(names)
    parts = [
        f'<g transform="translate({number % 2 * WIDTH} {number // 2 * height})">\n'
        f"{_panel(results, title, note, form, values)}\n</g>"
        for number, (title, note, form, values) in enumerate(panels)
    ]
    size = f"0 0 {2 * WIDTH} {2 * height + 16}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-size="12"'
        " font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\">\n"
        "  <title>Speed, time of one query, cold start and memory of embedry and of others, the same model</title>\n"
        f'  <style>{STYLE}  </style>\n  <rect width="100%" height="100%" fill="#f8fafc" rx="10"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(results: Results, title: str, note: str, form: str, values: list[float]) -> str:
    scale = (WIDTH - LABELS - VALUES) / max(values)
    lines = [
        f'<text class="title" x="20" y="30">{escape(title)}</text>',
        f'<text class="note" x="20" y="47">{escape(note)}</text>',
    ]
    for number, (name, value) in enumerate(zip(results.names(), values, strict=True)):
        top = 60 + number * ROW
        kind = "ours" if name == OURS else "engine" if name.startswith(OURS) else "bar"
        label = f"{name}, wrong vectors" if results.wrong(name) else name
        length = value * scale
        lines += [
            f'<text class="name" x="{LABELS - 6}" y="{top + 11}">{escape(label)}</text>',
            f'<rect class="{"wrong" if results.wrong(name) else kind}" x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="value" x="{LABELS + length + 5:.1f}" y="{top + 11}">{form.format(value)}</text>',
        ]
    return "\n".join(lines)
