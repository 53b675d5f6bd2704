"""The compiled graph of a model: written once from the verified weights and cached."""

from pathlib import Path

import onnxruntime

import embedry_graphs as graphs
from embedry import BackendError
from embedry.backend import LoadRequest
from embedry_graphs import artifact
from embedry_onnxruntime import packing, session

_PACKING = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}


def folder(request: LoadRequest, precision: str) -> Path:
    """The folder with the model's graph and its weights.

    Raises:
        As `embedry_graphs.artifact.folder`.
    """
    # Packed weights have the order of this build of the runtime on this kind of processor.
    settings = [onnxruntime.__version__, packing.level(precision)]
    return artifact.folder(request, "onnxruntime", precision, settings=settings, finish=_pack)


def _pack(graph: Path, target: Path) -> None:
    """Lets the runtime rewrite the graph with every matrix also in packed order.

    Otherwise the runtime makes this copy at each start, per session and process; all of them map a copy on disk.
    """
    settings = _PACKING | {"session.optimized_model_external_initializers_file_name": graphs.WEIGHTS_FILE}
    copy = target / graphs.GRAPH_FILE
    try:
        session.open_session(graph, threads=1, optimize=False, settings=settings, save_to=copy)
    except BackendError as error:
        session.open_session(graph, threads=1, optimize=False)  # raises if the graph is invalid
        raise OSError(f"{target} could not be written: {error}") from error
