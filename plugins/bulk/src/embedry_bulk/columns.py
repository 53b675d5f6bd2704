"""The columns to keep: one lossless schema for all inputs."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet as pq

from embedry_bulk import parts
from embedry_bulk.errors import InputError, PlanError, in_a_line
from embedry_bulk.inputs import InputFile
from embedry_bulk.plan import Job
from embedry_bulk.rows import Reader


class Columns(NamedTuple):
    """The columns of a file, as found by its scan."""

    file: InputFile
    names: Sequence[str]
    schema: pa.Schema
    """Of the ones that are wanted."""


class Wanted:
    """The names of the columns that a job keeps."""

    def __init__(self, job: Job) -> None:
        everything = job.keep is None and job.output != "npy"
        self._names = None if everything else {job.column, *(job.keep or ()), job.id_column}

    def __contains__(self, name: object) -> bool:
        return self._names is None or name in self._names


def of(file: InputFile, each: Reader, job: Job) -> Columns:
    """The columns of a file that was scanned."""
    wanted = Wanted(job)
    return Columns(file, each.names, pa.schema([field for field in each.schema if field.name in wanted]))


def common(found: Sequence[Columns], job: Job) -> pa.Schema:
    """The columns of a job.

    Raises:
        InputError: the inputs have columns of different types.
        PlanError: a column to keep is missing, has the name of the vectors' column, or is not supported by the output format.
    """
    asked = [name for name in (*(job.keep or ()), job.id_column) if name is not None]
    filled = [each for each in found if each.names]
    if filled:
        names = dict.fromkeys(name for each in filled for name in each.names)
        for name in asked:
            if name not in names:
                raise PlanError(f"there is no column {name!r} to keep; there are {', '.join(names)}")
        schema = _unified(filled)
    else:  # no row and no header says what columns there are
        schema = pa.schema([(name, pa.string()) for name in dict.fromkeys((*asked, job.column))])
    if job.output == "npy":
        if job.id_column is not None:
            parts.id_kind(schema.field(job.id_column))
        return schema
    if job.vector_column in schema.names:
        raise PlanError(
            f"there is a column {job.vector_column!r} already; name another with --vector-column, or leave it out: "
            "--keep OTHER,COLUMNS"
        )
    try:
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())
    except (pa.ArrowException, OSError) as error:  # such as structs without fields
        raise PlanError(f"Parquet cannot hold these columns: {error}; leave some out: --keep OTHER,COLUMNS") from error
    return schema


def _unified(found: Sequence[Columns]) -> pa.Schema:
    """Merges types. Parquet types are exact: if one file is Parquet, all must agree. Other types are widened to hold all values."""
    exact = next((each for each in found if each.file.kind == "parquet"), None)
    if exact is not None:
        for each in found:
            difference = _difference(each.schema, exact.schema)
            if difference:
                raise InputError(
                    f"{each.file.url} has other columns or types than {exact.file.url}: {difference}; make them equal, plan a "
                    "job for each, or leave out what differs: --keep OTHER,COLUMNS"
                )
        return exact.schema
    try:
        return pa.unify_schemas([each.schema for each in found], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"the inputs have columns of different types: {in_a_line(error)}; leave them out: --keep OTHER,COLUMNS"
        ) from error


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    """The first column that differs, in any order."""
    for name in dict.fromkeys((*one.names, *other.names)):
        here, there = (_described(schema, name) for schema in (one, other))
        if here != there:
            return f"{name!r} is {here} instead of {there}"
    return ""


def _described(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "missing"
    field = schema.field(name)
    return f"{field.type}{'' if field.nullable else ' not null'}"
