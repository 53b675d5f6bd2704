"""The simulation of bulk jobs on a cluster gives the numbers that arithmetic gives, and loses no second and no shard."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

sys.path.append(str(Path(__file__).with_name("benchmarks")))  # last, so that its programs hide no module

from cluster_assumptions import DISTURBANCES, Assumptions, Leftovers, replay
from cluster_model import Outcome, simulate
from shared_link import SharedLink

PROGRAM = Path(__file__).with_name("benchmarks") / "scaling.py"

DISTURBED = Assumptions(rows=2e8)
IDEAL = DISTURBED.only()
POLICIES = [(slices, leftovers) for slices in (True, False) for leftovers in get_args(Leftovers)]


def outcome(assumed: Assumptions, workers: int, seed: int = 0) -> Outcome:
    """Of a job of some 1,200 shards with a spread."""
    return simulate(replay([18e-6, 18.5e-6, 19e-6], assumed, seed), workers, assumed, seed)


@pytest.mark.parametrize(("slices", "leftovers"), POLICIES)
@pytest.mark.parametrize(("shards", "workers"), [(120, 1), (120, 7), (120, 120), (121, 120), (5, 8)])
def test_equal_shards_take_as_many_rounds_as_they_must(
    shards: int, workers: int, slices: bool, leftovers: Leftovers
) -> None:
    assumed = replace(IDEAL, slices=slices, leftovers=leftovers)
    found = simulate([37.0] * shards, workers, assumed, seed=0)
    assert found.makespan == math.ceil(shards / workers) * 37
    assert found.useful == found.compute == shards * 37
    assert found.lost == 0


@pytest.mark.parametrize(("slices", "leftovers"), POLICIES)
def test_every_shard_is_done_once_and_every_second_is_accounted_for(slices: bool, leftovers: Leftovers) -> None:
    assumed = replace(DISTURBED, slices=slices, leftovers=leftovers, failures_per_hour=2.0)
    found = outcome(assumed, 50)
    assert found.commits == assumed.shards == 1200
    assert found.attempts == found.commits + found.lost + found.duplicates
    assert found.lost > 10
    assert (found.duplicates == 0) == (leftovers == "wait")
    assert found.useful + found.wasted == pytest.approx(found.busy, rel=1e-9)
    assert found.busy + found.idle + found.down == pytest.approx(50 * found.makespan, rel=1e-9)


def test_failures_at_rate_0_change_nothing() -> None:
    others = set(DISTURBANCES) - {"failures"}
    assert outcome(replace(DISTURBED, failures_per_hour=0.0), 50) == outcome(DISTURBED.only(*others), 50)
    assert outcome(DISTURBED, 50) != outcome(DISTURBED.only(*others), 50)


def test_a_failure_loses_the_work_of_the_shard_under_way_and_nothing_else() -> None:
    assumed = replace(IDEAL, failure_seconds=100.0)
    found = simulate([10.0] * 10, 1, assumed, 0, failures=[(25.0, 0), (60.0, 0)])  # the second one finds no worker
    assert (found.lost, found.wasted, found.useful, found.down) == (1, 5, 100, 100)
    assert found.makespan == 100 + 5 + 100


def test_a_failure_loses_the_shard_that_is_uploaded_and_frees_the_store() -> None:
    assumed = replace(IDEAL, failure_seconds=100.0, shard_tokens=12, tokens_per_row=12, write_bytes=100)
    assumed = replace(assumed, worker_bandwidth=20, store_bandwidth=20, leftovers="wait")
    found = simulate([10.0] * 2, 2, assumed, 0, failures=[(12.0, 0)])
    # Both have sent 20 bytes after 12 seconds. Then worker 1 has the store for itself, and worker 0 does all of it again.
    assert found.makespan == 12 + 100 + 10 + 100 / 20
    assert (found.useful, found.wasted, found.lost) == (20, 10, 1)
    assert found.idle == (2 + 100 / 20) + (found.makespan - 10)


def test_a_shard_is_uploaded_while_the_next_one_is_computed() -> None:
    assumed = replace(IDEAL, shard_tokens=12, tokens_per_row=12, write_bytes=100, leftovers="wait")
    assert simulate([10.0] * 5, 1, replace(assumed, worker_bandwidth=20), seed=0).makespan == 5 * 10 + 100 / 20
    slow = simulate([10.0] * 5, 1, replace(assumed, worker_bandwidth=5), seed=0)
    assert (slow.makespan, slow.busy, slow.idle) == (10 + 5 * 20, 10 + 4 * 20, 20)  # now it waits for the uploads
    lost = simulate([10.0] * 5, 1, replace(assumed, worker_bandwidth=20), seed=0, failures=[(24.0, 0)])
    assert (lost.lost, lost.wasted) == (2, 10 + 4)


def test_a_failure_while_a_shard_is_read_ends_the_transfer() -> None:
    assumed = replace(
        IDEAL, failure_seconds=100.0, shard_tokens=12, tokens_per_row=12, read_bytes=100, worker_bandwidth=10
    )
    found = simulate([10.0] * 2, 1, assumed, 0, failures=[(5.0, 0)])
    assert (found.makespan, found.wasted) == (5 + 100 + 2 * (10 + 10), 5)


@pytest.mark.parametrize("leftovers", ["in order", "at random"])
def test_a_worker_does_not_take_the_shard_that_it_is_uploading(leftovers: Leftovers) -> None:
    assumed = replace(IDEAL, failure_seconds=1000.0, shard_tokens=12, tokens_per_row=12, write_bytes=100)
    assumed = replace(assumed, worker_bandwidth=5, leftovers=leftovers)
    found = [simulate([10.0] * 2, 2, assumed, seed, failures=[(1.0, 1)]) for seed in range(5)]
    assert [(each.makespan, each.wasted) for each in found] == [(10 + 20 + 20, 1)] * 5


def test_a_lost_shard_goes_back_to_the_queue_where_an_idle_worker_takes_it() -> None:
    assumed = replace(IDEAL, slices=False, leftovers="wait")
    found = simulate([10.0] * 3, 2, assumed, 0, failures=[(15.0, 0)])
    assert (found.makespan, found.wasted, found.idle, found.down) == (25, 5, 5, 10)


def test_duplicates_end_a_job_that_a_straggler_would_hold_up() -> None:
    assumed = replace(IDEAL, straggler_share=0.5, straggler_factor=10.0)
    found = simulate([10.0] * 4, 2, assumed, seed=0)
    assert (found.makespan, found.useful, found.wasted, found.duplicates) == (40, 40, 40, 1)
    alone = simulate([10.0] * 4, 2, replace(assumed, leftovers="wait"), seed=0)
    assert (alone.makespan, alone.useful, alone.wasted, alone.idle) == (200, 220, 0, 180)


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert outcome(DISTURBED, 50, seed=3) == outcome(DISTURBED, 50, seed=3)
    assert outcome(DISTURBED, 50, seed=3) != outcome(DISTURBED, 50, seed=4)


@pytest.mark.parametrize("read", [0, 100])
@pytest.mark.parametrize(("total", "seconds"), [(20, 40 * 100 / 20), (1000, 40 / 8 * 100 / 10)])
def test_the_bandwidth_of_the_store_and_of_a_worker_give_the_time(total: float, seconds: float, read: float) -> None:
    assumed = replace(IDEAL, shard_tokens=12, tokens_per_row=12, leftovers="wait")
    assumed = replace(assumed, read_bytes=read, write_bytes=100 - read, worker_bandwidth=10, store_bandwidth=total)
    assert simulate([0.0] * 40, 8, assumed, seed=0).makespan == pytest.approx(seconds)


def test_requests_cost_their_latency_and_failed_ones_a_wait_too() -> None:
    assumed = replace(IDEAL, latency=0.5)
    last_upload = 2 * 0.5  # the others go on while a shard is computed
    assert simulate([10.0] * 6, 2, assumed, seed=0).makespan == 3 * (10 + 2 * 0.5) + last_upload
    assumed = replace(assumed, request_failures=0.2, retry_seconds=2.0)
    found = simulate([10.0] * 20_000, 1, assumed, seed=0)
    assert found.makespan / 20_000 == pytest.approx(10 + 2 * (0.5 / 0.8 + 2 * 0.2 / 0.8), rel=0.01)


def test_outages_come_at_their_rate() -> None:
    assumed = replace(IDEAL, failures_per_hour=6.0, preemptions_per_hour=3.0)
    found = simulate([30.0] * 100_000, 20, assumed, seed=0)
    hours = found.busy / 3600
    assert found.lost / hours == pytest.approx(9, rel=0.05)
    seconds = 6 * assumed.failure_seconds + 3 * assumed.preemption_seconds
    assert found.down / hours == pytest.approx(seconds, rel=0.05)


def test_efficiency_falls_as_disturbances_are_added() -> None:
    names = list(DISTURBANCES)
    job = replace(DISTURBED, rows=1e9)
    found = [outcome(job.only(*names[:count]), 100).efficiency for count in range(len(names) + 1)]
    assert 0.99 < found[0] <= 1
    assert all(after < before + 0.005 for before, after in pairwise(found)), found
    assert found[-1] < found[0] - 0.08


def test_a_shared_link_divides_its_bandwidth() -> None:
    link = SharedLink(each=20, total=30)
    link.add(0, worker=0, size=150)
    link.add(0, worker=1, size=300)
    assert (link.next_end, link.pop()) == (10, 0)  # 15 bytes a second for each
    assert link.next_end == 10 + 150 / 20  # alone, it is limited to a worker's rate
    link.add(12, worker=2, size=1000)
    link.cancel(14, worker=1)
    assert link.next_end == 14 + (1000 - 2 * 15) / 20
    link.cancel(15, worker=2)
    assert link.next_end == math.inf


def test_the_program_replays_a_finished_job(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    program = [sys.executable, str(PROGRAM), "--rows", "1e7", "--job", str(tmp_path)]
    empty = subprocess.run(program, capture_output=True, text=True, check=False)
    assert empty.returncode == 1
    assert str(done) in empty.stderr

    for number, tokens in enumerate((1_000_000, 500_000, 0)):  # the rows of the last one were all set aside
        record = {"seconds": tokens / 1e5, "rows": tokens // 10, "tokens": tokens, "sha256": "..."}
        (done / f"{number:05}.json").write_text(json.dumps(record))
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert "10,000,000 rows of 10.0 tokens, in 50 shards of 20.0 s, replayed from 2 measured ones" in printed
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows if row[0] in ("1", "50")] == [
        *(["1", "100.0%"], ["50", "100.0%"]),
        *(["1", "16.7 min"], ["50", "0.3 min"]),
        *(["1", "0.00%"], ["50", "0.00%"]),
    ]
