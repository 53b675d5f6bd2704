"""What goes wrong in a bulk job: it is said in words, nothing that is done is lost, and the next run ends with the same bytes."""

import bz2
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import bulk_engines
from bulk_jobs import (
    as_json,
    bulk,
    compressed,
    computed,
    contents,
    finished,
    leftovers,
    planned,
    rejected,
    result,
    rows,
    started,
    summary,
    texts,
    vectors,
    written,
)
from embedry import WeightsNotFoundError
from embedry._files import makers
from embedry.views import LazyEmbedder
from embedry_bulk import (
    BulkError,
    ChangedInputError,
    InputError,
    OutputError,
    Plan,
    RejectedError,
    Settings,
    done_shards,
    folder,
    records,
    run_shard,
)
from embedry_bulk.ahead import ahead
from embedry_bulk.folder import open_folder
from embedry_bulk.running import Allowance, local
from waiting import until

pytestmark = pytest.mark.usefixtures("minilm_folder")

N = 7

Undisturbed = dict[str, bytes]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A file of which one row is rejected."""
    return written(tmp_path / "in.jsonl", [*rows(N - 1), {"id": N - 1, "text": None}])


@pytest.fixture
def out(inputs: Path, tmp_path: Path) -> Path:
    """A job of four shards, planned."""
    planned(inputs, tmp_path / "out", shard_rows=2)
    return tmp_path / "out"


@pytest.fixture
def right(inputs: Path, tmp_path: Path) -> Undisturbed:
    """What such a job has written in the end."""
    return contents(Path(finished(inputs, tmp_path / "undisturbed", shard_rows=2).url))


def run(job: Path, *options: object) -> tuple[int, str]:
    """The exit code and the last line of a run that may reject rows."""
    outcome = bulk("run", job, "--max-rejected", 2, *options)
    assert "Traceback" not in outcome.err
    return outcome.code, summary(outcome)


def check_complete(job: Path, right: Undisturbed) -> None:
    """Runs the job to its end: it has the bytes of an undisturbed one, and nothing else."""
    code, said = run(job)
    assert code == 0, said
    assert contents(job) == right
    assert leftovers(job) == []
    assert bulk("verify", job).code == 0


# Inputs


def test_a_compressed_file_that_was_cut_off_is_refused_by_the_plan(tmp_path: Path) -> None:
    content = as_json(rows(500))
    for suffix in (".gz", ".zst", ".bz2", ".lz4"):
        path = compressed(tmp_path / f"in.jsonl{suffix}", content)
        whole = path.read_bytes()
        for length in (len(whole) - 1, len(whole) - 9, len(whole) // 2, 30):
            path.write_bytes(whole[:length])
            with pytest.raises(
                InputError, match=rf"in\.jsonl\{suffix} cannot be read after byte \d.*: Truncated compressed"
            ):
                planned(path, tmp_path / "out", shard_rows=2)
    damaged = bytearray(gzip.compress(content))
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "in.jsonl.gz").write_bytes(damaged)
    with pytest.raises(InputError, match=r"in\.jsonl\.gz cannot be read after byte [\d,]+: .*zlib"):
        planned(tmp_path / "in.jsonl.gz", tmp_path / "out")
    (tmp_path / "in.jsonl.bz2").write_bytes(bz2.compress(b'{"text": "a"}\n') + b"something else")
    with pytest.raises(InputError, match=r"in\.jsonl\.bz2 cannot be read after byte .*bz2"):
        planned(tmp_path / "in.jsonl.bz2", tmp_path / "out")


def test_parquet_that_was_cut_off_is_refused_by_the_plan(tmp_path: Path) -> None:
    path = written(tmp_path / "in.parquet", rows(N))
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"in\.parquet is not Parquet that can be read: "):
            planned(path, tmp_path / "out")


def test_a_damaged_page_costs_its_shards_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry_bulk import parquet_rows

    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": range(12), "text": texts(12)}), path, row_group_size=4, write_page_checksum=True)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    content[(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"in\.parquet cannot be read: .*CRC checksum verification failed"):
        planned(path, tmp_path / "all")  # counting tokens reads all texts
    with monkeypatch.context() as patch:
        # The plan looks at the first rows, which are sound in larger files.
        patch.setattr(parquet_rows, "BLOCK_ROWS", 4)
        planned(path, tmp_path / "out", shard_rows=2)
    outcome = bulk("run", tmp_path / "out")
    assert outcome.code == 1
    said = summary(outcome)
    assert "2 of 6 shards are not done (2, 3): InputError: " in said
    assert "CRC checksum verification failed" in said
    assert f"the others are kept. To retry them: embedry bulk run {tmp_path}/out" in said
    assert "shard 2 failed 3 times: InputError: " in outcome.err
    assert result(Plan.load(str(tmp_path / "out"))).column("id").to_pylist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert json.loads(bulk("status", tmp_path / "out", "--json").out)["shards_failed"] == [2, 3]


def test_an_input_with_other_content_stops_the_job(inputs: Path, out: Path, right: Undisturbed) -> None:
    run_shard(Plan.load(str(out)), 0)
    content, before = inputs.read_bytes(), inputs.stat()
    for other in (content.replace(b"refunds", b"returns"), content + b"\n", content[:-5]):
        inputs.write_bytes(other)
        os.utime(inputs, ns=(1, before.st_mtime_ns + 1))
        code, said = run(out)
        assert code == 1
        assert f"in.jsonl has changed since the job was planned: it had {len(content):,} bytes" in said
        assert f"and has {len(other):,} now; put the old file back, or plan a new job in another folder" in said
    inputs.unlink()
    code, said = run(out)
    assert (code, "in.jsonl is missing: it was there when the job was planned; put it back" in said) == (1, True)
    assert len(done_shards(Plan.load(str(out)))) == 1
    inputs.write_bytes(content)  # with another time
    check_complete(out, right)


def test_an_input_that_was_touched_is_read_again_once_and_not_for_each_shard(
    inputs: Path, out: Path, right: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_bulk import inputs as module

    read: list[Path] = []
    monkeypatch.setattr(module, "sha256", lambda path: read.append(path) or folder.sha256(path))
    os.utime(inputs, ns=(5, 5))
    check_complete(out, right)
    assert read == [inputs]


def test_an_input_that_changes_between_two_shards(inputs: Path, out: Path, right: Undisturbed) -> None:
    plan = Plan.load(str(out))
    content = inputs.read_bytes()
    outcomes = local(plan, iter(range(plan.shards)), Settings())
    assert next(outcomes).shard == 0
    inputs.write_bytes(content.replace(b"refunds", b"returns"))
    with pytest.raises(ChangedInputError, match=r"in\.jsonl has changed"):
        list(outcomes)
    assert set(done_shards(plan)) <= {0, 1}
    inputs.write_bytes(content)
    check_complete(out, right)


def test_an_input_that_changes_while_its_shard_is_computed(inputs: Path, out: Path) -> None:
    plan = Plan.load(str(out))

    def advance(_: int) -> None:
        inputs.write_bytes(inputs.read_bytes() + b" ")

    with pytest.raises(ChangedInputError, match=r"in\.jsonl has changed"):
        list(local(plan, iter(range(plan.shards)), Settings(advance=advance)))
    assert len(done_shards(plan)) <= 1  # the next shard is refused, if not this one


def test_nothing_is_read_ahead_any_more_when_a_shard_has_failed() -> None:
    """The next attempt reads with the same reader."""
    reading = Event()

    def source() -> Iterator[int]:
        for number in range(100):
            reading.set()
            time.sleep(0.05)
            reading.clear()
            yield number

    items = ahead(source(), 2)
    assert next(items) == 0
    until(reading.is_set)
    items.close()
    assert not reading.is_set()


def test_inputs_that_cannot_be_read_are_no_fault_of_the_output(
    inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch, right: Undisturbed
) -> None:
    from embedry_bulk import inputs as module

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_state", refused)
        code, said = run(out)
    assert code == 1
    assert "4 of 4 shards are not done" in said
    assert "in.jsonl cannot be read: Permission denied" in said
    check_complete(out, right)


# Outputs


def part(job: Path, shard: int) -> Path:
    return job / f"data/train-{shard:05}-of-00004.parquet"


def test_a_flipped_bit_in_a_part_is_found_and_mended(out: Path, right: Undisturbed) -> None:
    check_complete(out, right)
    content = bytearray(part(out, 1).read_bytes())
    for place in (0, len(content) // 3, len(content) // 2, len(content) - 1):
        part(out, 1).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        outcome = bulk("verify", out)
        assert outcome.code == 1
        assert "shard 1 data/train-00001-of-00004.parquet has the sha256 " in outcome.out
        assert "bytes have changed since it was written" in outcome.out
        assert (
            f"1 problem; to compute the shards concerned again: embedry bulk verify {out} --forget, then" in outcome.err
        )
        forgotten = bulk("verify", out, "--forget")
        assert forgotten.code == 1
        assert f"1 problem; 1 shard will be computed again: embedry bulk run {out}" in forgotten.err
        check_complete(out, right)


def test_a_part_that_was_cut_off_or_is_missing_is_computed_again_by_run_alone(out: Path, right: Undisturbed) -> None:
    check_complete(out, right)
    whole = part(out, 2).read_bytes()
    for length in (0, len(whole) - 1):
        part(out, 2).write_bytes(whole[:length])
        assert "shard 2 is not done" in bulk("verify", out).out
        assert json.loads(bulk("status", out, "--json").out)["shards_done"] == 3
        check_complete(out, right)
    part(out, 2).unlink()
    (out / "rejected/00003.parquet").unlink()
    assert json.loads(bulk("status", out, "--json").out)["shards_done"] == 2
    check_complete(out, right)


def test_records_that_are_damaged_are_as_if_they_were_not_there(out: Path, right: Undisturbed) -> None:
    check_complete(out, right)
    record = (out / "done/00001.json").read_bytes()
    for content in (
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"plan": 1}',
        record[: len(record) // 2],
        record.replace(b'"shard"', b'"sharp"'),
    ):
        (out / "done/00001.json").write_bytes(content)
        assert "shard 1 is not done" in bulk("verify", out).out
        check_complete(out, right)
        assert (out / "done/00001.json").read_bytes() != content
    (out / "failed").mkdir(exist_ok=True)
    (out / "failed/00002.json").write_bytes(b"{")
    (out / "done/notes.txt").write_text("not ours")
    assert json.loads(bulk("status", out, "--json").out)["shards_done"] == 4
    assert run(out)[0] == 0


def test_wrong_numbers_in_a_record_are_found(out: Path, right: Undisturbed) -> None:
    check_complete(out, right)
    path = out / "done/00003.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"rows": record["rows"] + 1}))
    said = bulk("verify", out).out
    assert "shard 3 has 1 rows and 1 rejected ones instead of 1" in said
    assert "data/train-00003-of-00004.parquet has 0 rows instead of 1" in said
    assert run(out) == (1, summary(bulk("run", out, "--max-rejected", 2)))
    assert (
        "7 rows were planned, and 7 were written and 1 rejected; look for the shard: embedry bulk verify" in run(out)[1]
    )
    bulk("verify", out, "--forget")
    check_complete(out, right)


def test_files_that_are_not_of_the_job_are_named(out: Path, right: Undisturbed) -> None:
    check_complete(out, right)
    for name in (
        "data/train-00001-of-00004.parquet.bak",
        "data/other.parquet",
        "rejected/00000.parquet",
        "data/train-00001-of-00004.npy",
    ):
        (out / name).write_bytes(b"")
        outcome = bulk("verify", out, "--forget")
        assert outcome.code == 1
        assert (
            f"{name} does not belong to this job, but readers of the whole folder would include it; move it"
            in outcome.out
        )
        assert "1 problem, not in a shard" in outcome.err
        (out / name).unlink()
    assert bulk("verify", out).code == 0


def test_rows_that_were_rejected_before_leave_no_file_when_they_no_longer_are(inputs: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "poison.jsonl", [*rows(2), {"id": 9, "text": "a text of poison"}])
    plan = planned(path, tmp_path / "out")
    with bulk_engines.installed():
        assert run_shard(plan, 0, backend="fails_for_some").rejected == 1
    assert [row[1] for row in rejected(plan)] == [2]
    assert run_shard(plan, 0).rejected == 0
    assert rejected(plan) == []
    assert bulk("verify", plan.url).code == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs to know which file is synced")
@pytest.mark.parametrize(
    ("name", "output"), [*product(("data", "done", "rejected"), ("parquet", "npy")), ("ids", "npy")]
)
def test_a_full_disk(name: str, output: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = contents(Path(finished(inputs, tmp_path / "right", shard_rows=2, output=output).url))
    out = tmp_path / "out"
    planned(inputs, out, shard_rows=2, output=output)
    real, given = os.fsync, []

    def fsync(descriptor: int) -> None:
        given.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if full(given[-1]):
            raise OSError(28, "No space left on device")
        real(descriptor)

    full: Callable[[str], bool] = {
        "data": lambda path: "train-00003-of" in path and "/ids-" not in path,
        "ids": lambda path: "/ids-train-00003-of" in path,
        "rejected": lambda path: path.endswith("rejected.parquet"),
        "done": lambda path: path.endswith("done-00003.json"),
    }[name]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        code, said = run(out)
        assert code == 1
        assert f"error: {out}/{name}/" in said
        assert "00003" in said
        assert said.endswith(" cannot be written: No space left on device")
        done = done_shards(Plan.load(str(out)))
        assert set(done) == {0, 1, 2}
        assert all(contents(out)[file.name] == right[file.name] for each in done.values() for file in each.files)
        assert leftovers(out) == []
        assert run(out)[0] == 1  # still full
    check_complete(out, right)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("output", ["parquet", "npy"])
def test_a_disk_that_is_really_full(output: str, tmp_path: Path, small_disk: Path) -> None:
    path = written(tmp_path / "in.jsonl", rows(30))
    right = contents(Path(finished(path, tmp_path / "right", shard_rows=5, output=output).url))
    out = small_disk / "out"
    planned(path, out, shard_rows=5, output=output)
    code, said = run(out)
    assert code == 1
    assert "No space left on device" in said
    assert f"error: {out}" in said
    done = done_shards(Plan.load(str(out)))
    assert 0 < len(done) < 6
    assert all(contents(out)[file.name] == right[file.name] for each in done.values() for file in each.files)
    assert leftovers(out) == []
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    check_complete(out, right)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_folder_that_cannot_be_written_to(inputs: Path, small_disk: Path) -> None:
    planned(inputs, small_disk / "out", shard_rows=2)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, said = run(small_disk / "out")
    assert (code, said) == (1, f"error: {small_disk}/out cannot be written to: Read-only file system")
    with pytest.raises(OutputError, match="other cannot be written to: Read-only file system"):
        planned(inputs, small_disk / "other")
    assert bulk("status", small_disk / "out").code == 0
    assert bulk("verify", small_disk / "out").code == 1


@pytest.mark.parametrize("output", ["parquet", "npy"])
def test_a_folder_that_vanishes_during_the_run(output: str, inputs: Path, tmp_path: Path) -> None:
    for shard_rows, after in ((2, 2), (7, 1), (2, 6)):
        out = tmp_path / f"out-{shard_rows}-{after}"
        plan = planned(inputs, out, shard_rows=shard_rows, output=output)
        given = 0

        def advance(count: int, out: Path = out, after: int = after) -> None:
            nonlocal given
            given += count
            if given >= after and out.exists():
                out.rename(out.with_name(f"{out.name}-gone"))  # in one step: a shard may be on its way into it

        with pytest.raises(OutputError, match=rf"{out}.* cannot be (written|written to|read): No such file"):
            list(local(plan, iter(range(plan.shards)), Settings(advance=advance)))
        assert not out.exists()


def test_records_of_others_that_go_away_while_they_are_listed(
    out: Path, right: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove a broken record at any moment; nobody may take the others for gone."""
    check_complete(out, right)
    (out / "done/00009.json").write_text("broken")
    real = os.scandir

    class Racing:
        def __init__(self, path: Any) -> None:
            self.entries, self.path = list(real(path)), Path(path)

        def __enter__(self) -> "Racing":
            return self

        def __exit__(self, *_: object) -> None:
            (self.path / "00009.json").unlink(missing_ok=True)

        def __iter__(self) -> Iterator[Any]:
            (self.path / "00009.json").unlink(missing_ok=True)
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Racing)
    assert set(done_shards(Plan.load(str(out)))) == {0, 1, 2, 3}
    (out / "done/00009.json").write_text("broken")
    records.forget_broken(Plan.load(str(out)))
    assert sorted(path.name for path in (out / "done").iterdir()) == [f"0000{n}.json" for n in range(4)]


# Engines


def test_a_row_that_makes_the_engine_fail_is_rejected_alone(tmp_path: Path, minilm: LazyEmbedder) -> None:
    found = texts(100)
    bad = {0: "poison", 17: "a text of poison", 18: "poison", 99: "more poison at the end"}
    for place, text in bad.items():
        found[place] = text
    path = written(tmp_path / "in.jsonl", [{"text": text} for text in found])
    good = [text for place, text in enumerate(found) if place not in bad]
    for engine, words in (
        ("fails_for_some", "the engine failed: the backend 'fails_for_some' failed for a batch of 1 texts"),
        ("gives_no_numbers", "the engine failed: the backend returned values that are not finite for 1 of 1 texts"),
    ):
        plan = planned(path, tmp_path / engine, shard_rows=50)
        with bulk_engines.installed():
            outcome = bulk("run", plan.url, "--backend", engine, "--max-rejected", "10%")
        assert outcome.code == 0, outcome.err
        assert "96 rows -> " in outcome.err
        assert [row[1] for row in rejected(plan)] == list(bad)
        assert all(reason.startswith(words) for _, _, reason in rejected(plan)), rejected(plan)
        table = result(plan)
        assert table.column("text").to_pylist() == good
        np.testing.assert_allclose(vectors(table), minilm.encode_document(good), rtol=0, atol=1e-6)
        assert bulk("verify", plan.url).code == 0


def test_texts_after_one_that_fails_come_from_the_right_rows(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where rows are read, and texts computed, a few at a time."""
    from embedry._pipeline import pipeline
    from embedry_bulk import record_rows, shard

    monkeypatch.setattr(pipeline, "_BLOCK_TEXTS", 4)
    monkeypatch.setattr(shard, "_SUSPECTS", 4)
    monkeypatch.setattr(record_rows, "BLOCK_ROWS", 3)
    chance = np.random.default_rng(0)
    for turn in range(8):
        found = [
            {"text": "poison"} if kind == 0 else {"text": None} if kind == 1 else {"text": f"text {n} of turn {turn}"}
            for n, kind in enumerate(chance.integers(0, 6, 25))
        ]
        plan = planned(
            written(tmp_path / f"{turn}.jsonl", [{"text": "first"}, *found]), tmp_path / f"out-{turn}", shard_rows=13
        )
        with bulk_engines.installed():
            computed(plan, backend="fails_for_some")
        good = ["first", *(row["text"] for row in found if row["text"] not in ("poison", None))]
        table = result(plan)
        assert table.column("text").to_pylist() == good
        np.testing.assert_allclose(vectors(table), minilm.encode_document(good), rtol=0, atol=1e-6)
        assert [row[1] for row in rejected(plan)] == [
            n + 1 for n, row in enumerate(found) if row["text"] in ("poison", None)
        ]


def test_an_engine_that_fails_once_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "in.jsonl", [*rows(3), {"id": 3, "text": "a text of poison"}])
    plan = planned(path, tmp_path / "out")
    monkeypatch.setattr(bulk_engines.FailsOnce, "failed", False)
    with bulk_engines.installed():
        (done,) = computed(plan, backend="fails_once")
    assert bulk_engines.FailsOnce.failed
    assert (done.rows, done.rejected) == (4, 0)
    assert result(plan).column("text").to_pylist() == [*texts(3), "a text of poison"]


def test_an_engine_that_fails_for_every_text(out: Path, right: Undisturbed) -> None:
    with bulk_engines.installed():
        outcome = bulk("run", out, "--backend", "fails_for_all", "--max-rejected", 2)
    assert outcome.code == 1
    for shard in range(3):
        assert (
            f"shard {shard} failed 3 times: BackendError: the backend 'fails_for_all' failed for a batch" in outcome.err
        )
    assert "not done (0, 1, 2" in summary(outcome)
    assert "the card has fallen off the bus" in summary(outcome)
    assert f"the others are kept. To retry them: embedry bulk run {out}" in summary(outcome)
    assert json.loads(bulk("status", out, "--json").out)["shards_failed"][:3] == [0, 1, 2]
    assert "shard 0: BackendError: the backend 'fails_for_all' failed" in bulk("status", out).out
    assert contents(out).keys() == {"data/train-00003-of-00004.parquet", "rejected/00003.parquet"}  # it has no text
    check_complete(out, right)
    assert json.loads(bulk("status", out, "--json").out)["shards_failed"] == []


def test_a_text_that_makes_the_engine_fail_does_not_stop_the_plan_of_int8(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", [*rows(5), {"id": 5, "text": "poison"}])
    good = planned(written(tmp_path / "good.jsonl", rows(5)), tmp_path / "good", encoding="int8")
    with bulk_engines.installed():
        plan = planned(path, tmp_path / "out", encoding="int8", options={"backend": "fails_for_some"})
    assert plan.ranges is not None
    np.testing.assert_allclose(plan.ranges, good.ranges, atol=1e-6)  # type: ignore[arg-type]


def test_weights_that_are_missing_are_no_fault_of_the_output(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsNotFoundError("no file model.safetensors; try: embedry pull all-MiniLM-L6-v2")

    monkeypatch.setattr(LazyEmbedder, "encode_blocks", missing)
    code, said = run(out)
    assert (code, said) == (1, "error: no file model.safetensors; try: embedry pull all-MiniLM-L6-v2")


# Rows


@pytest.mark.parametrize("block", [1, 2, 2048])
def test_a_long_row_is_counted_or_rejected(
    block: int, tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry._pipeline import pipeline

    monkeypatch.setattr(pipeline, "_BLOCK_TEXTS", block)
    long = "word " * 400
    found = [{"text": "short"}, {"text": long}, {"text": ""}, {"text": long + "end"}, {"text": "last"}]
    path = written(tmp_path / "in.jsonl", found)
    plan = planned(path, tmp_path / "truncate")
    (done,) = computed(plan)
    assert (done.rows, done.truncated, done.rejected) == (5, 2, 0)
    expected = minilm.encode_document([row["text"] for row in found])
    np.testing.assert_allclose(vectors(result(plan)), expected, rtol=0, atol=1e-6)
    outcome = bulk("run", plan.url)
    assert "5 rows -> " in outcome.err
    assert "0 rejected, 2 truncated" in outcome.err

    plan = planned(path, tmp_path / "reject", on_overflow="reject")
    (done,) = computed(plan)
    assert (done.rows, done.truncated, done.rejected) == (3, 0, 2)
    assert rejected(plan) == [("in.jsonl", row, "longer than the 256 tokens that the model reads") for row in (1, 3)]
    np.testing.assert_allclose(vectors(result(plan)), expected[[0, 2, 4]], rtol=0, atol=1e-6)
    assert bulk("verify", plan.url).code == 0


def test_texts_that_are_not_utf8(tmp_path: Path, minilm: LazyEmbedder) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}[
            kind
        ]
        bad = pa.array([b"first", b"\xff\xfe", None, b"caf\xe9", "café".encode()], binary).view(kind)
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table({"id": range(5), "text": bad}), path, row_group_size=2)
        plan = finished(path, tmp_path / str(kind), shard_rows=4)
        assert result(plan).column("id").to_pylist() == [0, 4]
        assert rejected(plan) == [
            ("in.parquet", 1, "the text is not UTF-8: invalid start byte at byte 0"),
            ("in.parquet", 2, "the text is null"),
            ("in.parquet", 3, "the text is not UTF-8: unexpected end of data at byte 3"),
        ]
        np.testing.assert_allclose(vectors(result(plan)), minilm.encode_document(["first", "café"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "most"),
    [("0", 0), ("1", 1), ("29%", 29), ("0%", 0), ("0.5 %", 0), ("1.9%", 1), ("100%", 100), ("7.0%", 7)],
)
def test_how_many_rows_may_be_rejected(text: str, most: int, tmp_path: Path) -> None:
    plan = planned(written(tmp_path / "in.jsonl", rows(100)), tmp_path / "out")
    Allowance.parsed(text).check(most, plan)
    with pytest.raises(RejectedError, match=f"{most + 1} of 100 rows were rejected, but at most {most} may be"):
        Allowance.parsed(text).check(most + 1, plan)


def test_more_rejected_rows_than_are_allowed(tmp_path: Path) -> None:
    found = [*rows(10), {"id": 10, "text": None}, *rows(9), {"id": 20, "text": None}]
    path = written(tmp_path / "in.jsonl", found)
    outcome = bulk("run", path, "--to", tmp_path / "out", "--shard-rows", 4)
    assert outcome.code == 1
    said = summary(outcome)
    assert "1 of 21 rows were rejected, but at most 0 may be; their reasons are in " in said
    assert (
        f"{tmp_path}/out/rejected. Completed shards are kept; to allow more: embedry bulk run {tmp_path}/out --max-rejected 2"
        in said
    )
    plan = Plan.load(str(tmp_path / "out"))
    kept = set(done_shards(plan))
    assert {0, 1, 2} <= kept
    again = bulk("run", tmp_path / "out")
    assert (again.code, "rows were rejected, but at most 0 may be" in again.err) == (
        1,
        True,
    )  # before anything is computed
    assert set(done_shards(plan)) == kept
    assert bulk("run", tmp_path / "out", "--max-rejected", "9%").code == 1  # 1.89 rows of 21
    assert bulk("run", *said.rpartition("bulk run ")[2].split()).code == 0
    assert result(plan).num_rows == 19
    assert bulk("run", tmp_path / "out", "--max-rejected", "9.6%").code == 0
    for text in ("-1", "1.5", "ten", "", "5 %%", "1e3%"):
        wrong = bulk("run", tmp_path / "out", "--max-rejected", text)
        assert wrong.code == 2
        assert (
            f'--max-rejected must be a number of rows or a percentage, such as 100 or 0.1%, got "{text}"' in wrong.err
        )


# Processes


def test_two_runs_in_one_folder_at_the_same_time(out: Path, right: Undisturbed) -> None:
    runs = [started("run", out, "--max-rejected", 2) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in runs]
    assert [process.returncode for process in runs] == [0, 0], said
    check_complete(out, right)
    assert result(Plan.load(str(out))).column("id").to_pylist() == list(range(N - 1))


def test_three_workers_end_with_the_bytes_of_one(out: Path, right: Undisturbed) -> None:
    workers = [started("run", out, "--worker", f"{n}/3", "--max-rejected", 2, "--json") for n in (1, 2, 3)]
    said = [process.communicate(timeout=120) for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0], said
    assert contents(out) == right
    ended = [json.loads(line) for each in said for line in each[0].splitlines()]
    assert {each["shard"] for each in ended if each["event"] == "done"} == {0, 1, 2, 3}
    assert [(each["rows"], each["rejected"]) for each in ended if each["event"] == "end"] == [(N - 1, 1)] * 3
    assert bulk("verify", out).code == 0


def test_a_worker_computes_its_share_first_and_then_what_is_left(out: Path, right: Undisturbed) -> None:
    outcome = bulk("run", out, "--worker", "2/3", "--max-rejected", 2, "--json")
    assert outcome.code == 0
    order = [json.loads(line)["shard"] for line in outcome.out.splitlines()[:-1]]
    assert order[0] == 1
    assert sorted(order) == [0, 1, 2, 3]
    assert contents(out) == right


def test_what_a_killed_process_left_is_removed(out: Path, right: Undisturbed) -> None:
    from embedry._files import makers

    ended = subprocess.Popen(["true"])
    ended.wait()
    left = out / f"tmp/{makers.place()}-{ended.pid}-0123abcd/train-00001-of-00004"
    left.mkdir(parents=True)
    (left / "train-00001-of-00004.parquet").write_bytes(b"half")
    check_complete(out, right)


def test_every_error_of_a_job_is_one_of_embedry() -> None:
    import embedry_bulk

    errors = [getattr(embedry_bulk, name) for name in embedry_bulk.__all__ if name.endswith("Error")]
    assert len(errors) == 7
    assert all(issubclass(each, BulkError) for each in errors)


def test_what_a_process_left_that_ended_after_the_start_is_removed_at_the_end(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        left = tmp_path / "tmp" / f"{makers.place()}-{other.pid}-0123abcd"
        left.mkdir(parents=True)
        with open_folder(str(tmp_path)).spool():
            assert left.exists()
            other.kill()
            other.wait()
        assert not left.exists()
