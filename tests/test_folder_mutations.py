"""Whatever a model's folder holds, what comes of it is vectors or an error of ours, in little time and memory."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hostile
from hostile_worker import Worker
from mutation_strategy import strategy
from mutations import Mutation

BACKENDS = ("onnxruntime", "transformers", "sentence-transformers")
MUTATIONS = 2000
EVERY = 13
"""Of so many mutations one is also tried on the engines that load with torch, which are slower."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A process that loads folders with the default engine."""
    made = Worker(tmp_path_factory.mktemp("worker"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def torch_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A process that loads folders with the engines over torch."""
    made = Worker(tmp_path_factory.mktemp("torch-worker"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two valid models that differ in how their weights are stored and in the kind of their tokenizers."""
    folders = [tmp_path_factory.mktemp("valid") / name for name in ("whole", "sharded")]
    for shards, folder in enumerate(folders, 1):
        hostile.write(folder, shards=shards, byte_pairs=shards == 2)
    return folders


def test_whatever_a_folder_holds_gives_vectors_or_an_error_of_ours(
    valid: list[Path], worker: Worker, torch_worker: Worker, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(valid[0], outside)
    number = 0
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for folder in valid:
        for backend in BACKENDS:
            assert (worker if backend == "onnxruntime" else torch_worker).ask(folder, backend).kind == "vectors"

    def tried(valid_one: Path, made: list[Mutation]) -> None:
        nonlocal number
        number += 1
        folder = tmp_path / f"model-{number}"
        shutil.copytree(valid_one, folder)
        for mutation in made:
            try:
                mutation.apply(folder, outside)
            except (
                OSError,
                LookupError,
                TypeError,
                ValueError,
                AttributeError,
                RecursionError,
            ):  # the one before left nothing
                continue
        for backend in BACKENDS if number % EVERY == 0 else BACKENDS[:1]:
            outcome = (worker if backend == "onnxruntime" else torch_worker).ask(folder, backend)
            counts[outcome.kind] += 1
            if not outcome.is_allowed:
                faults.append(f"{outcome.kind} by {backend}, {made}: {outcome.message}")
        shutil.rmtree(folder)

    @settings(
        max_examples=MUTATIONS, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.one_of(*(st.tuples(st.just(folder), strategy(folder)) for folder in valid)))
    def explore(chosen: tuple[Path, list[Mutation]]) -> None:
        tried(*chosen)

    explore()
    print(f"{number} folders: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:3000]])
