"""Runs the programs for Spark and Daft in docs/clusters.md as a reader would, and compares their vectors: `make test-spark`.

It needs Java, so the other tests do not run it; `make test-spark` runs it in an environment of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pyarrow import parquet as pq

from embedry import resolve
from examples import ROOT, write_files

PAGE = ROOT / "docs" / "clusters.md"
PROGRAMS = {"spark_job.py": "vectors-of-spark", "daft_job.py": "vectors-of-daft"}
"""Each with the folder that it writes to."""

ROWS = [{"id": number, "text": f"number {number} and some words more"} for number in range(50)]


def main() -> None:
    """Runs both in an empty folder; the exit code is 1 if one fails or has other vectors than `encode` gives."""
    if shutil.which("java") is None:
        sys.exit("Spark needs Java, and there is none; try: apt-get install openjdk-17-jre-headless")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(PAGE, folder)
        (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        for program, result in PROGRAMS.items():
            environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
            subprocess.run([sys.executable, program], cwd=folder, env=environment, check=True)
            difference = compared(folder / result)
            print(f"{program}: the vectors of {len(ROWS)} rows differ by {difference:.1e} at most")


def compared(result: Path) -> float:
    """The largest difference of a component. What else may be wrong is an AssertionError."""
    table = pq.read_table(result).sort_by("id")
    assert table["id"].to_pylist() == list(range(len(ROWS)))
    vectors = np.asarray(table["embedding"].to_pylist(), dtype=np.float32)
    expected = resolve("all-MiniLM-L6-v2").encode_document([row["text"] for row in ROWS])
    difference = float(np.abs(vectors - expected).max())
    assert difference < 1e-6
    return difference


if __name__ == "__main__":
    main()
