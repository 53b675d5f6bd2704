"""How a bulk job scales from 1 to 1,000 workers: a simulation that replays the measured times of shards.

    python tests/benchmarks/scaling.py                 half a minute; prints tables
    python tests/benchmarks/scaling.py --job FOLDER    replays the shards of this finished job
    python tests/benchmarks/scaling.py --rows 1e8      simulates a job of another size
    python tests/benchmarks/scaling.py --write         also writes docs/clusters.md and docs/scaling.svg

The times are measured on one machine; the cluster is simulated. `cluster_assumptions.py` has every assumption with its reason,
`cluster_model.py` has the simulation. All counts of workers are simulated with all shards.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

import report
import scaling_chart
from cluster_assumptions import DISTURBANCES, Assumptions, Leftovers, replay
from cluster_model import Outcome, simulate
from turns import show

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
BEGIN, END = "<!-- scaling -->", "<!-- /scaling -->"

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SCENARIOS: dict[str, tuple[str, ...]] = {
    "ideal": (),
    "stragglers": ("stragglers",),
    "failures": ("failures",),
    "slow store": ("slow store",),
    "preemption": ("preemption",),
    "all together": tuple(DISTURBANCES),
}
"""The disturbances of each. Only the last one includes the start of the workers."""
LEFTOVERS: tuple[Leftovers, ...] = get_args(Leftovers)
SHARD_TOKENS = (0.5e6, 2e6, 8e6)
SEED = 0
"""Of every simulation, so that scenarios differ by their disturbances alone."""


@dataclass(frozen=True)
class Measured:
    """A shard of a finished job, as the file that says that it is done has it."""

    seconds: float
    rows: int
    tokens: int


MEASURED = [
    Measured(10.04, 21_004, 252_143),
    Measured(9.77, 20_635, 247_462),
    Measured(10.08, 20_954, 251_140),
    Measured(9.78, 20_452, 246_448),
    Measured(10.05, 21_009, 252_256),
    Measured(9.75, 20_732, 247_588),
    Measured(9.79, 20_854, 249_178),
    Measured(9.72, 20_849, 249_572),
]
"""Of a job of 200,000 made texts, all-MiniLM-L6-v2 in int8, in shards of 250,000 tokens, without the first shard, which waits for
the model, and the last one, which is smaller: on two cores of an AMD EPYC, with nothing beside it."""

COLUMNS = ("time", "efficiency", "wasted work")
Outcomes = Mapping[str, Sequence[Outcome]]
"""Of each scenario, for each count of workers."""


def main() -> None:
    """Simulates, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="how a bulk job scales, simulated from measured shards")
    parser.add_argument("--job", type=Path, metavar="FOLDER", help="replay the shards of this finished job")
    parser.add_argument("--rows", type=float, default=Assumptions.rows, help="rows of the simulated job")
    parser.add_argument("--write", action="store_true", help="also write docs/clusters.md and docs/scaling.svg")
    arguments = parser.parse_args()

    measured = read_job(arguments.job) if arguments.job else MEASURED
    tokens_per_row = sum(shard.tokens for shard in measured) / sum(shard.rows for shard in measured)
    assumed = Assumptions(rows=arguments.rows, tokens_per_row=tokens_per_row)
    token_seconds = [shard.seconds / shard.tokens for shard in measured]
    outcomes = {
        name: [run(f"{name}, {count} workers", token_seconds, count, assumed.only(*disturbances)) for count in WORKERS]
        for name, disturbances in SCENARIOS.items()
    }
    text = markdown(measured, assumed, outcomes, policies(token_seconds, assumed), sizes(token_seconds, assumed))
    show("")
    print(text)
    if arguments.write:
        report.write(text, PAGE, BEGIN, END)
        lines = {name: [outcome.efficiency for outcome in each] for name, each in outcomes.items()}
        scaling_chart.CHART.write_text(scaling_chart.draw(assumed.rows, WORKERS, lines), encoding="utf-8")


def read_job(folder: Path) -> list[Measured]:
    """The shards of a finished job; one without tokens, whose rows were all set aside, has no time a token."""
    files = sorted((folder / "done").glob("*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    shards = [Measured(float(each["seconds"]), int(each["rows"]), int(each["tokens"])) for each in found]
    shards = [shard for shard in shards if shard.tokens]
    if not shards:
        raise SystemExit(f"{folder / 'done'} has no shard that was computed; --job takes the folder of a finished job")
    return shards


def run(name: str, token_seconds: Sequence[float], workers: int, assumed: Assumptions) -> Outcome:
    """One simulation."""
    show(name)
    return simulate(replay(token_seconds, assumed, SEED), workers, assumed, SEED)


def policies(token_seconds: Sequence[float], assumed: Assumptions) -> dict[tuple[str, str], Outcome]:
    """All disturbances and the most workers: by who takes which shard, and by what a worker does that has none left."""
    return {
        (shares, leftovers): run(
            f"{shares}, {leftovers}", token_seconds, WORKERS[-1], replace(assumed, slices=slices, leftovers=leftovers)
        )
        for slices, shares in ((True, "a slice for each worker"), (False, "one queue"))
        for leftovers in LEFTOVERS
    }


def sizes(token_seconds: Sequence[float], assumed: Assumptions) -> dict[float, Outcome]:
    """All disturbances and the most workers, by the tokens of a shard."""
    return {
        tokens: run(
            f"shards of {tokens:,.0f} tokens", token_seconds, WORKERS[-1], replace(assumed, shard_tokens=tokens)
        )
        for tokens in SHARD_TOKENS
    }


def markdown(
    measured: Sequence[Measured],
    assumed: Assumptions,
    outcomes: Outcomes,
    by_policy: Mapping[tuple[str, str], Outcome],
    by_size: Mapping[float, Outcome],
) -> str:
    """All tables."""
    seconds = statistics.mean(shard.seconds / shard.tokens for shard in measured) * assumed.shard_tokens
    written = assumed.rows * assumed.write_bytes
    everything = f"{WORKERS[-1]:,} workers, all disturbances together"
    return "\n\n".join(
        [
            f"Simulated: {assumed.rows:,.0f} rows of {assumed.tokens_per_row:.1f} tokens, in {assumed.shards:,} shards of"
            f" {seconds:.1f} s, replayed from {len(measured)} measured ones. A slow store takes at least"
            f" {_duration(written / assumed.store_bandwidth)} for {written / 1e12:.1f} TB, with any number of workers.",
            "**Efficiency**, the undisturbed compute time of one worker / (workers × time of the job):",
            _by_workers(outcomes, lambda outcome: f"{outcome.efficiency:.1%}"),
            "**Time of the job**:",
            _by_workers(outcomes, lambda outcome: _duration(outcome.makespan)),
            "**Wasted work**, the share of the workers' busy time spent on lost shards and duplicates:",
            _by_workers(outcomes, lambda outcome: f"{outcome.waste:.2%}"),
            f"**Assignment of shards**, {everything}. A worker with none left waits, or takes unfinished shards of other"
            " workers, in order or at random:",
            report.table(
                ("shards", "with none left", *COLUMNS, "idle"),
                [
                    (*names, *_cells(each), f"{each.idle / (each.workers * each.makespan):.1%}")
                    for names, each in by_policy.items()
                ],
            ),
            f"**Size of a shard**, {everything}:",
            report.table(
                ("tokens", "shards", *COLUMNS),
                [(f"{tokens:,.0f}", f"{each.commits:,}", *_cells(each)) for tokens, each in by_size.items()],
            ),
            "**Assumed**, each with its unit and reason in `tests/benchmarks/cluster_assumptions.py`:",
            report.table(("", ""), _assumptions(assumed)),
        ]
    )


def _cells(outcome: Outcome) -> tuple[str, str, str]:
    return _duration(outcome.makespan), f"{outcome.efficiency:.1%}", f"{outcome.waste:.2%}"


def _by_workers(outcomes: Outcomes, cell: Callable[[Outcome], str]) -> str:
    rows = zip(*outcomes.values(), strict=True)
    cells = [(f"{row[0].workers:,}", *map(cell, row)) for row in rows]
    return report.table(("workers", *outcomes), cells)


def _duration(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 60:.1f} min"


def _assumptions(assumed: Assumptions) -> list[tuple[str, str]]:
    values = {field.name: getattr(assumed, field.name) for field in fields(assumed)}
    numbers = {name: f"{value:,.2f}" for name, value in values.items() if not isinstance(value, bool | str)}
    return [(f"`{name}`", number.rstrip("0").rstrip(".")) for name, number in numbers.items()]


if __name__ == "__main__":
    main()
