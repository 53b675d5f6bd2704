"""Bulk jobs on a local Ray cluster of two CPUs: the bytes of a local run, whatever dies, and errors that say what to do."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster

from bulk_jobs import bulk, contents, leftovers, planned, rows, written
from embedry import LazyEmbedder, Space
from embedry_bulk import ChangedInputError, Done, Failed, OutputError, Plan, Settings, verify
from embedry_bulk.running import Allowance, local, run
from embedry_ray import EmbedBatch, actors, cluster, limits
from embedry_ray.errors import ActorError, ClusterError
from embedry_ray.runner import ray_actors
from waiting import until

SHARDS, SHARD_ROWS = 12, 60

DEFAULTS = Settings()
ONE_THREAD = Settings(options={"threads": 1})


@pytest.fixture(scope="module")
def cluster_of_two() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False
        )  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("inputs") / "in.parquet", rows(SHARDS * SHARD_ROWS))


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory, minilm: LazyEmbedder) -> dict[str, bytes]:
    """The bytes of a local run with one thread."""
    plan = planned(inputs, tmp_path_factory.mktemp("local"), shard_rows=SHARD_ROWS)
    assert len(list(local(plan, iter(range(SHARDS)), ONE_THREAD))) == SHARDS
    return contents(Path(plan.url))


@pytest.fixture
def plan(inputs: Path, tmp_path: Path) -> Plan:
    """That of a job which is not begun."""
    return planned(inputs, tmp_path / "job", shard_rows=SHARD_ROWS)


def finish(plan: Plan, settings: Settings = DEFAULTS, watch: Callable[[Any], object] = lambda _: None) -> None:
    run(plan, ray_actors, settings, allowance=Allowance(0, 0), stopping=Event(), watch=watch)


def test_a_job_of_a_sparse_model_has_the_bytes_of_a_local_run(cluster_of_two: None, tmp_path: Path) -> None:
    from kind_folders import SPARSE  # and torch

    SPARSE["bert"](tmp_path / "model")
    inputs = written(tmp_path / "in.jsonl", rows(7))
    plans = [planned(inputs, tmp_path / name, model=str(tmp_path / "model"), shard_rows=3) for name in ("ray", "here")]
    finish(plans[0])
    assert len(list(local(plans[1], iter(range(3)), ONE_THREAD))) == 3
    assert contents(Path(plans[0].url)) == contents(Path(plans[1].url))
    assert list(verify(plans[0])) == []
    batch = EmbedBatch(plans[0].job.space)(pa.table({"text": ["question 0 about refunds", None]}))
    assert batch.column("embedding").is_null().to_pylist() == [False, True]
    assert len(batch.column("embedding")[0].as_py()["indices"]) > 20


def test_a_job_has_the_bytes_of_a_local_run_and_both_cpus_work(
    cluster_of_two: None, plan: Plan, expected: dict[str, bytes]
) -> None:
    workers = set()
    finish(plan, watch=lambda done: workers.add((done.worker, done.engine["threads"])))
    assert contents(Path(plan.url)) == expected
    assert len(workers) == 2
    assert {threads for _, threads in workers} == {"1"}
    assert leftovers(Path(plan.url)) == []


def test_actors_that_are_killed_cost_only_their_shards(
    cluster_of_two: None, plan: Plan, expected: dict[str, bytes]
) -> None:
    killed: list[int] = []

    def kill(outcome: Done) -> None:
        process = int(outcome.worker.split()[1])
        if len(killed) < 2 and process not in killed:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    finish(plan, watch=kill)
    assert len(killed) == 2
    assert contents(Path(plan.url)) == expected
    assert leftovers(Path(plan.url)) == []


def command(plan: Plan, *options: str) -> list[str]:
    """One that runs a job in a process of its own."""
    return [sys.executable, "-m", "embedry_cli", "bulk", "run", plan.url, "--on", "ray", "--json", *options]


def test_a_driver_that_is_killed_goes_on_in_the_next_run(plan: Plan, expected: dict[str, bytes]) -> None:
    with subprocess.Popen(command(plan), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        before = json.loads(first.stdout.readline())
        first.kill()
    actors_of_first = [int(spool.name.split("-")[1]) for spool in Path(plan.url, "tmp").iterdir()]
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in actors_of_first))  # they end by themselves
    second = subprocess.run(command(plan), capture_output=True, text=True, timeout=120, check=False)
    assert (second.returncode, second.stderr) == (0, "")
    events = [json.loads(line) for line in second.stdout.splitlines()]  # nothing of Ray is among them
    assert 0 < sum(event["event"] == "done" for event in events) < SHARDS
    assert before["shard"] not in [event.get("shard") for event in events]
    assert contents(Path(plan.url)) == expected
    assert leftovers(Path(plan.url)) == []


def raylet_of(machine: Any) -> int:
    (raylet,) = machine.all_processes["raylet"]
    return int(raylet.process.pid)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_machine_that_is_lost_costs_only_its_shards(plan: Plan, expected: dict[str, bytes]) -> None:
    described: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    head = described | {"num_cpus": 0, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args=head)
    try:
        others = {raylet_of(machine): machine for machine in (machines.add_node(**described) for _ in range(2))}
        with subprocess.Popen(
            command(plan, "--address", machines.address), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as driver:
            assert driver.stdout is not None
            first = json.loads(driver.stdout.readline())["worker"]
            machines.remove_node(others[parent_of(int(first.split()[1]))], allow_graceful=False)
            workers = [json.loads(line).get("worker") for line in driver.stdout]
            assert driver.stderr is not None
            assert driver.stderr.read() == ""
        assert driver.returncode == 0
    finally:
        machines.shutdown()
    assert len(set(workers) - {first, None}) == 1
    assert contents(Path(plan.url)) == expected


def test_a_shard_that_always_fails_is_given_up_and_the_others_are_done(cluster_of_two: None, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    for file in files:
        table = pa.Table.from_pylist(list(rows(SHARD_ROWS)))
        pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    plan = planned(files, tmp_path / "job", shard_rows=SHARD_ROWS)
    damaged = files[1]
    state, content = damaged.stat(), bytearray(damaged.read_bytes())
    content[content.index(b"question 3 about")] ^= 1
    damaged.write_bytes(content)
    os.utime(damaged, ns=(state.st_atime_ns, state.st_mtime_ns))

    outcome = bulk("run", plan.url, "--on", "ray", "--threads", 1)
    assert outcome.code == 1
    assert "shard 1 failed 3 times: InputError: " in outcome.err
    record = json.loads(Path(plan.url, "failed", "00001.json").read_text())
    assert record["attempts"] == 3
    assert record["reason"].startswith(f"InputError: file://{damaged} cannot be read: ")
    assert "CRC" in record["reason"]
    assert sorted(path.name for path in Path(plan.url, "done").iterdir()) == ["00000.json", "00002.json"]


def test_a_changed_input_ends_the_run_with_its_sentence(cluster_of_two: None, tmp_path: Path) -> None:
    changed = written(tmp_path / "in.parquet", rows(40))
    plan = planned(changed, tmp_path / "job", shard_rows=20)
    written(changed, rows(41))
    with pytest.raises(ChangedInputError, match=r"in\.parquet has changed since the job was planned: ") as caught:
        finish(plan)
    assert "ray" not in str(caught.value)
    assert not Path(plan.url, "failed").exists()


def test_more_actors_than_there_is_room_for_are_not_started(cluster_of_two: None, plan: Plan) -> None:
    outcome = bulk("run", plan.url, "--on", "ray", "--actors", 5, "--threads", 2, "--json")
    assert outcome.code == 0
    assert outcome.err.startswith(
        "1 actor instead of 5, since each takes 2 CPUs: the cluster has 2 CPUs and 0 GPUs on 1 machine\n"
    )
    done = [json.loads(line) for line in outcome.out.splitlines()][:-1]
    assert len({each["worker"] for each in done}) == 1
    assert {each["engine"]["threads"] for each in done} == {"2"}
    for asked, left, count in ((5, 12, 2), (None, 12, 2), (1, 12, 1), (5, 1, 1)):
        assert cluster.count(Settings(actors=asked), left) == count


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--threads", 3), 1, "no machine has room for an actor of 3 CPUs: the cluster has 2 CPUs and 0 GPUs on 1 machine; ask for less with --threads, or add a machine"),
        (("--gpus", 1), 1, "no machine has room for an actor of 1 CPU and 1 GPU: the cluster has 2 CPUs and 0 GPUs on 1 machine; ask for less with --threads and --gpus, or add a machine"),
        (("--actors", 0), 2, "--actors must be at least 1, got 0"),
        (("--threads", 0), 2, "--threads must be at least 1, got 0"),
        (("--gpus", -1), 2, "--gpus must be at least 0, got -1"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_an_error(
    cluster_of_two: None, plan: Plan, arguments: tuple[object, ...], code: int, sentence: str
) -> None:
    outcome = bulk("run", plan.url, "--on", "ray", *arguments)
    assert (outcome.code, outcome.err.strip()) == (code, f"error: {sentence}")


def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:9; is it there\? ray status"):
        finish(plan, Settings(address="127.0.0.1:9"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:7")
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:7;"):
        finish(plan)


def test_for_a_job_that_is_complete_no_cluster_is_started(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setattr(cluster, "connected", lambda _: pytest.fail("a cluster is started"))
    assert list(ray_actors(plan, iter(()), ONE_THREAD)) == []


def test_shards_are_taken_when_there_is_an_actor_for_them(cluster_of_two: None, plan: Plan) -> None:
    taken = []

    def shards() -> Iterator[int]:
        for shard in range(SHARDS):
            taken.append(shard)
            yield shard

    outcomes = ray_actors(plan, shards(), ONE_THREAD)
    next(outcomes)
    assert len(taken) <= 4  # two that are being computed, one that is done, and one that follows it
    outcomes.close()  # type: ignore[attr-defined]


def acting(monkeypatch: pytest.MonkeyPatch, **methods: Callable[..., Any]) -> None:
    """Gives actors other methods. A class that is made here travels to the actors as a whole."""
    monkeypatch.setattr(
        actors, "ShardActor", type("ShardActor", (actors.ShardActor,), {"__module__": "__main__"} | methods)
    )


def test_an_actor_that_is_stuck_is_ended(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes], tmp_path: Path
) -> None:
    @ray.method(concurrency_group="compute")
    def compute(self: actors.ShardActor, shard: int) -> None:
        if shard in (2, 3) and not (tmp_path / "stuck").exists():
            (tmp_path / "stuck").touch()
            time.sleep(100)
        actors.ShardActor.compute(self, shard)

    acting(monkeypatch, compute=compute)
    monkeypatch.setattr(limits, "_SHORTEST_LIMIT", 3)
    begun = time.monotonic()
    finish(plan)
    assert 3 < time.monotonic() - begun < 60
    assert contents(Path(plan.url)) == expected


def test_a_shard_whose_actor_always_ends_is_given_up(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @ray.method(concurrency_group="compute")
    def compute(self: actors.ShardActor, shard: int) -> None:
        if shard == 1:
            (tmp_path / str(os.getpid())).touch()
            os._exit(1)
        actors.ShardActor.compute(self, shard)

    acting(monkeypatch, compute=compute)
    outcomes = list(ray_actors(plan, iter((0, 1, 2, 3)), Settings(options={"threads": 1}, attempts=2)))
    (failed,) = (each for each in outcomes if isinstance(each, Failed))
    assert sorted(each.shard for each in outcomes) == [0, 1, 2, 3]
    assert (failed.shard, failed.attempts) == (1, 2)
    assert sum(path.name.isdigit() for path in tmp_path.iterdir()) == 2
    assert failed.reason.startswith("ActorError: ")
    assert "its worker process has died" in failed.reason


@pytest.mark.parametrize(
    ("error", "caught"), [(OutputError("the disk is full"), OutputError), (KeyError("a fault of ours"), KeyError)]
)
def test_what_concerns_all_shards_ends_the_run_as_itself(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch, error: Exception, caught: type[Exception]
) -> None:
    @ray.method(concurrency_group="compute")
    def compute(self: actors.ShardActor, shard: int) -> None:
        raise error

    acting(monkeypatch, compute=compute)
    with pytest.raises(caught) as found:
        list(ray_actors(plan, iter(range(SHARDS)), ONE_THREAD))
    assert type(found.value) is type(error)
    assert str(found.value) == str(error)


def test_actors_that_do_not_start_end_the_run(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting(monkeypatch, start=lambda self: os._exit(1))
    with pytest.raises(ActorError, match="an actor ended: its worker process has died"):
        list(ray_actors(plan, iter((0,)), ONE_THREAD))


def test_a_machine_without_the_package_is_told_what_to_install(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("only_on_the_driver")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    acting(monkeypatch, __module__=module.__name__)  # type: ignore[arg-type]
    module.ShardActor = actors.ShardActor  # type: ignore[attr-defined]
    with pytest.raises(
        ActorError, match=r"^an actor does not start: No module named 'only_on_the_driver'; install embedry-ray"
    ):
        list(ray_actors(plan, iter((0,)), ONE_THREAD))


def test_a_machine_that_does_not_see_the_folder_says_so(plan: Plan) -> None:
    Path(plan.url, "plan.json").unlink()
    with pytest.raises(OutputError, match=r"sees no plan\.json in .*every machine of the cluster sees"):
        actors.ShardActor(plan, {}).start()
    assert leftovers(Path(plan.url)) == []


def test_a_cluster_that_is_taken_is_not_waited_for_without_end(
    cluster_of_two: None, plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Holder:
        def held(self) -> bool:
            return True

    holder = ray.remote(num_cpus=2)(Holder).remote()
    assert ray.get(holder.held.remote())
    monkeypatch.setattr(limits, "_QUIET", 0.5)
    monkeypatch.setattr(limits, "_PATIENCE", 3)
    try:
        with pytest.raises(ClusterError, match="0 of 2 CPUs are free and 0 of 0 GPUs are free; see what holds them"):
            list(ray_actors(plan, iter((0,)), ONE_THREAD))
    finally:
        ray.kill(holder)
    assert capsys.readouterr().err.count("waiting for the cluster to start an actor: 0 of 2 CPUs are free") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of options that it sets itself
def test_embed_batch_in_ray_data(cluster_of_two: None, minilm: LazyEmbedder) -> None:
    data = ray.data.from_arrow(pa.Table.from_pylist([*rows(30), {"id": 30, "text": None}]))
    data = data.map_batches(
        EmbedBatch,
        fn_constructor_kwargs={"space": Space.of(minilm)},
        batch_format="pyarrow",
        batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )
    table = pa.concat_tables(ray.get(data.to_arrow_refs())).sort_by("id")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    assert table.column("embedding")[30].as_py() is None
    vectors = np.stack([each.as_py() for each in table.column("embedding")[:30]])
    assert np.abs(vectors - minilm.encode_document([row["text"] for row in rows(30)])).max() < 1e-6


def test_embed_batch_takes_the_threads_that_its_actor_has(cluster_of_two: None, minilm: LazyEmbedder) -> None:
    class Asked(EmbedBatch):
        def threads(self) -> object:
            self(pa.table({"text": ["a"]}))
            return self.options["threads"]

    space = Space.of(minilm)
    for cpus, options, threads in ((1, {}, 1), (2, {}, 2), (1, {"threads": 2}, 2), (0, {}, 1)):
        actor = ray.remote(num_cpus=cpus)(Asked).remote(space, **options)
        assert ray.get(actor.threads.remote()) == threads
        ray.kill(actor)
    assert Asked(space).threads() is None  # outside of Ray it is as many as the process may use


def test_embed_batch_pickles(minilm: LazyEmbedder) -> None:
    batch = pickle.loads(
        pickle.dumps(EmbedBatch(Space.of(minilm), role="query", column="q", vector_column="v", threads=1))
    )
    table = batch(pa.table({"q": ["a text", "another"]}))
    assert table.schema.field("v").type == pa.list_(pa.float32(), 384)
    found = np.asarray(table.column("v").combine_chunks().flatten()).reshape(2, 384)
    assert np.abs(found - minilm.encode_query(["a text", "another"])).max() < 1e-6


def test_nothing_of_ray_is_imported_with_the_package(fresh: Callable[..., Any]) -> None:
    fresh("import sys, embedry_ray; embedry_ray.EmbedBatch; assert 'ray' not in sys.modules")
