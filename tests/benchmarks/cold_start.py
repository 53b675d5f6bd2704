"""How long from the start of a process to its first vector: embedry beside sentence-transformers, a cached all-MiniLM-L6-v2.

    .venv/bin/python tests/benchmarks/cold_start.py [ROUNDS]

Both run in turns, each time in a new process, so that whatever else the machine does falls on both alike.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TEXT = "what is the refund policy?"

PROGRAMS = {
    "embedry": f"""
from embedry import resolve
resolve("all-MiniLM-L6-v2").embed_query({TEXT!r})
print("done", flush=True)
""",
    "sentence-transformers": f"""
import sys
from sentence_transformers import SentenceTransformer
SentenceTransformer(sys.argv[1], device="cpu").encode_query({TEXT!r})
print("done", flush=True)
""",
}


def model_folder() -> Path:
    """The cached files of the model; a first vector is made as well, so that the graph is in the cache too."""
    from embedry import resolve, weights

    embedder = resolve("all-MiniLM-L6-v2")
    weights.pull(embedder.spec, embedder.config.cache_dir)
    embedder.embed_query(TEXT)
    return weights.obtain(embedder.spec, embedder.config.cache_dir)


def seconds(program: str, folder: Path) -> float:
    """Seconds from the start of a new process until it says that it has its vector."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        said = process.stdout.readline() if process.stdout else ""
        taken = time.perf_counter() - start
    if said != "done\n" or process.returncode != 0:
        sys.exit(f"this program failed with exit code {process.returncode}:\n{program}")
    return taken


def main() -> None:
    """Prints median, spread and ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    os.environ.setdefault("EMBEDRY_CACHE", str(Path(__file__).parents[2] / ".cache"))
    folder = model_folder()
    for program in PROGRAMS.values():  # once unmeasured: files come from memory, as on a machine that uses the model
        seconds(program, folder)
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            taken[name].append(seconds(program, folder))
    for name, times in taken.items():
        print(
            f"{name:22} median {statistics.median(times):6.2f} s   {min(times):.2f} to {max(times):.2f}, {rounds} rounds"
        )
    ours, theirs = (statistics.median(taken[name]) for name in PROGRAMS)
    print(f"sentence-transformers takes {theirs / ours:.1f} times as long")


if __name__ == "__main__":
    main()
