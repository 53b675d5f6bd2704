"""Several processes with one store: all write at the same moment, and nothing is lost, doubled or raised."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lancedb
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from embedry_langchain import create_vector_store, tables

WRITER = """
import json, sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from embedry_langchain import create_vector_store, tables

tables._MOST_PARTS = 6  # so that the writers often compact at the same moment
embeddings = DeterministicFakeEmbedding(size=16)
create_vector_store(embeddings).add_texts(["everything is imported now"])
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    errors = []
    if "open" in job:
        store = create_vector_store(embeddings, job["open"])
    for each in job.get("add", []):
        try:
            store.add_texts([job["text"]], ids=[each])
        except Exception as error:
            errors.append(repr(error))
    print(json.dumps(errors), flush=True)
"""


class Writers:
    """Processes that are started once, and then do each job at the same moment."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._answers(processes)

    def add(self, path: Path, *ids: list[str]) -> list[str]:
        """The i-th process adds the i-th ids to the store, one by one. Returns what was raised."""
        self._tell([{"open": str(path)} for _ in ids])
        return self._tell([{"add": own, "text": f"of writer {number}"} for number, own in enumerate(ids)])

    def _tell(self, jobs: list[dict[str, Any]]) -> list[str]:
        working = self._processes[: len(jobs)]
        for process, job in zip(working, jobs, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        return [error for answer in self._answers(working) for error in json.loads(answer)]

    def _answers(self, processes: list[subprocess.Popen[str]]) -> list[str]:
        return [process.stdout.readline() for process in processes if process.stdout is not None]


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
            )
            for _ in range(4)
        ]  # fmt: skip
        yield Writers(processes)


def stored(path: Path) -> list[str]:
    """The ids in a store, each as often as it is there."""
    table = create_vector_store(DeterministicFakeEmbedding(size=16), path).table
    assert table is not None
    return sorted(table.to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("count", [2, 3])
def test_processes_that_add_to_one_store_neither_fail_nor_lose_anything(
    tmp_path: Path, writers: Writers, count: int
) -> None:
    ids = [[f"{writer}-{number:02}" for number in range(60)] for writer in range(count)]
    assert writers.add(tmp_path, *ids) == []
    assert stored(tmp_path) == sorted(each for own in ids for each in own)
    table = create_vector_store(DeterministicFakeEmbedding(size=16), tmp_path).table
    stats: Any = table and table.stats()
    assert stats["fragment_stats"]["num_fragments"] < 60, "it was compacted"


def test_processes_that_add_the_same_ids_leave_one_document_of_each(tmp_path: Path, writers: Writers) -> None:
    ids = [f"{number:02}" for number in range(40)]
    assert writers.add(tmp_path, ids, ids, ids) == []
    assert stored(tmp_path) == ids


def test_processes_that_make_a_store_at_the_same_moment_share_it(tmp_path: Path, writers: Writers) -> None:
    for number in range(30):
        path = tmp_path / str(number)
        assert writers.add(path, ["0", "0b"], ["1", "1b"], ["2", "2b"], ["3", "3b"]) == []
        assert stored(path) == ["0", "0b", "1", "1b", "2", "2b", "3", "3b"]
        assert [each.name for each in path.iterdir()] == ["documents.lance"]


def test_a_store_that_was_opened_empty_sees_what_others_add(tmp_path: Path, writers: Writers) -> None:
    opened = [create_vector_store(DeterministicFakeEmbedding(size=16), tmp_path) for _ in range(4)]
    writers.add(tmp_path, ["a", "b"])
    assert {each.id for each in opened[0].similarity_search("x")} == {"a", "b"}
    assert [each.id for each in opened[1].get_by_ids(["b"])] == ["b"]
    assert opened[2].table is not None
    opened[3].delete(["a"])
    assert stored(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("lance error: Retryable commit conflict for version 7: This Rewrite transaction was preempted", False),
        ("lance error: Commit conflict for version 7", False),
        ("lance error: Too many concurrent writers. Attempted 10 times", False),
        ("lance error: LanceError(IO): No space left on device", True),
    ],
)
def test_compaction_that_fails_for_another_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, raised: bool
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(tables, "_MOST_PARTS", 0)
    monkeypatch.setattr(lancedb.table.LanceTable, "optimize", fails)
    store = create_vector_store(DeterministicFakeEmbedding(size=16), tmp_path)
    if raised:
        with pytest.raises(RuntimeError, match="No space left"):
            store.add_texts(["x"], ids=["x"])
    else:
        store.add_texts(["x"], ids=["x"])
    assert stored(tmp_path) == ["x"]
