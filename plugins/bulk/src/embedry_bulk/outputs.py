"""Opens the files of a shard in the job's output format; they end complete or abandoned."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedry_bulk.parts import NpyPart, ParquetPart, Part
from embedry_bulk.plan import Plan


@contextmanager
def open_part(plan: Plan, shard: int, spool: Path) -> Iterator[Part]:
    """The files of a shard in the format of the job, written to a local folder. The files are complete after the context."""
    part = _part(plan, shard, spool)
    try:
        yield part
        part.close()
    except BaseException:
        part.abandon()
        raise


def _part(plan: Plan, shard: int, spool: Path) -> Part:
    if plan.job.output == "npy":
        return NpyPart(plan, shard, spool)
    if plan.job.output == "lancedb":
        from embedry_bulk.lance import LancePart

        return LancePart(plan, shard, spool)
    return ParquetPart(plan, shard, spool)
