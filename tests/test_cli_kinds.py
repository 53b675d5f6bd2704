"""What the commands do with models of every kind: vectors of terms and of tokens in files, entries in words, and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet as pq

import kind_references as reference
from command_line import run
from embedry import (
    LateInteraction,
    ModelSpec,
    Normalize,
    Pooling,
    resolve,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
)
from embedry.chains import Kind
from embedry_cli import timings
from kind_folders import WIDTH
from kind_models import registered

TEXTS = ["the early river", "", "seven clouds against the market, because of the music", "the early river"]


NAMED = {"name": "another", "repo": "acme/another"}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("".join(text + "\n" for text in TEXTS))
    return path


@pytest.mark.parametrize("role", ["query", "document"])
def test_sparse_vectors_are_written_as_two_lists(root: Path, lines: Path, tmp_path: Path, role: str) -> None:
    model = registered(root, "sparse", "bert, prompts")
    expected = resolve_sparse(model.name).encode(TEXTS, role=role)
    assert len(expected.indices) > 100
    for name in ("out.jsonl", "out.parquet"):
        result = run("embed", lines, "--model", model.name, "--role", role, "--to", tmp_path / name)
        assert result.code == 0, result.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "out.parquet")
    for found in (rows, table.to_pylist()):
        assert [row["text"] for row in found] == TEXTS
        dense = np.zeros((len(TEXTS), model.dims))
        for row, weights in zip(found, dense, strict=True):
            assert list(row["embedding"]) == ["indices", "values"]
            assert sorted(row["embedding"]["indices"]) == row["embedding"]["indices"]
            weights[row["embedding"]["indices"]] = row["embedding"]["values"]
        np.testing.assert_allclose(dense, expected.to_dense(), atol=2e-5)
    assert (
        str(table.schema.field("embedding").type)
        == "struct<indices: list<element: int32>, values: list<element: float>>"
    )


def test_vectors_of_tokens_are_written_as_lists_of_lists(root: Path, lines: Path, tmp_path: Path) -> None:
    model = registered(root, "multi_vector", "bert, expansion")
    for role, tokens in (("document", None), ("query", 24)):
        expected = resolve_multi_vector(model.name).encode(TEXTS, role=role)
        assert tokens is None or {len(vectors) for vectors in expected} == {tokens}
        for name in ("out.jsonl", "out.parquet"):
            to = tmp_path / f"{role}-{name}"
            result = run("embed", lines, "--model", model.name, "--role", role, "--to", to, "--vector-column", "v")
            assert result.code == 0, result.err
        rows = [json.loads(line) for line in (tmp_path / f"{role}-out.jsonl").read_text().splitlines()]
        table = pq.read_table(tmp_path / f"{role}-out.parquet")
        for found in (rows, table.to_pylist()):
            for row, vectors in zip(found, expected, strict=True):
                assert len(row["v"]) == len(vectors)
                np.testing.assert_allclose(row["v"], vectors, atol=2e-5)
        assert table.schema.field("v").type.value_type.list_size == 16


def test_npy_has_no_place_for_vectors_of_other_kinds(root: Path, lines: Path, tmp_path: Path) -> None:
    for kind in ("sparse", "multi_vector"):
        model = registered(root, kind)
        result = run("embed", lines, "--model", model.name, "--to", tmp_path / "out.npy")
        assert (result.code, result.out) == (2, "")
        assert f"not those of a {kind} model; write .jsonl or .parquet" in result.err
        assert not (tmp_path / "out.npy").exists()


def test_queries_of_an_inference_free_model_are_read_by_its_table(root: Path, lines: Path, tmp_path: Path) -> None:
    model = registered(root, "sparse", "router")
    result = run("embed", lines, "--model", model.name, "--role", "query", "--to", tmp_path / "out.jsonl")
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert model.folder is not None
    expected = reference.sparse(Path(model.folder), TEXTS, "query")
    for row, weights in zip(rows, expected, strict=True):
        assert row["embedding"]["indices"] == np.flatnonzero(weights).tolist()
        np.testing.assert_array_equal(row["embedding"]["values"], weights[weights > 0])
    assert [len(row["embedding"]["indices"]) for row in rows] == [3, 0, 14, 3]


def test_tokens_are_counted_as_they_are_read_in_the_role(root: Path, tmp_path: Path) -> None:
    model = registered(root, "multi_vector", "bert, expansion")
    (tmp_path / "in.txt").write_text("river " * 30 + "\n" + "river " * 60 + "\n")
    for role, cut, most in (
        ("query", "2 of 2 texts are longer than the 24", 24),
        ("document", "1 of 2 texts is longer than the 48", 48),
    ):
        to = tmp_path / f"{role}.jsonl"
        result = run("embed", tmp_path / "in.txt", "--model", model.name, "--role", role, "--to", to, "--stats")
        assert result.code == 0
        assert cut in result.err
        assert f"95% of the texts have at most {most}," in result.err


def test_a_query_that_is_filled_up_beyond_what_is_read_is_counted(root: Path, lines: Path, tmp_path: Path) -> None:
    *before, end = registered(root, "multi_vector", "bert, expansion").chain
    assert isinstance(end, LateInteraction)
    chain = (*before, replace(end, query_length=8))
    model = registered(root, "multi_vector", "bert, expansion", **NAMED, chain=chain)
    result = run("embed", lines, "--model", model.name, "--role", "query", "--to", tmp_path / "o.jsonl", "--stats")
    assert result.code == 0, result.err
    assert "median 24, 95% of the texts have at most 24" in result.err


@pytest.fixture
def several(root: Path) -> ModelSpec:
    """A model that gives pooled vectors, and those of tokens."""
    tokens = registered(root, "multi_vector").chain
    pooled = (Pooling(mode="mean"), Normalize())
    return registered(root, "multi_vector", **NAMED, chain=pooled, dims=WIDTH, other_chains=(tokens,))


def test_a_kind_is_chosen_where_a_model_gives_several(several: ModelSpec, lines: Path, tmp_path: Path) -> None:
    expected = resolve(several.name).encode(TEXTS, role="document")
    result = run("embed", lines, "--model", several.name, "--to", tmp_path / "out.npy")
    assert result.code == 0, result.err
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)
    run("embed", lines, "--model", several.name, "--kind", "multi_vector", "--to", tmp_path / "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["embedding"]
    np.testing.assert_allclose(first, resolve_multi_vector(several.name).encode(TEXTS, role="document")[0], atol=1e-6)
    result = run("embed", lines, "--model", several.name, "--kind", "sparse", "--to", tmp_path / "out.jsonl")
    assert result.code == 2
    assert "is a dense model, and this takes a sparse model" in result.err


REFUSED: dict[str, tuple[list[str], str]] = {
    "embed": (["embed", "IN", "--to", "-", "--model"], "a dense model or a sparse model or a multi-vector model"),
    "search": (["search", "a", "IN", "--model"], "a dense model"),
    "compare": (["compare", "a", "b", "--model"], "a dense model"),
    "map": (["map", "IN", "--to", "OUT.html", "--model"], "a dense model"),
    "bench": (["bench"], "a dense model or a sparse model or a multi-vector model"),
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_for_embedders_names_the_one_for_rerankers(
    command: str, root: Path, lines: Path, tmp_path: Path
) -> None:
    model = registered(root, "reranker")
    arguments, takes = REFUSED[command]
    places = {"IN": str(lines), "OUT.html": str(tmp_path / "out.html")}
    result = run(*(places.get(each, each) for each in arguments), model.name)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: 'tiny-reranker' is a reranker, and this takes {takes}; "
        "use: embedry rerank QUESTION FILE... --model tiny-reranker\n"
    )
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("command", ["search", "compare", "map"])
def test_a_command_for_dense_vectors_names_the_one_for_others(
    command: str, root: Path, lines: Path, tmp_path: Path
) -> None:
    places = {"IN": str(lines), "OUT.html": str(tmp_path / "out.html")}
    for kind in ("sparse", "multi_vector"):
        model = registered(root, kind)
        result = run(*(places.get(each, each) for each in REFUSED[command][0]), model.name)
        assert (result.code, result.out) == (2, "")
        assert f"and this takes a dense model; use: embedry embed --kind {kind} --model {model.name}\n" in result.err


def listed(out: str) -> dict[str, list[str]]:
    """The names of each section of the table of models."""
    sections: dict[str, list[str]] = {}
    for line in out.splitlines():
        if ": a" in line.partition("  ")[0] or line.startswith("sparse: weights"):
            names = sections.setdefault(line.partition(":")[0], [])
        elif line.strip() and line[0] not in "+!*" and not line.startswith("name "):
            names.append(line.split()[0])
    return sections


def test_models_are_listed_by_what_they_give(root: Path, several: ModelSpec) -> None:
    for kind in ("reranker", "sparse"):
        registered(root, kind)
    found = listed(run("models").out)
    assert list(found) == ["dense", "reranker", "sparse", "multi_vector"]
    names = {"reranker": "tiny-reranker", "sparse": "tiny-sparse", "multi_vector": "tiny-multi-vector"}
    for kind, name in names.items():
        assert name in found[kind]
        assert list(listed(run("models", "--kind", kind).out).items()) == [(kind, found[kind])]
    assert several.name in found["dense"]
    assert several.name in found["multi_vector"], "a model of several kinds is listed with each"
    assert "tiny-reranker" not in found["dense"]
    rows = {line.split()[0]: line.split() for line in run("models", "--kind", "multi_vector").out.splitlines()[2:]}
    assert rows[several.name][1] == "16", "the width of the kind that is listed"
    models = {each["name"]: each for each in json.loads(run("models", "--json").out)}
    assert (models[several.name]["kind"], models[several.name]["kinds"]) == ("dense", ["dense", "multi_vector"])
    by_kind = json.loads(run("models", "--json", "--kind", "sparse").out)
    assert "tiny-sparse" in [each["name"] for each in by_kind]
    assert all("sparse" in each["kinds"] for each in by_kind)


def facts(model: str) -> dict[str, str]:
    """What `embedry info` shows, by name."""
    result = run("info", model)
    assert (result.code, result.err) == (0, "")
    lines = [line.partition("  ") for line in result.out.splitlines()]
    return {name: value.strip() for name, _, value in lines if name}


def test_info_shows_what_each_kind_gives(root: Path) -> None:
    registered(root, "reranker", "bert, 3 labels")
    shown = facts("tiny-reranker")
    assert (shown["kind"], shown["scores"], shown["activation"]) == ("reranker", "3", "identity")
    assert shown["fingerprint"] == resolve_reranker("tiny-reranker").fingerprint
    assert "similarity" not in shown
    registered(root, "sparse", "router")
    shown = facts("tiny-sparse")
    assert (shown["kind"], shown["terms"], shown["pooling"]) == ("sparse", "4000", "max")
    assert shown["queries"] == "read by a table of terms, without the transformer"
    assert shown["query chain"].startswith("term_table 4000 query_0_SparseStaticEmbedding")
    registered(root, "multi_vector", "bert, expansion")
    shown = facts("tiny-multi-vector")
    assert (shown["kind"], shown["dims"]) == ("multi_vector", "16")
    assert shown["lengths"] == "24 tokens of a query, 48 tokens of a document"
    assert shown["expansion"] == "queries to 24 tokens with '[MASK]', which are not attended to"
    assert shown["left out"].startswith('in a document: ! " #')
    registered(root, "multi_vector", "bert, kept tokens", **NAMED)
    shown = facts("another")
    assert shown["counted"] == "of a document 1,400 tokens of the vocabulary alone"
    assert "expansion" not in shown


def test_info_of_a_model_of_several_kinds_has_the_space_of_each(several: ModelSpec) -> None:
    shown = facts(several.name)
    assert (shown["kind"], shown["dims"]) == ("dense, multi_vector", "32")
    assert shown["multi_vector"].startswith('dims 16, left out in a document: ! " #')
    found = json.loads(run("info", several.name, "--json").out)
    spaces = {
        "dense": resolve(several.name).fingerprint,
        "multi_vector": resolve_multi_vector(several.name).fingerprint,
    }
    assert found["fingerprints"] == spaces
    assert found["fingerprint"] == spaces["dense"]
    assert [module["type"] for module in found["other_chains"][0]] == ["dense", "normalize", "late_interaction"]


@pytest.mark.parametrize(
    ("kind", "variant"),
    [("reranker", "bert"), ("reranker", "saved qwen3 decoder"), ("sparse", "router"), ("multi_vector", "bert")],
)
def test_a_model_of_any_kind_is_pulled_and_pinned(kind: Kind, variant: str, root: Path) -> None:
    model = registered(root, kind, variant)
    result = run("pull", model.name)
    assert (result.code, result.err) == (0, "")
    assert f"{len(model.files)} files verified by the entry's digests" in result.out
    assert pinned(model.name) == model


def pinned(name: str) -> object:
    """What the source that `embedry pin` prints evaluates to."""
    result = run("pin", name)
    assert (result.code, result.err) == (0, "")
    names: dict[str, object] = {}
    exec(result.out, names)
    return names["SPEC"]


def test_all_that_a_model_gives_is_pinned_and_compiled(
    several: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pinned(several.name) == several
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    result = run("pull", several.name, "--compile")
    assert (result.code, result.err) == (0, "")
    graphs = list((tmp_path / "graphs").iterdir())
    assert len(graphs) == 2
    assert all(str(graph) in result.out for graph in graphs)


@pytest.mark.parametrize("kind", ["reranker", "sparse", "multi_vector"])
def test_a_model_of_any_kind_is_checked(kind: Kind, root: Path) -> None:
    result = run("check", registered(root, kind).folder)  # which the checks' own processes find as well
    assert result.code == 0, result.out + result.err
    assert ", 0 failed, " in result.out
    result = run("check", "minilm", "--kind", kind)
    assert result.code == 2
    assert "'all-MiniLM-L6-v2' is a dense model, and this takes " in result.err


def test_bench_measures_every_kind_of_vectors(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings, "ROUNDS", 1)
    monkeypatch.setattr(timings, "_ENOUGH", 0.0)
    monkeypatch.setattr(timings, "_QUERY_SECONDS", 0.1)
    for kind in ("sparse", "multi_vector"):
        model = registered(root, kind)
        result = run("bench", model.name, "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert found["kind"] == kind
        assert found["queries_per_second"] > 0
        assert all(rate > 0 for rate in found["batch_tokens"].values())
