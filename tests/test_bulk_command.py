"""`embedry bulk` on the command line: what its commands print and with which exit code they end, however they are interrupted."""

import json
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import parquet as pq

import bulk_engines
from bulk_jobs import bulk, contents, finished, leftovers, planned, result, rows, started, summary, texts, written
from embedry_bulk import Plan, done_shards, progress
from waiting import until

pytestmark = pytest.mark.usefixtures("minilm_folder")

N = 7


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return written(tmp_path / "in.jsonl", [*rows(2), {"id": 2, "text": "a text of poison"}, *rows(N)[3:]])


@pytest.fixture
def out(inputs: Path, tmp_path: Path) -> Path:
    """A job of four shards, planned."""
    planned(inputs, tmp_path / "out", shard_rows=2)
    return tmp_path / "out"


@pytest.fixture
def right(inputs: Path, tmp_path: Path) -> dict[str, bytes]:
    """What it has written in the end."""
    return contents(Path(finished(inputs, tmp_path / "undisturbed", shard_rows=2).url))


# From inputs to a result


def test_plan_then_run_is_run_with_to(inputs: Path, tmp_path: Path, right: dict[str, bytes]) -> None:
    outcome = bulk("plan", inputs, "--to", tmp_path / "one", "--shard-rows", 2)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"7 rows in 4 shards; run it: embedry bulk run {tmp_path}/one\n"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["plan.json"]
    for command in (("run", tmp_path / "one"), ("run", inputs, "--to", tmp_path / "two", "--shard-rows", 2)):
        outcome = bulk(*command)
        assert (outcome.code, outcome.out) == (0, "")
        folder = command[-1] if len(command) == 2 else command[3]
        assert summary(outcome) == f"7 rows -> {folder}/data, 0 rejected, 0 truncated"
        assert contents(Path(str(folder))) == right
    assert (tmp_path / "one/plan.json").read_bytes() == (tmp_path / "two/plan.json").read_bytes()


def test_the_same_command_again_computes_nothing(inputs: Path, tmp_path: Path) -> None:
    command = ("run", inputs, "--to", tmp_path / "out", "--shard-rows", 2)
    assert bulk(*command).code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    for again in (command, ("run", tmp_path / "out")):
        outcome = bulk(*again)
        assert outcome.code == 0
        assert summary(outcome) == f"7 rows -> {tmp_path}/out/data, 0 rejected, 0 truncated"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")} == before


def test_every_option_of_a_plan_arrives(inputs: Path, tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    model = checkpoint("bert")
    outcome = bulk(
        "plan", inputs, "--to", tmp_path / "out", "--model", model, "--role", "query", "--column", "text", "--vector-column",
        "v", "--keep", " id ,", "--format", "jsonl", "--output-format", "parquet", "--encoding", "float16", "--list", "variable",
        "--on-overflow", "reject", "--shard-tokens", 1000, "--shard-rows", 3, "--dims", 48, "--backend", "onnxruntime",
        "--device", "cpu", "--precision", "fp32", "--threads", 1,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    job = Plan.load(str(tmp_path / "out")).job
    assert (job.space.model, job.space.dims) == (str(model), 48)
    assert (job.role, job.column, job.vector_column, job.keep, job.output) == ("query", "text", "v", ("id",), "parquet")
    assert (job.encoding, job.lists, job.on_overflow, job.shard_tokens, job.shard_rows) == (
        "float16", "variable", "reject", 1000, 3,
    )  # fmt: skip
    plan = bulk("plan", inputs, "--to", tmp_path / "npy", "--output-format", "npy", "--id", "id")
    assert plan.code == 0, plan.err
    assert Plan.load(str(tmp_path / "npy")).job.id_column == "id"


def test_no_column_but_the_texts(inputs: Path, tmp_path: Path) -> None:
    assert bulk("run", inputs, "--to", tmp_path / "out", "--keep", "").code == 0
    assert pq.read_schema(next((tmp_path / "out/data").iterdir())).names == ["text", "embedding"]


# How far it is


def test_status_for_people_and_for_programs(out: Path) -> None:
    def status() -> dict[str, object]:
        outcome = bulk("status", out, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        found: dict[str, object] = json.loads(outcome.out)
        return found

    before = status()
    assert before == {
        "model": "all-MiniLM-L6-v2", "kind": "dense", "role": "document", "inputs": 1, "rows": N, "shards": 4, "shards_done": 0,
        "shards_failed": [], "rows_written": 0, "rows_rejected": 0, "texts_truncated": 0, "tokens": 0, "workers": 0,
        "rows_per_second_and_worker": None,
    }  # fmt: skip
    assert bulk("run", out).code == 0
    after = status()
    speed = after.pop("rows_per_second_and_worker")
    assert isinstance(speed, float)
    assert speed > 0
    tokens = after.pop("tokens")
    assert isinstance(tokens, int)
    assert tokens > 5 * N
    counted = {"shards_done": 4, "rows_written": N, "workers": 1}
    assert (
        after
        == {name: value for name, value in before.items() if name not in ("tokens", "rows_per_second_and_worker")}
        | counted
    )
    lines = [line.strip() for line in bulk("status", out).out.splitlines()]
    for line in (
        "model  all-MiniLM-L6-v2",
        "rows  7",
        "shards done  4",
        "rows written  7",
        "rows rejected  0",
        "shards failed  []",
    ):
        assert line in lines


def test_lines_where_there_is_no_terminal(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    lines = bulk("run", out).err.splitlines()
    pattern = r"(\d) of 4 shards, (\d) of 7 rows \((\d+\.\d) %\), [\d,]+ rows/s, \d:\d\d:\d\d left"
    found = [re.fullmatch(pattern, line) for line in lines[:-1]]
    assert all(found), lines
    counts = [(int(each[1]), int(each[2]), each[3]) for each in found if each]
    assert counts == sorted(counts)
    assert counts[0] == (0, 2, "28.6")
    assert counts[-1] == (4, 7, "100.0")
    monkeypatch.setattr(progress, "_EVERY", 3600.0)
    assert len(bulk("run", out).err.splitlines()) == 1


def test_rows_that_are_computed_again_are_not_counted_twice(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.load(str(out))
    watch = progress.Watch(plan, {"rows": 0, "rejected": 0}, 0, as_json=False)
    for _ in range(3):
        watch.advance(4)
    assert "0 of 4 shards, 7 of 7 rows (100.0 %)" in watch.line()
    assert "-1 day" not in watch.line()


def test_a_bar_on_a_terminal(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = bulk("run", inputs, "--to", tmp_path / "out", "--shard-rows", 2)
    assert outcome.code == 0
    assert "reading the inputs" in outcome.err
    assert "━" in outcome.err
    assert "4 of 4 shards, 7 of 7 rows (100.0 %)" in outcome.err


def test_events_for_programs(inputs: Path, tmp_path: Path) -> None:
    found = [json.loads(line) for line in inputs.read_text().splitlines()]
    path = written(tmp_path / "more.jsonl", [*found, {"id": 7, "text": None}])
    outcome = bulk("run", path, "--to", tmp_path / "out", "--shard-rows", 5, "--max-rejected", "50%", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["event"] for each in events] == ["done", "done", "end"]
    for event, counts in zip(events, ((5, 0), (2, 1), (7, 1)), strict=True):
        assert (event["rows"], event["rejected"]) == counts
    assert events[0]["files"][0]["name"] == "data/train-00000-of-00002.parquet"
    assert events[0]["files"][0]["size"] == (tmp_path / "out/data/train-00000-of-00002.parquet").stat().st_size
    assert [each["name"] for each in events[1]["files"]] == [
        "data/train-00001-of-00002.parquet", "rejected/00001.parquet",
    ]  # fmt: skip
    assert events[2] == {"event": "end", "url": f"{tmp_path}/out", "rows": 7, "rejected": 1, "truncated": 0} | {
        "tokens": events[0]["tokens"] + events[1]["tokens"]
    }
    with bulk_engines.installed():
        failed = bulk("run", inputs, "--to", tmp_path / "failed", "--backend", "fails_for_all", "--json")
    assert failed.code == 1
    (event,) = map(json.loads, failed.out.splitlines())
    assert (event["event"], event["shard"], event["attempts"]) == ("failed", 0, 3)
    assert "the card has fallen off the bus" in event["reason"]


# Wrong wishes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "OUT", "--worker", "0/3"), "--worker must be a number and how many there are, from 1/8 to 8/8, got '0/3'"),
        (("run", "OUT", "--worker", "4/3"), "--worker must be a number and how many there are, from 1/8 to 8/8, got '4/3'"),
        (("run", "OUT", "--worker", "first"), "from 1/8 to 8/8, got 'first'"),
        (("run", "OUT", "--on", "mainframe"), "no installed package runs jobs on 'mainframe'; there is local"),
        (("run", "OUT", "--role", "query"), "--role cannot be changed: the plan in OUT already sets it; leave it out, or plan"),
        (("run", "OUT", "--model", "x", "--keep", ""), "--model and --keep cannot be changed: the plan in OUT already sets it"),
        (("run", "OUT", "--dims", "9", "--format", "csv"), "--format and --dims cannot be changed"),
        (("run", "OUT", "OUT"), "`bulk run` takes one folder of a job; to plan one for 2 inputs, name its folder: --to OUT"),
        (("run", "IN", "--to", "NEW", "--encoding", "int4"), "'int4' is not one of"),
        (("run", "IN", "--to", "NEW", "--output-format", "csv"), "'csv' is not one of"),
        (("run", "IN", "--to", "NEW", "--format", "xml"), "'xml' is not one of"),
        (("run", "IN", "--to", "NEW", "--shard-rows", "0"), "--shard-rows must be at least 1, got 0"),
        (("run", "IN", "--to", "NEW", "--shard-rows", "many"), "--shard-rows': Input should be a valid integer"),
        (("run", "IN", "--to", "NEW", "--id", "id"), "--id is for npy; Parquet and LanceDB keep all columns"),
        (("run", "IN", "--to", "NEW", "--keep", "url"), "there is no column 'url' to keep; there are id, text"),
        (("run", "IN", "--to", "NEW", "--backend", "abacus"), "the backend 'abacus' is not installed"),
        (("run", "IN", "--to", "NEW", "--dims", "1000"), "dims"),
        (("plan", "IN"), "Missing option '--to'"),
        (("plan",), "Missing argument 'INPUT'"),
        (("plan", "IN", "--to", "NEW", "--column", ""), "has no column ''; choose one with --column: id, text"),
        (("status",), "Missing argument 'OUT'"),
        (("status", "NEW"), "NEW has no plan.json, so it is not a job; plan one: embedry bulk plan INPUT... --to NEW"),
        (("verify", "NEW", "--json"), "NEW has no plan.json, so it is not a job"),
        (("stop",), "No such command 'stop'"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_each_wrong_wish_has_a_sentence(
    arguments: tuple[str, ...], words: str, inputs: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    places = {"OUT": str(out), "IN": str(inputs), "NEW": str(tmp_path / "new")}
    outcome = bulk(*(places.get(each, each) for each in arguments))
    for name, place in places.items():
        words = (
            re.sub(rf"\b{name}\b(?!PUT)", place, words)
            if "Missing" not in words and "name its folder" not in words
            else words
        )
    said = " ".join(outcome.err.split())
    assert words in said, said
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "new/plan.json").exists()
    assert contents(out) == {}


def test_no_package_of_a_name_that_anybody_could_register_is_advised(out: Path) -> None:
    assert "pip install" not in bulk("run", out, "--on", "mainframe").err


def test_a_precision_that_gives_other_vectors(out: Path) -> None:
    outcome = bulk("run", out, "--precision", "int8")
    assert outcome.code == 1
    assert "cannot be compared with those of 'all-MiniLM-L6-v2'" in outcome.err
    assert "precision 'int8' instead of None" in outcome.err


@pytest.mark.parametrize("command", ["", "plan", "run", "status", "verify"])
def test_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = bulk(*command.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    expected = {
        "": ("plan", "run", "status", "verify", "shards that survive interruptions"),
        "plan": ("INPUT", "--to", "--model", "--shard-rows", "--encoding", "immutable plan"),
        "run": ("OUT | INPUT", "--worker", "--max-rejected", "--on", "--json", "Ctrl-C", "Run the same command again"),
        "status": ("OUT", "--json", "the progress of a job"),
        "verify": ("OUT", "--forget", "--json", "Repeated ids are reported"),
    }[command]
    for words in expected:
        assert words in outcome.out


def test_names_of_files_do_not_act_on_the_terminal(tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b]0;title\x07\x1b[2J\u202eb"
    evil.mkdir()
    path = written(evil / "in.jsonl", [*rows(2), {"text": None}])
    assert bulk("run", path, "--to", evil / "out", "--max-rejected", 1).code == 0
    (evil / "out/data/\x1b[31mred.parquet").write_bytes(b"")
    for command in (("run", "--max-rejected", 1), ("run",), ("status",), ("verify",)):
        outcome = bulk(command[0], evil / "out", *command[1:])
        printed = outcome.out + outcome.err
        assert {char for char in printed if char not in "\t\n" and unicodedata.category(char) in ("Cc", "Cf")} == set()
    assert r"data/\u001b[31mred.parquet does not belong to this job" in outcome.out


# Interruptions


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The folder by which the engine `stops_at` is told to go on."""
    (tmp_path / "gate").mkdir()
    return tmp_path / "gate"


@pytest.fixture
def stopping(out: Path, gate: Path, tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A run whose engine is busy with the second of four shards."""
    site = bulk_engines.write_plugin(tmp_path / "site")
    with started("run", out, "--backend", "stops_at", site=site, **{bulk_engines.GATE: str(gate)}) as process:
        try:
            until(lambda: (gate / "begun").exists() or process.poll() is not None)
            until(lambda: (out / "done/00000.json").exists() or process.poll() is not None)
            yield process
        finally:
            process.kill()


def interrupt(process: "subprocess.Popen[str]") -> str:
    """What a run says to Ctrl-C."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    return process.stderr.readline()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_ctrl_c_lets_the_shard_under_way_finish(
    stopping: "subprocess.Popen[str]", gate: Path, out: Path, right: dict[str, bytes]
) -> None:
    assert (
        interrupt(stopping)
        == "stopping after the shards in progress; Ctrl-C again stops immediately and loses only these\n"
    )
    (gate / "go").touch()
    _, err = stopping.communicate(timeout=60)
    assert stopping.returncode == 130, err
    assert re.fullmatch(
        rf"stopped: 2 of 4 shards, 4 of 7 rows \(57\.1 %\), .* left; to continue: embedry bulk run {out}\n", err
    ), err
    assert set(done_shards(Plan.load(str(out)))) == {0, 1}
    assert leftovers(out) == []
    assert bulk(*err.rpartition("embedry bulk ")[2].split()).code == 0
    assert contents(out) == right


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_ctrl_c_twice_ends_at_once(stopping: "subprocess.Popen[str]", out: Path, right: dict[str, bytes]) -> None:
    assert leftovers(out) == ["tmp"]
    assert interrupt(stopping).startswith("stopping after the shards in progress")
    stopping.send_signal(signal.SIGINT)
    _, err = stopping.communicate(timeout=20)
    assert (stopping.returncode, err) == (130, "")
    assert set(done_shards(Plan.load(str(out)))) == {0}
    assert leftovers(out) == []
    assert bulk("run", out).code == 0
    assert contents(out) == right


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_signal_to_end_leaves_nothing_behind(
    stopping: "subprocess.Popen[str]", out: Path, right: dict[str, bytes]
) -> None:
    stopping.terminate()
    _, err = stopping.communicate(timeout=20)
    assert (stopping.returncode, err) == (143, "")
    assert leftovers(out) == []
    assert bulk("run", out).code == 0
    assert contents(out) == right
    assert result(Plan.load(str(out))).column("text").to_pylist()[3:] == texts(N)[3:]
