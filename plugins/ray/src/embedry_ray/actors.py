"""The actor in the cluster: a process that computes shards in turn."""

import os
import platform
from contextlib import ExitStack
from typing import Any

import ray

from embedry.options import Options
from embedry_bulk import Done, OutputError, Plan, Worker
from embedry_bulk.plan import NAME
from embedry_bulk.shard import Computed


class ShardActor:
    """Computes shards of a plan. While one is computed, the previous one is committed.

    Args:
        plan: the plan.
        options: machine options of `resolve`.
    """

    def __init__(self, plan: Plan, options: Options) -> None:
        # Nothing that can fail: Ray returns an error of a method unchanged, but one of a constructor as text.
        self._plan = plan
        self._options = options
        self._held = ExitStack()
        self._computed: dict[int, Computed] = {}

    def start(self) -> str:
        """Loads the model; returns the machine and the process ID.

        Raises:
            OutputError: this machine has no access to the job's folder, or cannot write to it.
            SpaceError: the model makes other vectors than when the job was planned.
            FilesError, BackendError: the model cannot be loaded.
        """
        here = platform.node()
        if self._plan.folder.read(NAME) is None:
            raise OutputError(
                f"{here} sees no {NAME} in {self._plan.url}: the folder must be one that every machine of the cluster sees, "
                "such as a shared disk or a bucket"
            )
        self._plan.job.space.resolve_model(**self._options).load()  # the embedder that the worker shares
        spool = self._held.enter_context(self._plan.folder.spool())
        self._worker = Worker(self._plan, spool, **self._options)
        return f"{here} {os.getpid()}"

    @ray.method(concurrency_group="compute")
    def compute(self, shard: int) -> None:
        """Computes a shard. Raises as `Worker.compute`."""
        self._computed[shard] = self._worker.compute(shard)

    @ray.method(concurrency_group="commit")
    def commit(self, shard: int) -> Done:
        """Commits a computed shard. Raises as `Computed.commit`."""
        return self._computed.pop(shard).commit()

    def close(self) -> None:
        """Removes incomplete files."""
        self._held.close()


def started(plan: Any, options: Options, *, threads: int, gpus: float) -> Any:
    """Starts an actor in the cluster with these CPUs and GPUs and returns its handle.

    Args:
        plan: the plan, or a reference to it in the cluster.
        options: machine options of `resolve`; `threads` is added.
        threads: the number of threads of the actor.
        gpus: the number of GPUs of the actor.
    """
    settings: dict[str, Any] = {
        "num_cpus": threads,
        "num_gpus": gpus,
        "concurrency_groups": {"compute": 1, "commit": 1},
        "scheduling_strategy": "SPREAD",  # spread actors over machines, so that few share the memory of one
    }
    return ray.remote(**settings)(ShardActor).remote(plan, options | {"threads": threads})
