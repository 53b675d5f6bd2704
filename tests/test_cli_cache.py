"""`embedry cache` lists, measures and clears the cache folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import run
from embedry import resolve


@pytest.fixture
def filled(checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    resolve(checkpoint("bert"), vector_cache=True).encode_document(["a text"])
    return tmp_path


def test_list_and_size_say_what_takes_how_much(filled: Path) -> None:
    listed = run("cache", "list")
    assert listed.code == 0
    graph, vectors = listed.out.splitlines()
    assert graph.split()[0] == "graph"
    assert "the graph of '" in graph
    assert vectors.split()[0] == "vectors"
    items = json.loads(run("cache", "list", "--json").out)
    sizes = json.loads(run("cache", "size", "--json").out)
    assert sizes["graph"] == items[0]["size"] == sum(f.stat().st_size for f in Path(items[0]["path"]).iterdir())
    assert sizes["total"] == sum(item["size"] for item in items)
    assert len(json.loads(run("cache", "list", "--kind", "model", "--json").out)) == 0


def test_clear_asks_and_removes_what_was_named(filled: Path) -> None:
    refused = run("cache", "clear", "--kind", "vectors", stdin=b"n\n")
    assert "Remove 1 item, " in refused.err
    assert len(json.loads(run("cache", "list", "--json").out)) == 2
    assert run("cache", "clear", "--kind", "vectors", stdin=b"y\n").code == 0
    assert [item["kind"] for item in json.loads(run("cache", "list", "--json").out)] == ["graph"]
    unknown = run("cache", "clear", "no-such-model", "--yes")
    assert unknown.code == 2
    assert "nothing in the cache is named 'no-such-model'; list it: embedry cache list" in unknown.err
    assert run("cache", "clear", "--yes").code == 0
    assert run("cache", "list").out == ""
    assert run("cache", "clear").err == "nothing to remove\n"
