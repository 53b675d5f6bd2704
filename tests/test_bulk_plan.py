"""The plan of a bulk job: it is written once, decides everything, and every other wish is an error that says what differs."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from bulk_jobs import as_json, bulk, computed, contents, finished, leftovers, planned, result, rows, texts, written
from embedry import SpaceError, UnknownModelError
from embedry.views import LazyEmbedder
from embedry_bulk import ChangedInputError, InputError, OutputError, Plan, PlanError, plan, planning
from embedry_bulk.inputs import InputFile

pytestmark = pytest.mark.usefixtures("minilm_folder")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return written(tmp_path / "in.jsonl", rows(7))


def refusal(inputs: object, to: object, **settings: Any) -> str:
    with pytest.raises(PlanError) as caught:
        planned(inputs, to, **settings)
    return str(caught.value)


def test_the_same_plan_again_is_the_one_that_is_there(inputs: Path, tmp_path: Path) -> None:
    first = planned(inputs, tmp_path / "out", shard_rows=3)
    content = (tmp_path / "out/plan.json").read_bytes()
    assert planned(inputs, tmp_path / "out", shard_rows=3) == first
    assert (tmp_path / "out/plan.json").read_bytes() == content
    elsewhere = planned(inputs, tmp_path / "elsewhere", shard_rows=3)
    assert (tmp_path / "elsewhere/plan.json").read_bytes() == content
    assert elsewhere.digest == first.digest == Plan.load(str(tmp_path / "out")).digest
    assert planned(inputs, tmp_path / "third", shard_rows=2).digest != first.digest
    assert leftovers(tmp_path / "out") == []


def test_a_plan_comes_back_from_its_file_and_from_pickle(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": texts(5), "when": pa.array([0] * 5, pa.timestamp("us", "UTC"))}), tmp_path / "in.parquet"
    )
    made = planned(tmp_path / "in.parquet", tmp_path / "out", encoding="int8", keep=("when",), shard_rows=2)
    for again in (Plan.load(str(tmp_path / "out")), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert again.url == made.url == str(tmp_path / "out")
        assert again.schema.equals(made.schema)
        assert again.ranges == made.ranges
        assert again.job.keep == ("when",)
        assert again.as_json() == made.as_json()


def test_rows_are_found_in_shards_and_in_files() -> None:
    def file(name: str) -> InputFile:
        return InputFile(name, "jsonl", 1, "d", 1)

    chance = np.random.default_rng(0)
    for _ in range(200):
        sizes = chance.integers(0, 5, chance.integers(1, 6)).tolist()
        total = sum(sizes)
        starts = sorted({0, *chance.integers(0, max(total, 1), 3).tolist()})
        job = plan.Job(inputs=tuple(file(f"f{n}") for n in range(len(sizes))), space=None, role="document")  # type: ignore[arg-type]
        made = Plan(
            job=job,
            rows=tuple(sizes),
            starts=tuple(starts),
            offsets=tuple(7 * start for start in starts),
            schema=pa.schema([]),
        )
        every = [(f"f{n}", row) for n, size in enumerate(sizes) for row in range(size)]
        assert [made.place(number) for number in range(total)] == every
        assert made.total == total
        found = []
        for shard in range(made.shards):
            parts = list(made.parts(shard))
            in_shard = [(f"f{part.file}", part.first + n) for part in parts for n in range(part.rows)]
            assert len(in_shard) == made.bounds(shard)[1] - made.bounds(shard)[0]
            assert [part.offset for part in parts] == [7 * starts[shard], 0, 0, 0, 0, 0][: len(parts)]
            found += in_shard
        assert found == every


# What differs


def test_another_job_in_the_same_folder_is_refused_with_both_values(inputs: Path, tmp_path: Path) -> None:
    written(tmp_path / "more.jsonl", [{"body": "a", "text": "b", "id": 1}])
    planned(inputs, tmp_path / "out")
    before = (tmp_path / "out/plan.json").read_bytes()
    for settings, words in (
        ({"role": "query"}, "role is 'document', but 'query' was requested"),
        ({"column": "id"}, "column is 'text', but 'id' was requested"),
        ({"vector_column": "v"}, "vector_column is 'embedding', but 'v' was requested"),
        ({"keep": ("id",)}, "keep is None, but [id] was requested"),
        ({"output": "npy"}, "output is 'parquet', but 'npy' was requested"),
        ({"encoding": "float16"}, "encoding is 'float32', but 'float16' was requested"),
        ({"lists": "variable"}, "lists is 'fixed', but 'variable' was requested"),
        ({"on_overflow": "reject"}, "on_overflow is 'truncate', but 'reject' was requested"),
        ({"shard_rows": 3}, "shard_rows is None, but 3 was requested"),
        ({"shard_tokens": 3}, "shard_tokens is 2000000, but 3 was requested"),
        ({"model": "bge-small-en-v1.5"}, "space is all-MiniLM-L6-v2 (384 dims, "),
        ({"model": "bge-small-en-v1.5"}, "but bge-small-en-v1.5 (384 dims, "),
        ({"options": {"precision": "int8"}}, "space is all-MiniLM-L6-v2 (384 dims, "),
        ({"options": {"max_seq_length": 128}}, "space is all-MiniLM-L6-v2 (384 dims, "),
    ):
        message = refusal(inputs, tmp_path / "out", **settings)
        assert words in message
        assert f"{tmp_path}/out contains another job: " in message
        assert f"To continue that job: embedry bulk run {tmp_path}/out; or name another folder with --to" in message
    both = refusal([inputs, tmp_path / "more.jsonl"], tmp_path / "out")
    assert f"of its 1 inputs one is no more, and of the 2 asked for it is file://{tmp_path}/more.jsonl" in both
    assert f"is file://{tmp_path}/in.jsonl, and of the 1 asked for it is" in refusal(
        tmp_path / "more.jsonl", tmp_path / "out"
    )
    assert (tmp_path / "out/plan.json").read_bytes() == before
    for option, value in (("--role", "query"), ("--model", "bge-small-en-v1.5"), ("--encoding", "int8")):
        outcome = bulk("run", inputs, "--to", tmp_path / "out", option, value)
        assert (outcome.code, "contains another job" in outcome.err) == (2, True)
    assert contents(tmp_path / "out") == {}


def test_an_input_that_was_touched_is_the_same_and_one_with_other_content_is_not(inputs: Path, tmp_path: Path) -> None:
    made = planned(inputs, tmp_path / "out")
    os.utime(inputs, ns=(1, 1))
    assert planned(inputs, tmp_path / "out") == made
    assert bulk("run", inputs, "--to", tmp_path / "out").code == 0
    assert result(made).column("text").to_pylist() == texts(7)
    content = inputs.read_bytes()
    inputs.write_bytes(content.replace(b"refunds", b"returns"))
    message = refusal(inputs, tmp_path / "out")
    assert (
        f"in.jsonl had {len(content)} bytes ({made.job.inputs[0].digest[:16]}) as jsonl, and has {len(content)} ("
        in message
    )
    inputs.write_bytes(content)
    assert planned(inputs, tmp_path / "out") == made
    assert "as jsonl, and has" in refusal(inputs, tmp_path / "out", input_format="csv")


def test_the_plan_of_another_version_is_refused_by_both_names(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(inputs, tmp_path / "out")
    monkeypatch.setattr(plan, "__version__", "9.9.9")
    outcome = bulk("run", tmp_path / "out")
    assert outcome.code == 2
    assert "was planned by embedry 0.1.0, and this is 9.9.9" in outcome.err
    assert "go on with embedry==0.1.0, or plan a new job in another folder" in outcome.err


def test_a_model_whose_files_are_others_than_planned(inputs: Path, tmp_path: Path, checkpoint: Any) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(checkpoint("bert"), model)
    planned(inputs, tmp_path / "out", model=str(model))
    shutil.copytree(checkpoint("bert", "cls"), model, dirs_exist_ok=True)
    with pytest.raises(SpaceError, match=r"these vectors were made by .*and cannot be compared with those of"):
        computed(Plan.load(str(tmp_path / "out")))
    outcome = bulk("run", tmp_path / "out")
    assert (outcome.code, "cannot be compared" in outcome.err) == (1, True)


# Damage


def test_every_changed_byte_of_a_plan_is_noticed(inputs: Path, tmp_path: Path) -> None:
    planned(inputs, tmp_path / "out", shard_rows=3)
    path = tmp_path / "out/plan.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(
            PlanError, match=r"out/plan\.json is damaged: .*restore it from a copy, or plan the job again in"
        ):
            Plan.load(str(tmp_path / "out"))


def test_half_a_plan_is_noticed(inputs: Path, tmp_path: Path) -> None:
    planned(inputs, tmp_path / "out")
    path = tmp_path / "out/plan.json"
    content = path.read_bytes()
    for length in (0, 1, 17, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        for command in (
            ("run", tmp_path / "out"),
            ("run", inputs, "--to", tmp_path / "out"),
            ("status", tmp_path / "out"),
        ):
            outcome = bulk(*command)
            assert (outcome.code, "plan.json is damaged: " in outcome.err) == (2, True)


def test_a_plan_is_whole_or_absent(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens before the file is renamed leaves none."""
    from embedry_bulk import folder

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "sync", full)
        with pytest.raises(OutputError, match=r"out/plan\.json cannot be written: No space left on device"):
            planned(inputs, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert planned(inputs, tmp_path / "out").total == 7


def test_the_results_of_another_plan_are_not_taken_over(inputs: Path, tmp_path: Path) -> None:
    finished(inputs, tmp_path / "out", shard_rows=3)
    (tmp_path / "out/plan.json").unlink()
    planned(inputs, tmp_path / "out", shard_rows=2)
    for command in ("run", "status", "verify"):
        outcome = bulk(command, tmp_path / "out")
        assert outcome.code == 1
        assert "json belongs to another plan (" in outcome.err
        assert "restore it, or start in an empty folder" in outcome.err


# Before any work is done


def test_a_folder_without_a_plan(inputs: Path, tmp_path: Path) -> None:
    for command in ("run", "status", "verify"):
        for place in (tmp_path / "absent", tmp_path, inputs):
            outcome = bulk(command, place)
            assert outcome.code == 2
            assert (
                f"{place} has no plan.json, so it is not a job; plan one: embedry bulk plan INPUT... --to {place}"
                in outcome.err
            )
    assert not (tmp_path / "absent").exists()


def test_what_cannot_be_is_refused_before_inputs_are_read(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(file: object) -> None:
        raise AssertionError("an input was read")

    monkeypatch.setattr(planning, "reader", unread)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out cannot be written to: Not a directory"):
        planned(inputs, tmp_path / "file/out")
    with pytest.raises(OutputError, match=r"nosuch://job: Protocol not known: nosuch"):
        planned(inputs, "nosuch://job")
    with pytest.raises(UnknownModelError, match="all-MiniLM-L7"):
        planned(inputs, tmp_path / "out", model="all-MiniLM-L7")
    with pytest.raises(ValueError, match="'summary'"):
        planned(inputs, tmp_path / "out", role="summary")
    with pytest.raises(InputError, match="there is no file"):
        planned(tmp_path / "absent.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_input_that_changes_while_it_is_planned(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(_: int) -> None:
        inputs.write_bytes(as_json(rows(8)))

    with pytest.raises(ChangedInputError, match=r"in\.jsonl has changed since the job was planned"):
        planned(inputs, tmp_path / "out", advance=advance)
    assert not (tmp_path / "out/plan.json").exists()


def test_texts_that_no_tokenizer_takes_do_not_stop_a_plan(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "half \\ud800"}\n{"text": "whole"}\n{"text": 5}\n')
    pq.write_table(pa.table({"text": pa.array([b"\xff", b"whole", None]).view(pa.string())}), tmp_path / "in.parquet")
    for name in ("in.jsonl", "in.parquet"):
        for settings in ({}, {"encoding": "int8"}, {"shard_rows": 2}):
            assert (
                planned(tmp_path / name, tmp_path / f"{name}-{len(settings)}-{list(settings)}", **settings).total == 3
            )


def test_no_rows_at_all(tmp_path: Path, minilm: LazyEmbedder) -> None:
    empty = {"a.jsonl": b"", "b.csv": b"id,text\n", "c.csv": b"", "d.jsonl": b"\n \n"}
    for name, content in empty.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.table({"id": pa.array([], pa.int8()), "text": pa.array([], pa.string())}), tmp_path / "e.parquet")
    for name, others in (("a.jsonl", []), ("b.csv", ["id"]), ("c.csv", []), ("d.jsonl", []), ("e.parquet", ["id"])):
        outcome = bulk("run", tmp_path / name, "--to", tmp_path / f"{name}-out")
        assert outcome.code == 0, outcome.err
        assert "0 rows -> " in outcome.err
        table = result(Plan.load(str(tmp_path / f"{name}-out")))
        assert table.schema.names == [*others, "text", "embedding"]
        assert table.schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()), 384)
        assert table.num_rows == 0
        assert bulk("verify", tmp_path / f"{name}-out").code == 0
    assert str(result(Plan.load(str(tmp_path / "e.parquet-out"))).schema.field("id").type) == "int8"
    kept = bulk("run", tmp_path / "a.jsonl", "--to", tmp_path / "kept", "--keep", "id,url")
    assert kept.code == 0, kept.err
    assert result(Plan.load(str(tmp_path / "kept"))).schema.names == ["id", "url", "text", "embedding"]
    assert bulk("run", tmp_path / "a.jsonl", "--to", tmp_path / "npy", "--output-format", "npy", "--id", "id").code == 0
    assert np.load(tmp_path / "npy/data/train-00000-of-00001.npy").shape == (0, 384)
    assert np.load(tmp_path / "npy/ids/train-00000-of-00001.npy").shape == (0,)
    lance = bulk("run", tmp_path / "a.jsonl", "--to", tmp_path / "lance", "--output-format", "lancedb")
    assert lance.code == 0, lance.err
    assert bulk("verify", tmp_path / "lance").code == 0


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_as_many_rows_as_a_shard_and_one_more_or_less(count: int, tmp_path: Path) -> None:
    made = finished(written(tmp_path / "in.jsonl", rows(count)), tmp_path / "out", shard_rows=3)
    assert made.shards == (2 if count > 3 else 1)
    assert result(made).column("text").to_pylist() == texts(count)


def test_plan_json_can_be_read_by_people(inputs: Path, tmp_path: Path) -> None:
    planned(inputs, tmp_path / "out", shard_rows=3)
    held = json.loads((tmp_path / "out/plan.json").read_text())["plan"]
    assert held["job"]["space"]["model"] == "all-MiniLM-L6-v2"
    assert (held["rows"], held["starts"]) == ([7], [0, 3, 6])
    lines = inputs.read_bytes().splitlines(keepends=True)
    assert held["offsets"] == [0, len(b"".join(lines[:3])), len(b"".join(lines[:6]))]


def test_a_job_that_goes_on_does_not_read_its_inputs_for_their_digests_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "in.jsonl", rows(4))
    plan = planned(path, tmp_path / "out")
    monkeypatch.setattr("embedry_bulk.inputs.sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert planned(path, tmp_path / "out") == plan
    monkeypatch.undo()
    path.write_bytes(path.read_bytes().replace(b"lamp", b"oven").replace(b"late", b"lost"))
    with pytest.raises(PlanError, match="contains another job"):
        planned(path, tmp_path / "out")
