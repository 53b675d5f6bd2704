"""Selects the reader of a file."""

from embedry_bulk.inputs import InputFile
from embedry_bulk.parquet_rows import ParquetReader
from embedry_bulk.record_rows import RecordReader
from embedry_bulk.rows import Reader


def reader(file: InputFile) -> Reader:
    """A reader for a file of its format."""
    return ParquetReader(file.url) if file.kind == "parquet" else RecordReader(file.url, file.kind)
