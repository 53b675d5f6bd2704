"""How fast: texts a second beside sentence-transformers and beside matrix products alone, one query, and the device's memory."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpu_card
import report
from contenders import OURS, REFERENCE
from gpu_contenders import (
    Ask,
    Embedry,
    Library,
    Processes,
    Products,
    info_of,
    memory_of,
    rate_of,
    vectors_of,
    with_batches,
)
from gpu_files import Files
from gpu_report import Found
from loads import Load
from results import Agreement, Spread, percentile
from turns import BLOCK, alternate, latencies_of, seconds_of

LARGE_BATCH = 512
"""Texts a batch, for sentence-transformers' row beside its default of 32, which leaves a large card idle."""
BATCHED = f"{REFERENCE}, {LARGE_BATCH} a batch"
PRODUCTS = {"large": "one large product", "model": "the products of the model's shapes"}


@dataclass(frozen=True)
class Setting:
    """What sections have in common."""

    device: str
    precisions: tuple[str, ...]
    """The first is the one that most is measured in."""
    files: Files
    loads: Mapping[str, Load]
    quick: bool

    @property
    def rounds(self) -> int:
        """Of alternating turns."""
        return 1 if self.quick else 5


def started(setting: Setting, precision: str, running: Processes) -> dict[str, Ask]:
    """embedry and sentence-transformers in this precision, warm; the latter's one process also has its larger batches."""
    model, device = setting.files.model, setting.device
    ours, theirs = running.all(
        {
            f"{OURS}, {precision}": partial(Embedry, str(model), device, precision),
            f"{REFERENCE}, {precision}": partial(Library, model, device, precision),
        }
    )
    found: dict[str, Ask] = {
        OURS: ours,
        REFERENCE: partial(theirs, with_batches, None),
        BATCHED: partial(theirs, with_batches, LARGE_BATCH),
    }
    for ask in found.values():
        ask(vectors_of, setting.loads["paragraphs"].texts[:1024])
    return found


def throughput(setting: Setting, load_name: str, precision: str, running: Processes) -> Found:
    """A load in one precision: all contenders and the matrix products alternate."""
    load = setting.loads[load_name]
    ready = started(setting, precision, running)
    products = running.get(
        f"products, {precision}", partial(Products, setting.device, precision, setting.files.size)
    )  # fmt: skip
    first = load.texts[:64]
    expected = ready[REFERENCE](vectors_of, first)
    agreements = {name: Agreement.of(ask(vectors_of, first), expected) for name, ask in ready.items()}
    turns: dict[str, Callable[[int], float]] = {name: partial(_encode, ask, load.texts) for name, ask in ready.items()}
    least = 0.1 if setting.quick else 0.5
    turns |= {name: partial(_multiply, products, which, least) for which, name in PRODUCTS.items()}
    measured = alternate(load_name, turns, setting.rounds)
    rates = {name: measured.pop(name) for name in PRODUCTS.values()}
    info = ready[OURS](info_of)
    text = "\n\n".join(
        [
            f"{load_name.capitalize()}: {load.described}. In {precision}, {setting.rounds} rounds. embedry: "
            + ", ".join(f"{key} {info[key]}" for key in ("engine", "attention", "workers", "device") if key in info),
            _rates(load, measured),
            _shares(setting, load, measured, rates),
        ]
    )
    data = {
        "load": load.described, "tokens": load.tokens, "texts": len(load.texts), "seconds": measured, "TFLOP/s of products": rates,
        "TFLOP a call": setting.files.size.flops(load.lengths) / 1e12, "info": info, "agreements": agreements,
    }  # fmt: skip
    return Found(text, data, _no_vectors(agreements))


def _no_vectors(agreements: Mapping[str, Agreement]) -> list[str]:
    """Contenders whose vectors are no vectors of these texts: how near they are is another section's to say."""
    return [
        f"{name}: vectors with a mean cosine of {each.cosine:.4f} with those of {REFERENCE}"
        for name, each in agreements.items()
        if not each.cosine > 0.99
    ]


def _encode(ask: Ask, texts: list[str], _: int) -> float:
    return float(ask(seconds_of, texts))


def _multiply(products: Ask, which: str, least: float, _: int) -> float:
    return float(products(rate_of, which, least))


def _rates(load: Load, measured: Mapping[str, list[float]]) -> str:
    rows = []
    for name, seconds in measured.items():
        ratios = [
            shown([theirs / own for own, theirs in zip(seconds, measured[other], strict=True)], 2)
            for other in (REFERENCE, BATCHED)
        ]
        texts = shown([len(load.texts) / each for each in seconds], 0)
        rows.append((name, texts, f"{load.tokens / statistics.median(seconds):,.0f}", *ratios))
    return report.table(("", "texts/s", "tokens/s", f"{REFERENCE} = 1", f"{BATCHED} = 1"), rows)


def _shares(setting: Setting, load: Load, measured: Mapping[str, list[float]], rates: Mapping[str, list[float]]) -> str:
    """TFLOP/s reached, and their share of what products alone reach in the same round and of what is published."""
    flops = setting.files.size.flops(load.lengths) / 1e12
    card = gpu_card.facts(setting.device)["device"]
    peak = gpu_card.published(card)
    columns = ["", "TFLOP/s", *(f"of {name}" for name in rates)]
    rows: list[tuple[str, ...]] = [(name, shown(found, 1), *("" for _ in rates)) for name, found in rates.items()]
    for name, seconds in measured.items():
        reached = [flops / each for each in seconds]
        shares = [percent([own / rate for own, rate in zip(reached, of, strict=True)]) for of in rates.values()]
        rows.append((name, shown(reached, 1), *shares))
    if peak is None:
        note = f"No published rate of dense bf16 products is known here for {card}."
    else:
        columns.append("of what is published")
        medians = [flops / statistics.median(seconds) for seconds in measured.values()]
        tops = [statistics.median(found) for found in rates.values()]
        rows = [(*row, f"{value / peak[0]:.1%}") for row, value in zip(rows, [*tops, *medians], strict=True)]
        note = f"Published for {card}: {peak[0]:,.0f} TFLOP/s of dense products in bf16 and fp16 ({peak[1]})."
    return f"{report.table(columns, rows)}\n\nA text's matrix products, attention's included, without padding. {note}"


def one_query(setting: Setting, precision: str, running: Processes) -> Found:
    """One query at a time."""
    ready = started(setting, precision, running)
    ready = {name: ready[name] for name in (OURS, REFERENCE)}
    queries = setting.loads["queries"].texts
    turns = {name: partial(_queries, ask, queries) for name, ask in ready.items()}
    measured = alternate("one query", turns, len(queries) // BLOCK)
    rows = []
    for name, blocks in measured.items():
        each = [seconds * 1000 for block in blocks for seconds in block]
        pairs = zip(blocks, measured[REFERENCE], strict=True)
        ratios = [statistics.median(own) / statistics.median(theirs) for own, theirs in pairs]
        rows.append((name, f"{percentile(each, 50):.2f} ms", f"{percentile(each, 99):.2f} ms", shown(ratios, 2)))
    described = f"{len(queries)} queries, one at a time, in {precision}: {setting.loads['queries'].described}"
    table = report.table(("", "p50", "p99", f"{REFERENCE}' p50 = 1"), rows)
    return Found(f"{described}\n\n{table}", measured)


def _queries(ask: Ask, queries: list[str], number: int) -> list[float]:
    return list(ask(latencies_of, queries[number * BLOCK : (number + 1) * BLOCK]))


def memory(setting: Setting, precision: str, running: Processes) -> Found:
    """What torch took of the device's memory."""
    ready = started(setting, precision, running)
    data: dict[str, Any] = {}
    rows = []
    for load in ("paragraphs", "documents"):
        for name, ask in ready.items():
            found = data[f"{load}, {name}"] = ask(memory_of, setting.device, setting.loads[load].texts)
            rows.append((load, name, *(f"{value:,.0f}" for value in found or ())))
    if not setting.device.startswith("cuda"):
        return Found("Of the memory of a CPU torch keeps no account.")
    columns = ("", "", "with the weights alone", "at most while encoding", "at most held by torch")
    return Found(f"In {precision}, MB of the device:\n\n{report.table(columns, rows)}", data)


def shown(values: list[float], digits: int) -> str:
    """The median, with the least and the most."""
    spread = Spread.of(values)
    median, least, most = (f"{value:,.{digits}f}" for value in (spread.median, spread.least, spread.most))
    return f"{median} ({least} to {most})"


def percent(values: list[float]) -> str:
    """The same of shares."""
    spread = Spread.of(values)
    return f"{spread.median:.1%} ({spread.least:.1%} to {spread.most:.1%})"
