"""EmbedryReranker orders what LanceDB's searches found, by vectors, of full text and hybrid, in any process."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS
from lancedb.query import BooleanQuery, MatchQuery

from embedry import LazyEmbedder, ModelSpec, OptionError, UnsupportedModelError, resolve, resolve_reranker
from embedry_lancedb import EmbedryReranker
from kind_models import registered
from kind_processes import registering

TEXTS = [
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
    "Whoever wants cash back asks within 14 days.",
]
QUESTION = "When do I get cash back?"


@pytest.fixture
def table(minilm: LazyEmbedder, tmp_path: Path) -> Any:
    rows = [
        {"text": text, "page": page, "vector": vector}
        for page, (text, vector) in enumerate(zip(TEXTS, minilm.encode_document(TEXTS), strict=True))
    ]
    made = lancedb.connect(tmp_path / "db").create_table("notes", rows)
    made.create_index("text", config=FTS())
    return made


def vector(text: str = QUESTION) -> np.ndarray[Any, Any]:
    return resolve("minilm").encode_query([text])[0]


def ranked(spec: ModelSpec, pages: list[int], question: str = QUESTION) -> list[tuple[int, float]]:
    """The pages and their scores, which LanceDB keeps as float32."""
    scores = resolve_reranker(spec).score([(question, TEXTS[page]) for page in pages])
    return [(pages[at], float(np.float32(scores[at]))) for at in np.argsort(-scores, kind="stable")]


def pages_of(found: pa.Table) -> list[tuple[int, float]]:
    return list(zip(found["page"].to_pylist(), found["_relevance_score"].to_pylist(), strict=True))


def test_a_search_of_each_type_is_ordered_by_the_model(reranker: ModelSpec, table: Any) -> None:
    model = EmbedryReranker(reranker.name)
    near = table.search(vector()).limit(4)
    pages = near.to_arrow()["page"].to_pylist()
    assert pages != [page for page, _ in ranked(reranker, pages)]  # else the order would tell nothing
    found = near.rerank(model, query_string=QUESTION).to_arrow()
    assert pages_of(found) == ranked(reranker, pages)
    assert "_distance" not in found.column_names

    for query in (QUESTION, MatchQuery(QUESTION, "text")):
        found = table.search(query, query_type="fts").rerank(model).to_arrow()
        assert pages_of(found) == ranked(reranker, [1, 4])  # those with "cash" or "back"
        assert "_score" not in found.column_names

    hybrid = table.search(query_type="hybrid").vector(vector()).text(QUESTION).limit(2)
    both = {1, 4} | set(table.search(vector()).limit(2).to_arrow()["page"].to_pylist())
    assert pages_of(hybrid.rerank(model).to_arrow()) == ranked(reranker, sorted(both))[:2]


def test_the_scores_of_the_searches_are_kept_where_they_are_asked_for(reranker: ModelSpec, table: Any) -> None:
    hybrid = table.search(query_type="hybrid").vector(vector()).text(QUESTION).limit(3)
    distances = {row["page"]: row["_distance"] for row in table.search(vector()).limit(3).to_list()}
    scores = {row["page"]: row["_score"] for row in table.search(QUESTION, query_type="fts").limit(3).to_list()}
    assert set(distances) != set(scores)
    hybrid.limit(5)
    distances = {row["page"]: row["_distance"] for row in table.search(vector()).limit(5).to_list()}
    found = hybrid.rerank(EmbedryReranker(reranker, return_score="all")).to_arrow()
    assert found.schema.field("vector").type == table.schema.field("vector").type
    assert {row["page"]: (row["_distance"], row["_score"]) for row in found.to_pylist()} == {
        page: (pytest.approx(distances[page], abs=1e-6), pytest.approx(scores[page]) if page in scores else None)
        for page in range(5)
    }
    assert pages_of(found) == ranked(reranker, list(range(5)))


def test_filters_and_searches_that_find_nothing(reranker: ModelSpec, table: Any) -> None:
    model = EmbedryReranker(reranker)
    hybrid = table.search(query_type="hybrid").vector(vector()).text("zebra").where("page > 2")
    assert pages_of(hybrid.rerank(model).to_arrow()) == ranked(reranker, [3, 4], "zebra")
    for score in ("relevance", "all"):
        one = EmbedryReranker(reranker, return_score=score)  # type: ignore[arg-type]
        found = table.search(query_type="hybrid").vector(vector()).text("zebra").rerank(one).to_arrow()
        assert pages_of(found) == ranked(reranker, list(range(5)), "zebra")
        nothing = table.search("zebra", query_type="fts").rerank(one).to_arrow()
        assert pages_of(nothing) == []
        nowhere = table.search(query_type="hybrid").vector(vector()).text("zebra").where("page > 9")
        assert pages_of(nowhere.rerank(one).to_arrow()) == []


def test_another_process_opens_the_table_and_answers_the_same(
    reranker: ModelSpec, table: Any, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    result = fresh(
        f"{registering(reranker)}"
        "import lancedb\n"
        "from embedry_lancedb import EmbedryReranker\n"
        "table = lancedb.connect('db').open_table('notes')\n"
        f"(vector,) = embedry.resolve('minilm').encode_query([{QUESTION!r}])\n"
        f"hybrid = table.search(query_type='hybrid').vector(vector).text({QUESTION!r}).limit(3)\n"
        f"found = hybrid.rerank(EmbedryReranker({reranker.name!r})).to_list()\n"
        "print(json.dumps([[row['page'], row['_relevance_score']] for row in found]))"
    )
    hybrid = table.search(query_type="hybrid").vector(vector()).text(QUESTION).limit(3)
    here = pages_of(hybrid.rerank(EmbedryReranker(reranker)).to_arrow())
    assert len(here) == 3
    assert [tuple(row) for row in json.loads(result.stdout)] == here


def test_a_model_is_given_in_any_form_and_another_column_read(reranker: ModelSpec, table: Any) -> None:
    model = resolve_reranker(reranker)
    for given in (reranker.name, reranker, model):
        assert EmbedryReranker(given).reranker is model
    assert EmbedryReranker(reranker, threads=1).reranker.config.threads == 1
    assert str(EmbedryReranker(reranker)) == "EmbedryReranker('tiny-reranker')"
    renamed = lancedb.connect("memory://").create_table(
        "other", table.to_arrow().rename_columns(["note", "page", "vector"])
    )
    found = renamed.search(vector()).rerank(EmbedryReranker(reranker, column="note"), query_string=QUESTION)
    assert pages_of(found.to_arrow()) == ranked(reranker, list(range(5)))
    with pytest.raises(OptionError, match="there is no column 'text' to rank by among note, page, vector"):
        renamed.search(vector()).rerank(EmbedryReranker(reranker), query_string=QUESTION).to_arrow()


def test_what_cannot_rank_is_refused(root: Path, reranker: ModelSpec, table: Any) -> None:
    with pytest.raises(OptionError, match="3 scores per pair"):
        EmbedryReranker(registered(root, "reranker", "bert, 3 labels", name="three", repo="acme/three"))
    with pytest.raises(UnsupportedModelError, match="resolve"):
        EmbedryReranker("minilm")
    with pytest.raises(OptionError, match="already has its options"):
        EmbedryReranker(resolve_reranker(reranker), threads=1)
    with pytest.raises(ValueError, match="score must be"):
        EmbedryReranker(reranker, return_score="none")  # type: ignore[arg-type]
    both = MatchQuery("cash", "text") & MatchQuery("back", "text")
    assert isinstance(both, BooleanQuery)
    with pytest.raises(TypeError, match="must be a str, or a full-text query with one"):
        table.search(both, query_type="fts").rerank(EmbedryReranker(reranker)).to_arrow()
