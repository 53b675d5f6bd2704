"""`embedry compare`: the numbers are those of the vectors, and the heat map fits where it is shown."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from command_line import run
from embedry import resolve
from embedry.spec import SIMILARITIES, Similarity
from embedry.views import LazyEmbedder
from embedry_cli import compare

TEXTS = ["A cat sat on the mat.", "A kitten lay on the rug.", "Interest rates rose again."]


def numbers(out: str) -> list[list[float]]:
    """The cells of the first heat map: every line until a blank one, without its header and its names."""
    return [[float(cell) for cell in line.split()[1:]] for line in out.split("\n\n")[0].splitlines()[1:]]


def test_the_matrix_is_that_of_the_vectors(minilm: LazyEmbedder) -> None:
    vectors = minilm.encode_document(TEXTS)
    found = json.loads(run("compare", *TEXTS, "--json").out)
    np.testing.assert_allclose(found.pop("matrix"), vectors @ vectors.T, atol=1e-6)
    assert found == {"similarity": "cosine", "texts": TEXTS, "queries": None, "model": "all-MiniLM-L6-v2"}
    result = run("compare", *TEXTS)
    np.testing.assert_allclose(numbers(result.out), vectors @ vectors.T, atol=0.0051)
    listed = "".join(f"{number}  {text}\n" for number, text in enumerate(TEXTS, 1))
    (low, unlike), *_, (high, alike) = sorted(
        (vectors[one] @ vectors[two], f"{one + 1} and {two + 1}") for one, two in ((0, 1), (0, 2), (1, 2))
    )
    summary = f"cosine: least alike {unlike} ({low:.2f}), most alike {alike} ({high:.2f})"
    assert alike == "1 and 2"
    assert result.out.endswith(f"\n\n{listed}\n{summary}\n")


def test_texts_come_from_standard_input_and_two_are_enough() -> None:
    piped = run("compare", stdin="first\nsecond ☃\n".encode())
    assert piped.out == run("compare", "first", "second ☃").out
    assert "2  second ☃\n" in piped.out


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_similarity_is_that_of_sentence_transformers(similarity: Similarity) -> None:
    from sentence_transformers.util import SimilarityFunction

    rows, columns = (np.random.default_rng(seed).normal(size=(4 - seed, 7)).astype(np.float32) for seed in range(2))
    expected = SimilarityFunction.to_similarity_fn(similarity)(rows, columns).numpy()
    np.testing.assert_allclose(compare.matrix(similarity, rows, columns), expected, atol=1e-5)


def test_a_vector_of_zeros_is_like_nothing() -> None:
    zeros: NDArray[np.float32] = np.zeros((1, 3), dtype=np.float32)
    assert compare.matrix("cosine", zeros, np.eye(3, dtype=np.float32)).tolist() == [[0.0, 0.0, 0.0]]


def test_queries_and_texts_go_through_their_own_prompts(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})
    embedder = resolve(folder)
    documents, queries = embedder.encode_document(TEXTS), embedder.encode_query(["a pet", "money"])
    found = json.loads(run("compare", *TEXTS, "--model", folder, "--query", "a pet", "--query", "money", "--json").out)
    np.testing.assert_allclose(found["matrix"], queries @ documents.T, atol=1e-6)
    out = run("compare", TEXTS[0], "--model", folder, "--query", "a pet").out
    np.testing.assert_allclose(numbers(out), queries[:1] @ documents[:1].T, atol=0.0051)
    assert f"\nQ1  a pet\n 1  {TEXTS[0]}\n" in out
    asked = embedder.encode_query(TEXTS)
    found = json.loads(run("compare", *TEXTS, "--model", folder, "--role", "query", "--json").out)
    np.testing.assert_allclose(found["matrix"], asked @ asked.T, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alone"], "there is nothing to compare 1 text with; give two or more, or use --query"),
        ([], "there is nothing to compare 0 texts with"),
        (["--query", "alone"], "there is nothing to compare 0 texts with"),
        (["a", "b", "--role", "quarry"], "model 'all-MiniLM-L6-v2' has no role 'quarry'"),
        (["a", "b", "--model", "no-such"], "no model is called 'no-such'"),
    ],
)
def test_what_cannot_be_compared(arguments: list[str], message: str) -> None:
    result = run("compare", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")


def on_a_terminal(texts: list[str], columns: int, **environment: str) -> str:
    """What `compare` shows on a terminal that is so wide."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(columns)} | environment
    subprocess.run(
        [sys.executable, "-m", "embedry_cli", "compare", *texts],
        stdout=theirs, env=os.environ | settings, check=True, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def test_a_terminal_shows_colours_from_the_least_alike_to_the_most(minilm_folder: Path) -> None:
    shown = on_a_terminal(TEXTS, 80)
    cells = re.findall(r"\x1b\[([\d;]*)m +(-?\d\.\d\d) ", shown)
    looks = {value: look for look, value in cells}
    values = sorted(looks, key=float)
    assert looks.pop("1.00") == "2"  # its own likeness has no colour
    assert looks[values[0]] == "38;2;255;255;255;48;2;68;1;84"  # white on the dark end of the scale
    assert looks[values[-2]] == "38;2;0;0;0;48;2;253;231;37"  # black on the bright end
    assert "\x1b[" not in run("compare", *TEXTS).out
    assert "48;" not in on_a_terminal(TEXTS, 80, NO_COLOR="1")


def test_a_narrow_terminal_gets_the_columns_below_each_other(minilm_folder: Path) -> None:
    texts = [f"the text that has the number {number} of them all" for number in range(1, 8)]
    lines = ESCAPES.sub("", on_a_terminal(texts, 30)).splitlines()
    assert max(map(len, lines)) <= 30
    headers = [line.split() for line in lines if re.fullmatch(r"[\d ]+", line)]
    assert headers == [["1", "2", "3", "4"], ["5", "6", "7"]]
    assert "1  the text that has the numb…" in lines
    cells = [cell for line in lines for cell in re.findall(r"\d\.\d\d ", line)]
    assert len(cells) == 49


def test_the_colours_of_two_texts_that_are_alike() -> None:
    (own, one), (other, _) = compare._styles(np.array([[np.nan, 0.9], [0.9, np.nan]], dtype=np.float32))
    assert own.bgcolor is None
    assert one == other
    assert one.bgcolor is not None
    assert one.bgcolor.triplet == (33, 145, 140)  # the middle: there is nothing to tell apart
