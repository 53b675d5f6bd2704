"""Reading a model's graph, and compiling it for a target."""

from pathlib import Path

import embedry_graphs as graphs
from embedry import BackendError
from embedry_openvino.library import openvino
from embedry_openvino.targets import Target, core


def compiled(folder: Path, target: Target, *, streams: int, threads: int) -> "openvino.CompiledModel":
    """The graph, compiled for a target.

    Args:
        folder: with `GRAPH_FILE` and its weights.
        target: where it is computed, and in what.
        streams: batches that are computed at the same time, each on `threads / streams` threads.
        threads: of the processor, in all.

    Raises:
        BackendError: OpenVINO does not accept the graph.
    """
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": target.number, "NUM_STREAMS": streams}
    if target.is_cpu:
        # Bound to processors, two programs with half of them each would share the same half.
        settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    path = folder / graphs.GRAPH_FILE
    try:
        model = core().read_model(path)
        if target.is_cpu:
            _drop_guards(model)
        return core().compile_model(model, target.device, settings)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO {openvino.__version__} does not accept the graph {path}: {error}") from error


def _drop_guards(model: "openvino.Model") -> None:
    """Takes out what OpenVINO puts behind each softmax of an `Attention`: zeros where every key of a row is masked.

    In our graphs no row is (see `embedry_graphs.Graph.whole`), and without these operators OpenVINO computes attention in
    blocks: of 8,100 tokens in half of the time, without ever holding all scores.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "IsNaN":
            continue
        for user in list(node.output(0).get_target_inputs()):
            if user.get_node().get_type_name() == "Select":
                user.get_node().output(0).replace(node.input_value(0))
