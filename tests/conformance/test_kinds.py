"""Models of every kind pass the kit, and each of its checks of a kind fails where its rule is broken."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import kind_entries
from embedry import LazyReranker, LazySparseEmbedder, ModelSpec, Ranked, SparseVectors, SpecError, TokenVectors
from embedry._pipeline import pipeline, readers, texts
from embedry._pipeline import results as collecting
from embedry.chains import Kind
from embedry.testing import CHECKS, Conformance, Golden, NotApplicable, Subject, Violation, description, run
from embedry.testing.texts import MIXED
from entries import resource

Entries = Callable[[Kind, str], ModelSpec]
Break = Callable[[pytest.MonkeyPatch], None]
Floats = NDArray[np.float32]


@pytest.fixture
def entry(kind_folder: Callable[[Kind, str], Path]) -> Entries:
    """A factory of the entries of small models with random weights."""
    return lambda kind, name: kind_entries.ENTRIES[kind][name](kind_folder(kind, name))


class TestKinds(Conformance):
    """One model of each head on the default engine, and one of each kind on OpenVINO."""

    @pytest.fixture(
        params=[
            ("onnxruntime", "reranker", "bert"),
            ("onnxruntime", "reranker", "saved modernbert"),
            ("onnxruntime", "sparse", "bert"),
            ("onnxruntime", "sparse", "router"),
            ("onnxruntime", "multi_vector", "bert, expansion"),
            ("openvino", "reranker", "bert"),
            ("openvino", "sparse", "bert"),
            ("openvino", "multi_vector", "bert, expansion"),
        ],
        ids=" ".join,
    )
    def subject(self, request: pytest.FixtureRequest, entry: Entries) -> Subject:
        backend, kind, name = request.param
        return Subject(entry(kind, name), backend=backend)


@pytest.mark.parametrize("check", CHECKS)
def test_a_decoder_that_judges_pairs(entry: Entries, check: str) -> None:
    """On transformers, but for what needs a process of its own, which takes long there."""
    if check in ("lasts", "survives_fork", "lazy"):
        pytest.skip("it starts a process")
    try:
        run(check, Subject(entry("reranker", "saved qwen3 decoder"), backend="transformers"))
    except NotApplicable as answer:
        pytest.skip(str(answer))


# That each check can fail.

MUTANTS: list[tuple[Kind, str, str, str]] = [
    ("reranker", "bert", "ignores_segments", "both_sides"),
    ("reranker", "bert", "ignores_the_order", "both_sides"),
    ("sparse", "bert", "negative_weights", "term_weights"),
    ("multi_vector", "bert", "drops_a_token_vector", "token_counts"),
]


def fails(check: str, subject: Subject) -> None:
    with pytest.raises(Violation) as caught:
        run(check, subject)
    assert str(caught.value).startswith(description(CHECKS[check]))


@pytest.mark.parametrize(("kind", "name", "mutant", "check"), MUTANTS, ids=lambda part: part)
def test_a_backend_with_a_rule_broken_fails_its_check(
    kind: Kind, name: str, mutant: str, check: str, entry: Entries, mutants: None
) -> None:
    run(check, Subject(entry(kind, name), backend="onnxruntime"))
    fails(check, Subject(entry(kind, name), backend=mutant))


def ranks_by_score(patch: pytest.MonkeyPatch) -> None:
    """In which a saturated sigmoid makes documents equal that are not."""

    def ranked(self: LazyReranker, logits: Floats, top_k: int | None = None) -> list[Ranked]:
        scores = self.shown(logits)
        return [Ranked(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")[:top_k]]

    patch.setattr(LazyReranker, "ranked", ranked)


def ranks_equal_ones_backwards(patch: pytest.MonkeyPatch) -> None:
    """As a stable order that is turned round."""

    def ranked(self: LazyReranker, logits: Floats, top_k: int | None = None) -> list[Ranked]:
        scores = self.shown(logits)
        order = np.argsort(logits[:, 0], kind="stable")[::-1]
        return [Ranked(int(place), float(scores[place])) for place in order[:top_k]]

    patch.setattr(LazyReranker, "ranked", ranked)


def shows_the_distance_from_zero(patch: pytest.MonkeyPatch) -> None:
    """A score that falls where the logit grows."""
    patch.setattr(LazyReranker, "shown", lambda self, logits: np.abs(logits[:, 0]).astype(np.float64))


def reports_no_long_queries(patch: pytest.MonkeyPatch) -> None:
    """A truncated query that nobody hears of."""
    patch.setattr(pipeline, "truncated_queries_of", lambda read: [])


def takes_any_two_for_a_pair(patch: pytest.MonkeyPatch) -> None:
    """Such as the letters of a text."""
    patch.setattr(texts, "_checked_pair", lambda pair, position: (str(pair[0]), str(pair[1])))


def lists_terms_backwards(patch: pytest.MonkeyPatch) -> None:
    """From the last id to the first."""
    real = collecting.SparseRows.collected

    def collected(self: Any, room: Any, inverse: Any) -> SparseVectors:
        return real(self, [(indices[::-1], values[::-1]) for indices, values in room], inverse)

    patch.setattr(collecting.SparseRows, "collected", collected)


def computes_what_a_table_says(patch: pytest.MonkeyPatch) -> None:
    """Of an inference-free model, queries by the transformer."""
    patch.delattr(LazySparseEmbedder, "_pipeline")


def drops_the_last_vector(patch: pytest.MonkeyPatch) -> None:
    """Of each text."""
    real = collecting.TokenRows.collected

    def collected(self: Any, room: Any, inverse: Any) -> TokenVectors:
        return real(self, [vectors[:-1] for vectors in room], inverse)

    patch.setattr(collecting.TokenRows, "collected", collected)


def fills_up_no_query(patch: pytest.MonkeyPatch) -> None:
    """Leaves queries as short as they are."""
    patch.setattr(readers, "_filled_up", lambda token, end, row: row)


BREAKS: list[tuple[Kind, str, Break, str]] = [
    ("reranker", "bert", ranks_by_score, "ranking"),
    ("reranker", "bert", ranks_equal_ones_backwards, "ranking"),
    ("reranker", "bert", shows_the_distance_from_zero, "scores"),
    ("reranker", "bert", reports_no_long_queries, "overflow"),
    ("reranker", "bert", takes_any_two_for_a_pair, "bad_input"),
    ("sparse", "bert", lists_terms_backwards, "term_weights"),
    ("sparse", "router", computes_what_a_table_says, "term_weights"),
    ("multi_vector", "bert, expansion", drops_the_last_vector, "token_counts"),
    ("multi_vector", "bert, expansion", fills_up_no_query, "token_counts"),
]


@pytest.mark.parametrize(("kind", "name", "broken", "check"), BREAKS, ids=lambda part: getattr(part, "__name__", part))
def test_a_rule_broken_above_the_engine_fails_its_check(
    kind: Kind, name: str, broken: Break, check: str, entry: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(entry(kind, name), backend="onnxruntime")
    run(check, subject)
    broken(monkeypatch)
    fails(check, subject)


# Golden results.

GOLDEN: list[tuple[Kind, str]] = [("reranker", "bert"), ("sparse", "bert"), ("multi_vector", "bert, expansion")]


@pytest.mark.parametrize(("kind", "name"), GOLDEN)
def test_golden_results_of_every_kind_come_back_from_a_file_and_are_compared(
    kind: Kind, name: str, entry: Entries, tmp_path: Path
) -> None:
    """Made by the model itself here, and then by one whose values are all a little larger."""
    spec = entry(kind, name)
    model = Subject(spec, backend="onnxruntime").embedder
    cases: list[Any] = [("when?", text) for text in MIXED] if kind == "reranker" else list(MIXED)
    found = (model.logits if kind == "reranker" else model.encode)(cases, role="query")
    roles = ("query",) * len(cases)
    Golden(tuple(cases), roles, found, {"made with": "this"}).write(tmp_path / "golden.json")
    read = Golden.read(tmp_path / "golden.json")
    assert (read.texts, read.roles, read.provenance) == (tuple(cases), roles, {"made with": "this"})
    assert type(read.vectors) is type(found)
    for one, other in zip(as_numbers(read.vectors), as_numbers(found), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    run("golden_vectors", Subject(replace(spec, golden=resource(tmp_path / "golden.json"))))
    values = read.vectors if isinstance(read.vectors, np.ndarray) else read.vectors.values
    values *= np.float32(1.001)
    read.write(tmp_path / "other.json")
    fails("golden_vectors", Subject(replace(spec, golden=resource(tmp_path / "other.json"))))


def as_numbers(results: Any) -> list[Floats]:
    """All arrays that results are made of."""
    names = ("indptr", "indices", "offsets", "values")
    return [results] if isinstance(results, np.ndarray) else [getattr(results, n) for n in names if hasattr(results, n)]


def test_a_golden_file_of_sparse_weights_without_the_size_of_the_vocabulary_is_malformed(tmp_path: Path) -> None:
    case = {"role": "query", "text": "a", "indices": [1], "values": [0.5]}
    (tmp_path / "golden.json").write_text(json.dumps({"provenance": {}, "cases": [case]}))
    with pytest.raises(SpecError, match="cannot be read: KeyError\\('dims'\\)"):
        Golden.read(tmp_path / "golden.json")
