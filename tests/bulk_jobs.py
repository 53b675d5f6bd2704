"""Bulk jobs of a few rows: inputs of every format, runs in this process, and what a job has written."""

import bz2
import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

import command_line
from embedry_bulk import Done, Plan, decoded, make_plan, run_shard

MODEL = "all-MiniLM-L6-v2"

Row = Mapping[str, Any]


def rows(count: int) -> list[Row]:
    """Rows with a number and a text, each of them different."""
    words = ("refunds", "shipping", "opening hours", "a parcel that is late", "the warranty of a lamp")
    return [{"id": number, "text": f"question {number} about {words[number % 5]}"} for number in range(count)]


def texts(count: int) -> list[str]:
    """Those of `rows`."""
    return [row["text"] for row in rows(count)]


def written(path: Path, found: Sequence[Row]) -> Path:
    """A file of rows, of the kind and with the compression that its suffixes tell."""
    kind = path.suffixes[0]
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(found)), path, row_group_size=4)
        return path
    return compressed(path, (as_csv(found, "\t" if kind == ".tsv" else ",") if kind != ".jsonl" else as_json(found)))


def as_json(found: Iterable[Row]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def as_csv(found: Sequence[Row], delimiter: str = ",") -> bytes:
    """Rows as CSV with a header."""
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, list(found[0]), delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    return stream.getvalue().encode()


def compressed(path: Path, *pieces: bytes) -> Path:
    """A file of pieces, each of them a stream of its own in the compression that the suffix tells."""
    path.write_bytes(b"".join(map(_COMPRESS.get(path.suffix, bytes), pieces)))
    return path


def _by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def compress(content: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return compress


_COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": _by_arrow("zstd"), ".lz4": _by_arrow("lz4")}


def planned(inputs: object, to: object, **settings: Any) -> Plan:
    """The plan of a job with the real small model."""
    names = [inputs] if isinstance(inputs, str | Path) else list(inputs)  # type: ignore[call-overload]
    return make_plan([str(name) for name in names], str(to), **({"model": MODEL} | settings))


def computed(plan: Plan, **options: Any) -> list[Done]:
    """What the shards of a plan hold, each of which was computed by itself."""
    return [run_shard(plan, shard, **options) for shard in range(plan.shards)]


def finished(inputs: object, to: object, **settings: Any) -> Plan:
    """A job that was planned and computed."""
    plan = planned(inputs, to, **settings)
    computed(plan)
    return plan


def result(plan: Plan) -> pa.Table:
    """All rows of a job of Parquet, in order; the checksums of its pages are right."""
    paths = sorted(Path(plan.url, "data").iterdir())
    return pa.concat_tables([pq.read_table(path, page_checksum_verification=True) for path in paths])


def vectors(table: pa.Table, column: str = "embedding") -> NDArray[np.float32]:
    """Those of a result."""
    return decoded(table.column(column), table.schema.metadata)


def rejected(plan: Plan) -> list[tuple[str, int, str]]:
    """The rejected rows of a job: the name of the file, the row and the reason."""
    found: list[tuple[str, int, str]] = []
    for path in sorted(Path(plan.url, "rejected").glob("*")):
        table = pq.read_table(path)
        assert table.schema.names == ["file", "row", "reason"]
        found += [(Path(row["file"]).name, row["row"], row["reason"]) for row in table.to_pylist()]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all results in a job's folder."""
    found = (path for name in ("data", "ids", "rejected") for path in folder.glob(f"{name}/*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def leftovers(folder: Path) -> list[str]:
    """Files in a job's folder that are no part of it."""
    known = {"plan.json", "data", "ids", "rejected", "done", "failed", "vectors.lance"}
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


def bulk(*arguments: object) -> command_line.Result:
    """`embedry bulk` with these arguments, in this process."""
    return command_line.run("bulk", *arguments)


def summary(outcome: command_line.Result) -> str:
    """The last line that a command has said to people, without the names of folders above the last one."""
    return outcome.err.strip().rpartition("\n")[2]


def started(*arguments: object, site: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
    """`embedry bulk` in a process of its own, with the distributions of a folder, if one is given."""
    path = [*([str(site), str(Path(__file__).parent)] if site else []), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "embedry_cli", "bulk", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
