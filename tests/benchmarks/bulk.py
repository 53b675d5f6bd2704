"""A bulk job beside `encode_stream` alone, on the same texts, by turns: `make bench-bulk`.

    python tests/benchmarks/bulk.py                     1,000,000 rows in int8, in about 20 minutes on two cores
    python tests/benchmarks/bulk.py --precision fp32    in fp32, in about 50 minutes
    python tests/benchmarks/bulk.py --rows 20000        a short form, to check that everything runs; its numbers are rough
    python tests/benchmarks/bulk.py --write             also writes the table into docs/benchmarks.md

Both are processes of their own, of which one is stopped (SIGSTOP) while the other runs, for some seconds each, so that whatever
else the machine does affects both alike. Each is measured by the time in which it ran. int8 is the harder comparison: the faster
the engine, the more of the time everything else takes.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
import model_files
import pyarrow as pa
import report
from contenders import MODEL
from pyarrow import parquet as pq

from embedry import resolve
from embedry_bulk import Plan, done_shards

BEGIN, END = "<!-- bulk: written by the benchmark -->", "<!-- end of bulk -->"

TURN = 5.0
"""Seconds."""
SHARD_TOKENS = 250_000
"""Of a shard, so that there are some dozens."""
EARLY = 100_000
"""Rows after which memory is measured first."""

_WORDS = sorted(set(filter(str.isalpha, Path(report.__file__).read_text(encoding="utf-8").split())))

_STREAM = """
import sys
from pyarrow import parquet as pq
from embedry import resolve
texts = pq.read_table(sys.argv[1], columns=["text"]).column(0).to_pylist()
embedder = resolve(sys.argv[2], precision=sys.argv[3]).load()
print(0, flush=True)
rows = 0
for block in embedder.encode_stream(texts, role="document"):
    rows += len(block)
    print(rows, flush=True)
"""


@dataclass
class Runner:
    """A process that runs by turns."""

    command: list[str]
    log: Path
    ran: float = 0.0
    """Seconds of its turns."""
    memory: list[float] = field(default_factory=list)
    """Resident memory after each turn, in MB."""

    def start(self) -> None:
        """Starts it, stopped."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log)
        self.process.send_signal(signal.SIGSTOP)

    def turn(self) -> bool:
        """Lets it run for a turn; whether it has more to do."""
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGCONT)
        try:
            code = self.process.wait(TURN)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGSTOP)
            self.ran += time.perf_counter() - begun
            self.memory.append(_memory(self.process.pid))
            return True
        self.ran += time.perf_counter() - begun
        if code:
            sys.exit(f"{self.command[:4]} ended with exit code {code}")
        return False


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="a bulk job beside encode_stream, on the same texts")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--precision", default="int8", choices=("int8", "fp32"))
    parser.add_argument("--write", action="store_true", help="also write the table into docs/benchmarks.md")
    arguments = parser.parse_args()

    model_files.prepare()
    with tempfile.TemporaryDirectory() as folder:
        text = measure(Path(folder), arguments.rows, arguments.precision)
    print(text)
    if arguments.write:
        report.write(text, report.PAGE, BEGIN, END)


def measure(folder: Path, rows: int, precision: str) -> str:
    """The table."""
    inputs, out = folder / "in.parquet", folder / "out"
    tokens = write_inputs(inputs, rows, precision)
    embedry = Path(sys.executable).with_name("embedry")
    job = Runner(
        [str(embedry), "bulk", "run", str(inputs), "--to", str(out), "--model", MODEL, "--precision", precision,
         "--shard-tokens", str(SHARD_TOKENS), "--json"], folder / "job.log",
    )  # fmt: skip
    stream = Runner([sys.executable, "-c", _STREAM, str(inputs), MODEL, precision], folder / "stream.log")
    by_turns(job, stream)
    plan = Plan.load(str(out))
    done = done_shards(plan)
    assert sum(each.rows for each in done.values()) == rows, "rows are missing"
    job_rate, stream_rate = rows / job.ran, rows / stream.ran
    early, late = _memories(job, rows)
    table = report.table(
        ("", "rows/s", "encode_stream = 1", f"memory after {EARLY:,} rows", "at the end"),
        [
            ("`encode_stream` alone", f"{stream_rate:,.0f}", "1.00", "", ""),
            ("`embedry bulk run`, with start and planning", f"{job_rate:,.0f}", f"{job_rate / stream_rate:.3f}", f"{early:,.0f} MB", f"{late:,.0f} MB ({late / early - 1:+.1%})"),
        ],
    )  # fmt: skip
    about = f"{rows:,} rows, {tokens:.1f} tokens on average, {precision}, {plan.shards} shards"
    threads = int(resolve(MODEL).info["threads"])
    facts = report.table(("", ""), machine.facts(threads, "bulk.py").items())
    return f"{about}:\n\n{table}\n\nMeasured on:\n\n{facts}"


def write_inputs(path: Path, rows: int, precision: str) -> float:
    """Made texts of 2 to 18 words, with ids; returns the mean number of tokens of the first thousand."""
    chance = random.Random(0)
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    texts: list[str] = []
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, EARLY):
            count = min(EARLY, rows - start)
            texts = [" ".join(chance.choices(_WORDS, k=chance.randint(2, 16))) for _ in range(count)]
            writer.write_table(pa.table({"id": range(start, start + count), "text": texts}, schema=schema))
    tokens = resolve(MODEL, precision=precision).count_tokens(texts[:1000], role="document")
    return statistics.mean(tokens)


def by_turns(job: Runner, stream: Runner) -> None:
    """Runs both to their ends. The stream begins when it has loaded its texts and its model; the job has to do that too."""
    stream.start()
    stream.process.send_signal(signal.SIGCONT)
    while not stream.log.read_bytes():
        time.sleep(0.001)
    stream.process.send_signal(signal.SIGSTOP)
    job.start()
    running = [job, stream]
    while running:
        running = [each for each in running if each.turn()]


def _memory(process: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _memories(job: Runner, rows: int) -> tuple[float, float]:
    """The median memory of a job around its first rows, and at its end, each of five turns, in MB."""
    early = max(1, round(len(job.memory) * min(1.0, EARLY / rows)))
    return statistics.median(job.memory[max(0, early - 3) : early + 2]), statistics.median(job.memory[-5:])


if __name__ == "__main__":
    main()
