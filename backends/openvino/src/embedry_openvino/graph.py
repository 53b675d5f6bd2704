"""Reads a model's graph and compiles it for a target."""

from pathlib import Path
from typing import NamedTuple

import embedry_graphs as graphs
from embedry import BackendError
from embedry_openvino.runtime import openvino
from embedry_openvino.targets import Target, core

_KEPT = 100
"""What OpenVINO keeps of the code that it generates for shapes, for a few of the last batches. By default it keeps 5,000 pieces, and
memory grows by 0.5 MB with each new shape of a batch; to generate them again takes 1 % of the time."""


class Form(NamedTuple):
    """A way to compile a graph."""

    streams: int
    """Batches that are computed at the same time, each on its share of the threads."""
    length: int | None = None
    """Of the one text that each batch has; None for batches of any shape."""


class Graph:
    """A model's graph, read once for all forms. They share the mapped weights file, but each has its own packed weights."""

    def __init__(self, folder: Path, target: Target, threads: int) -> None:
        """Reads the graph.

        Args:
            folder: the folder with `GRAPH_FILE` and its weights.
            target: the device and precision.
            threads: the total number of CPU threads.

        Raises:
            BackendError: OpenVINO rejects the graph.
        """
        self._path = folder / graphs.GRAPH_FILE
        self._target = target
        self._threads = threads
        try:
            self._model = core().read_model(self._path)
        except RuntimeError as error:
            raise self._refused(error) from error
        if target.is_cpu:
            _drop_guards(self._model)

    def compiled(self, form: Form, **settings: object) -> "openvino.CompiledModel":
        """The graph in this form.

        Raises:
            BackendError: OpenVINO rejects the graph.
        """
        settings |= {"INFERENCE_PRECISION_HINT": self._target.number, "NUM_STREAMS": form.streams}
        if self._target.is_cpu:
            # With pinned threads, two programs with half of the processors each would share the same half.
            settings |= {"INFERENCE_NUM_THREADS": self._threads, "ENABLE_CPU_PINNING": False}
            settings["CPU_RUNTIME_CACHE_CAPACITY"] = _KEPT
        model = self._model
        try:
            if form.length is not None:
                model = model.clone()
                model.reshape({place: [1, form.length] for place in range(len(model.inputs))})
            return core().compile_model(model, self._target.device, settings)
        except RuntimeError as error:
            raise self._refused(error) from error

    def _refused(self, error: RuntimeError) -> BackendError:
        return BackendError(f"OpenVINO {openvino.__version__} does not accept the graph {self._path}: {error}")


def _drop_guards(model: "openvino.Model") -> None:
    """Removes the operators that OpenVINO adds after each softmax of an `Attention`: zeros for rows whose keys are all masked.

    Our graphs have no such rows (see `embedry_graphs.graph.Graph.whole`). Without these operators OpenVINO fuses attention, which is
    faster and does not hold all scores of a long text.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "IsNaN":
            continue
        for user in list(node.output(0).get_target_inputs()):
            if user.get_node().get_type_name() == "Select":
                user.get_node().output(0).replace(node.input_value(0))
