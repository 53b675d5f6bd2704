"""Where the time of a batch goes, operator by operator, in each precision: part of `make bench`.

    python tests/benchmarks/operators.py            prints the tables, in a minute
    python tests/benchmarks/operators.py --write    also writes them into docs/benchmarks.md

The graphs are those that embedry has compiled, of all-MiniLM-L6-v2; each engine's own profiler measures them.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import model_files
import numpy as np
import report
from contenders import MODEL

import embedry_graphs as graphs
from embedry import BackendImportError, UnknownBackendError, resolve
from embedry_openvino import has_bf16

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEGIN, END = "<!-- operators: written by the benchmark -->", "<!-- end of the operators -->"

TEXTS, LENGTH = 10, 50
"""Of the batch: about what embedry takes for one."""
WARM, RUNS = 5, 30
"""Runs before those that count, and those."""
PRODUCTS = {"FullyConnected", "Gemm", "MatMul", "MatMulIntegerToFloat"}
"""Operators that are matrix products, by the names of both engines."""
LEAST = 0.002
"""The share of the time below which operators are counted together."""

Times = dict[tuple[str, str], list[float]]
"""Seconds in each run, by a node's name and its operator."""


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="where the time of a batch goes, operator by operator")
    parser.add_argument("--write", action="store_true", help="also write the tables into docs/benchmarks.md")
    arguments = parser.parse_args()

    model_files.fetch_weights()
    text = "\n\n".join(
        [
            f"One batch of {TEXTS} texts of {LENGTH} tokens on one thread; the minimum of {RUNS} runs for each operator.",
            measured("fp32", "onnxruntime", of_onnxruntime),
            measured("bf16", "openvino", of_openvino),
            measured("int8", "onnxruntime", of_onnxruntime),
            measured("int8", "openvino", of_openvino),
        ]
    )
    print(text)
    if arguments.write:
        report.write(text, report.PAGE, BEGIN, END)


def measured(precision: str, backend: str, measure: Callable[[Path, str], Times]) -> str:
    """A precision's table, or why there is none."""
    title = f"### {precision}, on {backend}"
    if precision == "bf16" and not has_bf16():
        return f"{title}\n\nLeft out: this processor has no instructions for bfloat16."
    try:
        embedder = resolve(MODEL, backend=backend, precision=precision, device="cpu").load()
    except (UnknownBackendError, BackendImportError) as error:
        return f"{title}\n\nLeft out: {error}"
    return f"{title}\n\n{table(measure(Path(embedder.info['graph']), precision))}"


def of_onnxruntime(folder: Path, precision: str) -> Times:
    """The nodes of a compiled graph, from the runtime's profile of a session like the backend's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as written:
        options.profile_file_prefix = f"{written}/profile"
        session = onnxruntime.InferenceSession(folder / graphs.GRAPH_FILE, options, providers=["CPUExecutionProvider"])
        for _ in range(WARM + RUNS):
            session.run(None, batch())
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: Times = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"], event["args"]["op_name"]].append(event["dur"] / 1e6)
    return {node: seconds[WARM:] for node, seconds in times.items()}


def of_openvino(folder: Path, precision: str) -> Times:
    """The nodes of a graph as the backend has it compiled, from OpenVINO's own times of each run."""
    from embedry_openvino.graph import Form, Graph
    from embedry_openvino.targets import found

    graph = Graph(folder, found("cpu", precision), threads=1)
    request = graph.compiled(Form(streams=1), PERF_COUNT=True).create_infer_request()
    times: Times = defaultdict(list)
    for run in range(WARM + RUNS):
        request.infer(batch())
        for node in request.profiling_info:
            if run >= WARM and node.status == node.EXECUTED:
                times[node.node_name, f"{node.node_type}, {node.exec_type}"].append(node.real_time.total_seconds())
    return times


def batch() -> "dict[str, NDArray[np.int32]]":
    """Token ids, the same in each run, and their mask, both (TEXTS, LENGTH): no padding."""
    ids = np.random.default_rng(0).integers(1000, 20_000, (TEXTS, LENGTH), dtype=np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def table(times: Times) -> str:
    """The operators, matrix products first, then by their time: how many nodes, milliseconds and share of all."""
    nodes: dict[str, list[float]] = defaultdict(list)
    for (_, operator), seconds in times.items():
        nodes[operator].append(min(seconds))  # whatever else runs on the machine only adds to it
    total = sum(map(sum, nodes.values()))
    kept: dict[str, list[float]] = {}
    for operator in sorted(nodes, key=lambda operator: (not is_product(operator), -sum(nodes[operator]))):
        name = operator if sum(nodes[operator]) >= LEAST * total else "all others"
        kept[name] = kept.pop(name, []) + nodes[operator]  # "all others" stays the last
    rows = [_row(name, each, total) for name, each in kept.items()]
    products = [second for name, each in kept.items() if is_product(name) for second in each]
    every = [second for each in kept.values() for second in each]
    rows += [_row("**products**", products, total), _row("**all**", every, total)]
    return report.table(("operator", "number", "ms", "share"), rows)


def is_product(operator: str) -> bool:
    """Whether an operator, with its implementation behind a comma or not, is a matrix product."""
    return operator.partition(",")[0] in PRODUCTS


def _row(name: str, seconds: list[float], total: float) -> tuple[str, str, str, str]:
    return name, f"{len(seconds):,}", f"{sum(seconds) * 1000:.2f}", f"{sum(seconds) / total:.1%}"


if __name__ == "__main__":
    main()
