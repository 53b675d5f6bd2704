"""Implements `embedry bench`: measures roughly how fast a model is on this machine, in half a minute."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Unpack

from rich.table import Table

from embedry._backends import find
from embedry.views import LazyTextModel
from embedry_cli import downloads, prose, terminal, timings
from embedry_cli.entries import text_model
from embedry_cli.options import AsJson, Engine, ModelArgument, TextKind, engine_options

_CALLERS = 8
"""Concurrent threads."""

_WORTH_IT = 0.1
"""The minimum speedup for recommending another token budget; less is noise in a short measurement."""


@dataclass(frozen=True)
class Rate:
    """The throughput for one kind of text."""

    texts: float
    tokens: float | None
    """Tokens per second without padding; None if they cannot be counted."""


@dataclass(frozen=True)
class Findings:
    """All measurements."""

    model: str
    kind: str
    load_seconds: float
    query_ms_p50: float
    query_ms_p99: float
    queries_per_second: float
    """Throughput with several concurrent threads."""
    per_second: Mapping[str, Rate]
    """Throughput by kind of text."""
    peak_memory_mb: float | None
    batch_tokens: Mapping[int, float]
    """Tokens per second by token budget of a batch, with the engine's own in the middle; empty if it has none."""
    computed_by: Mapping[str, str]


@engine_options
def bench(
    model: ModelArgument,
    kind: TextKind = None,
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Measure how fast a model is on this machine, in half a minute.

    The texts are English, from the Python language reference. Other running programs distort the results.

    Examples:
        embedry bench all-MiniLM-L6-v2
        embedry bench all-MiniLM-L6-v2 --precision int8 --threads 4 --json
    """
    embedder = text_model(model, kind, **engine)
    if find(embedder.config.backend).needs_files:
        downloads.pulled(embedder.spec)  # so that the load time does not include the download
    with terminal.waiting("loading") as show:
        found = _measure(embedder, show)
    if as_json:
        terminal.show_json(asdict(found))
    else:
        _show(found)


def _measure(embedder: LazyTextModel[Any], show: Callable[[str], None]) -> Findings:
    texts = prose.by_length()
    queries = texts["short texts"]
    load_seconds = timings.seconds(embedder.load)
    show("one query at a time")
    latencies = timings.latencies(embedder, queries)
    show(f"queries from {_CALLERS} concurrent threads")
    queries = queries[: len(latencies)]
    queries_per_second = len(queries) / timings.crowd(embedder, queries, _CALLERS)
    rates: dict[str, Rate] = {}
    for kind, some in texts.items():
        show(f"embedding {kind}")
        rates[kind] = _rate(embedder, some)
    peak_memory_mb = timings.peak_memory_mb()
    show("trying other batches")
    timed = timings.enough(embedder, texts["paragraphs"])
    counted = timings.tokens(embedder, timed) or 0
    return Findings(
        model=embedder.name,
        kind=embedder.spec.kind,
        load_seconds=load_seconds,
        query_ms_p50=statistics.median(latencies) * 1000,
        query_ms_p99=sorted(latencies)[int(0.99 * len(latencies))] * 1000,
        queries_per_second=queries_per_second,
        per_second=rates,
        peak_memory_mb=peak_memory_mb,
        batch_tokens={budget: counted / seconds for budget, seconds in timings.budgets(embedder, timed).items()},
        computed_by=dict(embedder.info),
    )


def _rate(embedder: LazyTextModel[Any], texts: Sequence[str]) -> Rate:
    timed = timings.enough(embedder, texts)
    seconds = timings.documents(embedder, timed)
    counted = timings.tokens(embedder, timed)
    return Rate(len(timed) / seconds, counted / seconds if counted is not None else None)


def _show(found: Findings) -> None:
    table = Table("measured", "here", box=None, header_style="bold")
    table.add_row("loading", f"{found.load_seconds:.2f} s")
    table.add_row("one query", f"p50 {found.query_ms_p50:.1f} ms, p99 {found.query_ms_p99:.1f} ms")
    table.add_row(f"{_CALLERS} concurrent threads", f"{found.queries_per_second:,.0f} queries/s")
    for kind, rate in found.per_second.items():
        tokens = f", {rate.tokens:,.0f} tokens/s" if rate.tokens is not None else ""
        table.add_row(kind, f"{rate.texts:,.1f} texts/s{tokens}")
    if found.peak_memory_mb is not None:
        table.add_row("most memory held", f"{found.peak_memory_mb:,.0f} MB")
    for budget, rate_of_it in found.batch_tokens.items():
        table.add_row(f"paragraphs in batches of {budget:,} tokens", f"{rate_of_it:,.0f} tokens/s")
    terminal.console().print(table)
    terminal.show(
        f"\n{found.model}, {found.kind} ({', '.join(f'{name} {value}' for name, value in found.computed_by.items())})"
    )
    if found.batch_tokens:
        _compare(found.batch_tokens)


def _compare(batch_tokens: Mapping[int, float]) -> None:
    _, own, _ = batch_tokens
    best = max(batch_tokens, key=batch_tokens.__getitem__)
    gain = batch_tokens[best] / batch_tokens[own] - 1
    if gain > _WORTH_IT:
        terminal.show(f"batches of {best:,} tokens are {gain:.0%} faster here than the {own:,} that the engine takes")
