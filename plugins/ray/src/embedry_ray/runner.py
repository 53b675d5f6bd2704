"""`embedry bulk run OUT --on ray`: computes the shards of a job with actors of a Ray cluster."""

from collections.abc import Iterator
from itertools import chain

from embedry_bulk import Done, Failed, Plan, Settings
from embedry_bulk.records import DONE
from embedry_ray import cluster
from embedry_ray.pool import Pool


def ray_actors(plan: Plan, shards: Iterator[int], settings: Settings) -> Iterator[Done | Failed]:
    """Computes shards in a cluster; a runner of `embedry_bulk`.

    Each actor computes one shard and meanwhile commits the previous one. A failed shard is retried by another actor. An actor
    uses one thread unless `threads` is set; the same number gives the same bytes.

    Args:
        plan: the plan. Every machine of the cluster must have access to the inputs and the job's folder.
        shards: the numbers of the shards.
        settings: how to run the job: `address`, by default a new cluster on this machine; `actors`; `gpus` per actor; `attempts`.

    Raises:
        ClusterError: the cluster does not answer, has no room for an actor, or starts none.
        ActorError: actors end during startup.
        PlanError: fewer than 1 actor or thread is requested.
        As `run_shard`, for errors that affect all shards.
    """
    first = next(shards, None)
    if first is None:  # starting a cluster takes seconds
        return
    cluster.check(settings)
    with cluster.connected(settings.address):
        left = plan.shards - len(plan.folder.sizes(DONE))
        count = cluster.count(settings, max(1, left))
        yield from Pool(plan, chain([first], shards), settings, count).outcomes()
