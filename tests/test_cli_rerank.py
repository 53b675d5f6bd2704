"""`embedry rerank` and `embedry search --rerank`: texts in the order of a reranker, with its scores and their places."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import kind_references as reference
from command_line import run
from embedry import LazyEmbedder, LazyReranker, ModelSpec
from kind_models import registered
from test_cli_search import MANUAL

QUESTION = "when do I need new brake pads?"
LINES = [line for line in MANUAL.splitlines() if line]


@pytest.fixture
def model(root: Path) -> ModelSpec:
    """A reranker that shows its logits, so that scores of random weights are far from each other."""
    return registered(root, "reranker", "bert, Identity")


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    path = tmp_path / "manual.md"
    path.write_text(MANUAL, encoding="utf-8")
    return path


def expected(spec: ModelSpec, texts: list[str], question: str = QUESTION) -> list[tuple[float, str]]:
    """Scores and texts in the order of sentence-transformers."""
    assert spec.folder is not None
    scores = reference.shown_scores(Path(spec.folder), [(question, text) for text in texts])
    return sorted(zip(scores.tolist(), texts, strict=True), key=lambda hit: -hit[0])


def test_lines_come_in_the_order_of_sentence_transformers(model: ModelSpec, manual: Path) -> None:
    result = run("rerank", QUESTION, manual, "--model", model.name, "--json", "--top", "100")
    assert (result.code, result.err) == (0, "")
    hits = json.loads(result.out)
    wanted = expected(model, LINES)
    assert len(wanted) == 9, "lines that are blank are left out"
    np.testing.assert_allclose([hit["score"] for hit in hits], [score for score, _ in wanted], atol=2e-5)
    assert [hit["text"] for hit in hits] == [text for _, text in wanted]
    places = {f"{manual}:{number}": line for number, line in enumerate(MANUAL.splitlines(), 1)}
    assert all(places[hit["place"]] == hit["text"] for hit in hits)


def test_a_person_is_shown_the_best_with_score_and_place(model: ModelSpec, manual: Path) -> None:
    hits = json.loads(run("rerank", QUESTION, manual, "--model", model.name, "--json", "--top", "2").out)
    assert len(hits) == 2
    shown = run("rerank", QUESTION, manual, "--model", model.name, "--top", "2").out.splitlines()
    assert [line.rstrip() for line in shown] == [
        line for hit in hits for line in (f"{hit['score']:.3f}  {hit['place']}", f"       {hit['text']}")
    ]
    assert len(run("rerank", QUESTION, manual, "--model", model.name).out.splitlines()) == 2 * 5


def test_every_input_gives_the_same(model: ModelSpec, manual: Path, tmp_path: Path) -> None:
    rows = [{"number": number, "passage": line} for number, line in enumerate(LINES)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    options = ("--model", model.name, "--json", "--top", "3")
    by_line = json.loads(run("rerank", QUESTION, manual, *options).out)
    for name, place in (("in.jsonl", "in.jsonl:{}"), ("in.parquet", "in.parquet, row {}")):
        result = run("rerank", QUESTION, tmp_path / name, *options, "--column", "passage")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert [hit["text"] for hit in found] == [hit["text"] for hit in by_line]
        assert found[0]["place"] == f"{tmp_path}/{place.format(1 + LINES.index(found[0]['text']))}"
    piped = json.loads(run("rerank", QUESTION, *options, stdin=MANUAL.encode()).out)
    assert [hit["text"] for hit in piped] == [hit["text"] for hit in by_line]
    assert piped[0]["place"] == f"-:{1 + MANUAL.splitlines().index(piped[0]['text'])}"


def test_equal_texts_stay_in_their_order(model: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the same\nanother\nthe same\nthe same\n")
    hits = json.loads(run("rerank", QUESTION, tmp_path / "in.txt", "--model", model.name, "--json").out)
    assert [hit["place"].rpartition(":")[2] for hit in hits if hit["text"] == "the same"] == ["1", "3", "4"]


def test_blocks_do_not_change_the_answer(model: ModelSpec, manual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(run("rerank", QUESTION, manual, "--model", model.name, "--json").out)
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 2)
    blocks = json.loads(run("rerank", QUESTION, manual, "--model", model.name, "--json").out)
    assert [hit["place"] for hit in blocks] == [hit["place"] for hit in whole]
    np.testing.assert_allclose([hit["score"] for hit in blocks], [hit["score"] for hit in whole], atol=1e-5)


def test_texts_that_are_cut_are_named_by_their_places(model: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("short\n" + "river " * 90 + "\n\n" + "music " * 80 + "\n")
    result = run("rerank", QUESTION, tmp_path / "in.txt", "--model", model.name)
    assert result.code == 0
    assert result.err == (
        f"warning: 2 of 3 texts are longer than the 64 tokens that the model reads, and cut: {tmp_path}/in.txt:2, "
        f"{tmp_path}/in.txt:4\n"
    )


def test_what_is_wrong_with_the_question_is_told(model: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("short\n" + "river " * 90 + "\n")
    result = run("rerank", "what " * 50, tmp_path / "in.txt", "--model", model.name)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: the question is too long to be read beside {tmp_path}/in.txt:2: the model reads 64 tokens of both; "
        "shorten it\n"
    )
    result = run("rerank", "\udcff", tmp_path / "in.txt", "--model", model.name)
    assert result.code == 2
    assert "in.txt" not in result.err
    assert "is not UTF-8" in result.err


def test_what_is_wrong_with_a_text_is_told_by_its_place(model: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n{"text": "\\ud800"}\n')
    result = run("rerank", QUESTION, tmp_path / "in.jsonl", "--model", model.name)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {tmp_path}/in.jsonl:2: ")


def test_nothing_to_rank_is_an_error(model: ModelSpec) -> None:
    result = run("rerank", QUESTION, "--model", model.name, stdin=b"\n  \n")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: there is no text to rank; pass files, or pipe text in\n"


def test_a_model_of_several_scores_does_not_rank(root: Path, manual: Path) -> None:
    model = registered(root, "reranker", "bert, 3 labels")
    for command in (("rerank", QUESTION, manual, "--model"), ("search", QUESTION, manual, "--rerank")):
        result = run(*command, model.name)
        assert (result.code, result.out) == (2, "")
        assert result.err == "error: 'tiny-reranker' gives 3 scores per pair, so it cannot rank; use another\n"


def test_an_embedder_does_not_rerank(manual: Path) -> None:
    for command in (("rerank", QUESTION, manual, "--model"), ("search", QUESTION, manual, "--rerank")):
        result = run(*command, "minilm")
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "error: 'all-MiniLM-L6-v2' is a dense model, and this takes a reranker; "
            "use: embedry embed --kind dense --model minilm\n"
        )


def passages(*arguments: object) -> list[dict[str, Any]]:
    """What `embedry search` finds."""
    result = run("search", QUESTION, *arguments, "--json")
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def test_a_search_is_reranked(model: ModelSpec, manual: Path, minilm: LazyEmbedder) -> None:
    by_meaning = passages(manual)
    assert len(by_meaning) == 3
    wanted = expected(model, [hit["text"] for hit in by_meaning])
    found = passages(manual, "--rerank", model.name)
    assert [hit["text"] for hit in found] == [text for _, text in wanted]
    np.testing.assert_allclose([hit["score"] for hit in found], [score for score, _ in wanted], atol=2e-5)
    assert {hit["line"] for hit in found} == {1, 7, 13}
    shown = run("search", QUESTION, manual, "--rerank", model.name, "--top", "1").out.splitlines()
    assert shown[0] == f"{found[0]['score']:.3f}  {manual}:{found[0]['line']}"


def test_the_reranker_reads_so_many_candidates(
    model: ModelSpec, manual: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_meaning = [hit["text"] for hit in passages(manual)]
    read: list[list[str]] = []
    real = LazyReranker.rank

    def rank(self: LazyReranker, query: str, documents: list[str], **options: Any) -> object:
        read.append(documents)
        return real(self, query, documents, **options)

    monkeypatch.setattr(LazyReranker, "rank", rank)
    found = passages(manual, "--rerank", model.name, "--candidates", "2", "--top", "1")
    assert read == [by_meaning[:2]]
    assert len(found) == 1
    passages(manual, "--rerank", model.name, "--candidates", "1", "--top", "3")
    assert read[1:] == [by_meaning], "never fewer than are shown"


def test_candidates_are_those_of_a_reranker(manual: Path) -> None:
    result = run("search", QUESTION, manual, "--candidates", "9")
    assert (result.code, result.out) == (2, "")
    assert "give --rerank MODEL too" in result.err
