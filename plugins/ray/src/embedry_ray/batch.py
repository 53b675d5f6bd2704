"""Arrow table in, Arrow table out, for pipelines of Ray Data."""

import pyarrow as pa

from embedry_bulk import EmbedTable


class EmbedBatch(EmbedTable):
    """`embedry_bulk.EmbedTable` that uses the CPUs that Ray assigned to its actor or task.

        ds.map_batches(
            EmbedBatch,
            fn_constructor_kwargs={"space": Space.of(resolve("all-MiniLM-L6-v2"))},
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=4),
            num_cpus=2,
        )

    Without the option `threads` it uses as many threads as the actor or task has CPUs, at least one. Otherwise each actor would
    use all processors of the machine.
    """

    def __call__(self, table: pa.Table) -> pa.Table:
        """Returns the table with its vectors, in the same order. A null text gets a null vector.

        Raises:
            As `EmbedTable`.
        """
        if self.options.get("threads") is None:
            self.options["threads"] = _given_threads()
        return super().__call__(table)


def _given_threads() -> int | None:
    """The number of CPUs that Ray assigned; None outside of Ray's actors and tasks."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 0)))
