"""`embedry bulk run OUT --on ray`: the shards of a job are computed by actors of a Ray cluster."""

from collections.abc import Iterator
from itertools import chain

from embedry_bulk import Done, Failed, Plan, Settings
from embedry_bulk.records import DONE
from embedry_ray import cluster
from embedry_ray.pool import Pool


def ray_actors(plan: Plan, shards: Iterator[int], settings: Settings) -> Iterator[Done | Failed]:
    """Computes shards in a cluster; a runner of `embedry_bulk`.

    Each actor computes one shard, and meanwhile puts the one before in its place. A shard that fails is tried again by another
    actor. An actor computes with one thread unless `threads` says another number; the same number gives the same bytes.

    Args:
        plan: the plan. The inputs and the folder of the job must be where every machine of the cluster sees them.
        shards: the numbers of the shards.
        settings: how: `address`, or a cluster of this machine is started; `actors`; `gpus` of each; `attempts`.

    Raises:
        ClusterError: the cluster does not answer, has no room for an actor, or starts none.
        ActorError: actors end while they start.
        PlanError: fewer than 1 actor or thread is asked for.
        As `run_shard`, for what concerns all shards.
    """
    first = next(shards, None)
    if first is None:  # to start a cluster takes seconds
        return
    cluster.check(settings)
    with cluster.connected(settings.address):
        left = plan.shards - len(plan.folder.sizes(DONE))
        count = cluster.count(settings, max(1, left))
        yield from Pool(plan, chain([first], shards), settings, count).outcomes()
