"""The results as Markdown, for the terminal and for the page."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from contenders import REFERENCE
from results import Results, Spread, percentile
from turns import THREADS

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by the benchmark -->", "<!-- end of the results -->"


def write(text: str, page: Path, begin: str = BEGIN, end: str = END) -> None:
    """Puts Markdown between two marks of the page.

    Raises:
        ValueError: the page has no such marks.
    """
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def markdown(results: Results) -> str:
    """All tables."""
    sections = [_for_people(results), _machine(results), "## In detail", _vectors(results)]
    sections += [_load(results, name) for name in results.loads]
    sections += [
        _products(results),
        _latency(results),
        _crowd(results),
        _beside(results),
        _first_use(results),
        _growth(results),
    ]
    return "\n\n".join(sections)


def _for_people(results: Results) -> str:
    rows = [
        (
            _name(results, name),
            f"{results.rate('paragraphs', name):,.0f}",
            f"{results.ratio('paragraphs', name).median:.2f}",
            _milliseconds(results.latency(name, 50)),
            f"{results.first_use(name, lambda use: use.first_vector).median:.2f} s",
            f"{results.first_use(name, lambda use: use.memory).median:,.0f} MB",
            f"{results.agreements[name].cosine:.6f}",
        )
        for name in results.names()
    ]
    columns = ("", "paragraphs/s", f"{REFERENCE} = 1", "one query", "cold start", "peak memory", "mean cosine")
    lines = [f"Left out: {name}. {reason}" for name, reason in results.left_out.items()]
    return "\n\n".join([table(columns, rows), *lines])


def _machine(results: Results) -> str:
    return "Measured on:\n\n" + table(("", ""), results.machine.items())


def _vectors(results: Results) -> str:
    rows = [
        (_name(results, name), f"{agreement.largest:.1e}", f"{agreement.cosine:.6f}")
        for name, agreement in results.agreements.items()
    ]
    return f"### The vectors, compared with those of {REFERENCE}\n\n" + table(
        ("", "largest difference of a component", "mean cosine"), rows
    )


def _load(results: Results, load: str) -> str:
    rows = [
        (
            _name(results, name),
            f"{results.rate(load, name):,.0f}",
            f"{results.token_rate(load, name):,.0f}",
            _spread(results.ratio(load, name), 2),
        )
        for name in results.names()
    ]
    return f"### {load.capitalize()}: {results.loads[load].described}\n\n" + table(
        ("", "texts/s", "tokens/s", f"{REFERENCE} = 1"), rows
    )


def _products(results: Results) -> str:
    rates = [(name, _spread(Spread.of(rates), 0)) for name, rates in results.products.items()]
    shares = [
        (
            _name(results, name),
            results.fastest_products(name),
            " to ".join(f"{value:.0%}" for value in (share.least, share.most)),
            f"{share.median:.0%}",
        )
        for name in results.names()
        for share in [results.share(name)]
    ]
    return "\n\n".join(
        [
            "### The rate of the model's own matrix products",
            table(("products by", "GFLOP/s"), rates),
            "Share of the fastest rate in the same precision that paragraphs reach, including attention's products:",
            table(("", "products by", "rounds", "median"), shares),
        ]
    )


def _latency(results: Results) -> str:
    rows = [
        (
            _name(results, name),
            _milliseconds(results.latency(name, 50)),
            _milliseconds(results.latency(name, 99)),
            _spread(results.latency_ratio(name), 2),
        )
        for name in results.names()
    ]
    count = sum(map(len, next(iter(results.latencies.values()))))
    return f"### One query at a time, {count} of them\n\n" + table(("", "p50", "p99", f"{REFERENCE}' p50 = 1"), rows)


def _crowd(results: Results) -> str:
    rows = []
    for name, crowds in results.crowds.items():
        answered = [seconds for crowd in crowds for seconds in crowd.latencies]
        errors = [error for crowd in crowds for error in crowd.errors]
        rows.append(
            (
                _name(results, name),
                f"{statistics.median(len(crowd.latencies) / crowd.seconds for crowd in crowds):,.0f}",
                _milliseconds(percentile(answered, 50)) if answered else "",
                _milliseconds(percentile(answered, 99)) if answered else "",
                f"{len(errors)} of {len(errors) + len(answered)}: {errors[0]}" if errors else "none",
            )
        )
    return f"### {THREADS} concurrent threads\n\n" + table(("", "queries/s", "p50", "p99", "failed"), rows)


def _beside(results: Results) -> str:
    rows = [
        (
            small,
            _milliseconds(statistics.median(each.alone for each in rounds)),
            _milliseconds(statistics.median(each.beside for each in rounds)),
            _spread(Spread.of([each.beside / each.alone for each in rounds]), 1),
        )
        for small, rounds in results.besides.items()
    ]
    return "### embedry: small calls during another thread's large call\n\n" + table(
        ("", "alone", "beside", "alone = 1"), rows
    )


def _first_use(results: Results) -> str:
    rows = [
        (
            _name(results, name),
            _spread(results.first_use(name, lambda use: use.imported), 2),
            _spread(results.first_use(name, lambda use: use.first_vector), 2),
            _spread(results.first_use(name, lambda use: use.memory), 0),
        )
        for name in results.names()
    ]
    return "### Fresh processes\n\n" + table(("", "import, s", "to the first vector, s", "peak memory, MB"), rows)


def _growth(results: Results) -> str:
    rows = [
        (f"{growth.count:,}", f"{growth.seconds / growth.count * 1e6:.0f}", f"{growth.memory:,.0f}")
        for growth in results.growths
    ]
    return "### A stream of short texts through embedry\n\n" + table(("texts", "µs a text", "peak memory, MB"), rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in a terminal too."""
    cells = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _name(results: Results, name: str) -> str:
    return f"{name} (wrong vectors)" if results.wrong(name) else name


def _spread(spread: Spread, digits: int) -> str:
    median, least, most = (f"{value:,.{digits}f}" for value in (spread.median, spread.least, spread.most))
    return f"{median} ({least} to {most})"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
