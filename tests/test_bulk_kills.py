"""A job that is killed at every stage, by name and at random, ends with the bytes of an undisturbed run.

`python tests/bulk_kills.py` does the same a hundred times.
"""

from collections.abc import Callable
from pathlib import Path

import bulk_kills


def test_a_job_that_is_killed_at_every_stage_ends_with_the_same_bytes(
    tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    counts, faults = bulk_kills.torment(tmp_path, str(checkpoint("bert")), kills=3, named=1)
    assert not faults
    assert counts.total() == 3 + 7
    assert all(counts[stage] for stage in bulk_kills.STAGES if stage != "computing"), counts
