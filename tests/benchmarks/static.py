"""A static model beside model2vec, on the same table, and beside the tokenizer alone: `python tests/benchmarks/static.py`.

The table is random, of 256 values for each token of all-MiniLM-L6-v2's vocabulary: speed does not depend on what the values are.
The texts are of 4 to 12 words, all different. With `--write` the table goes into docs/benchmarks.md.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import model_files
import numpy as np
import report
from contenders import CACHE, COMPLETE
from model2vec import StaticModel
from results import Spread
from tokenizers import Tokenizer
from turns import alternate

from embedry import resolve

BEGIN, END = "<!-- static: written by the benchmark -->", "<!-- end of static -->"

FOLDER = CACHE / "benchmarks" / "static"
WIDTH = 256
COUNT = 50_000
ROUNDS = 5
BLOCK = 1024
"""Texts that model2vec tokenizes at a time."""


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="a static model beside model2vec")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    model_files.prepare()
    tokenizer = Tokenizer.from_file(str(COMPLETE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    save(tokenizer, FOLDER)
    texts = short_texts(tokenizer)
    embedder, model = resolve(FOLDER), StaticModel.from_pretrained(FOLDER)
    difference = float(np.abs(embedder.encode_document(texts[:500]) - model.encode(texts[:500])).max())
    if difference > 1e-5:
        raise SystemExit(f"the vectors differ by {difference}")

    def tokenize(texts: list[str]) -> object:
        parts = (texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK))
        return [tokenizer.encode_batch_fast(part, add_special_tokens=False) for part in parts]

    work: dict[str, Callable[[list[str]], object]] = {
        "embedry": embedder.encode_document,
        "model2vec": model.encode,
        "the tokenizer alone": tokenize,
    }
    rates = alternate("static", {name: lambda _, call=call: rate(call, texts) for name, call in work.items()}, ROUNDS)
    rows = []
    for name, found in rates.items():
        share = Spread.of([own / wall for own, wall in zip(found, rates["the tokenizer alone"], strict=True)])
        rows.append(
            (name, f"{statistics.median(found):,.0f}", f"{share.median:.2f} ({share.least:.2f} to {share.most:.2f})")
        )
    table = report.table(("", "texts/s", "the tokenizer = 1"), rows)
    print(table)
    if arguments.write:
        report.write(table, report.PAGE, BEGIN, END)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """A model as model2vec has it on the hub."""
    if folder.exists():
        return
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), WIDTH)).astype(np.float32)
    StaticModel(table, tokenizer, normalize=True).save_pretrained(folder)
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "model2vec"}), encoding="utf-8")


def short_texts(tokenizer: Tokenizer) -> list[str]:
    """Words of the vocabulary, the same in every run."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())
    chance = random.Random(0)
    return [" ".join(chance.choices(words, k=chance.randint(4, 12))) for _ in range(COUNT)]


def rate(call: Callable[[list[str]], object], texts: list[str]) -> float:
    """Texts a second."""
    start = time.perf_counter()
    call(texts)
    return len(texts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
