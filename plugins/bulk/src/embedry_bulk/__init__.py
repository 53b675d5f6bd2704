"""Bulk jobs: embed a corpus of any size, in shards that survive interruptions.

    plan = make_plan(["corpus.parquet"], "vectors", model="all-MiniLM-L6-v2", role="document")
    for shard in range(plan.shards):
        run_shard(plan, shard)

`embedry bulk` does the same with progress, resuming and several workers. `EmbedTable` is for other data pipelines.
"""

from embedry_bulk.encodings import decoded
from embedry_bulk.errors import (
    BulkError,
    ChangedInputError,
    IncompleteError,
    InputError,
    OutputError,
    PlanError,
    RejectedError,
)
from embedry_bulk.plan import Job, Plan
from embedry_bulk.planning import make_plan
from embedry_bulk.records import Done, Failed, done_shards
from embedry_bulk.running import Settings, failure
from embedry_bulk.shard import Worker, run_shard
from embedry_bulk.stored import sparse_vectors, token_vectors
from embedry_bulk.tables import EmbedTable
from embedry_bulk.verifying import Problem, verify

__all__ = [
    "BulkError",
    "ChangedInputError",
    "Done",
    "EmbedTable",
    "Failed",
    "IncompleteError",
    "InputError",
    "Job",
    "OutputError",
    "Plan",
    "PlanError",
    "Problem",
    "RejectedError",
    "Settings",
    "Worker",
    "decoded",
    "done_shards",
    "failure",
    "make_plan",
    "run_shard",
    "sparse_vectors",
    "token_vectors",
    "verify",
]
