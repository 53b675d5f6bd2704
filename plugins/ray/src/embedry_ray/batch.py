"""Arrow table in, Arrow table out, for pipelines of Ray Data."""

import pyarrow as pa

from embedry_bulk import EmbedTable


class EmbedBatch(EmbedTable):
    """`embedry_bulk.EmbedTable` that computes with the processors that Ray has given to its actor or task.

        ds.map_batches(
            EmbedBatch,
            fn_constructor_kwargs={"space": Space.of(resolve("all-MiniLM-L6-v2"))},
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=4),
            num_cpus=2,
        )

    Without `threads` among the options it takes as many threads as the actor or task has CPUs, at least one: a process of its own
    would take all processors of the machine, and the actors beside it would do the same.
    """

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with its vectors, in the same order. The vector of a null is null.

        Raises:
            As `EmbedTable`.
        """
        if self.options.get("threads") is None:
            self.options["threads"] = _given_threads()
        return super().__call__(table)


def _given_threads() -> int | None:
    """None outside of Ray's actors and tasks."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 0)))
