"""Writes an ONNX graph: nodes in execution order, weights in a separate file.

ONNX Runtime maps the weights file into memory, so a session starts without a copy, and processes with the same model
share it.
"""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from embedry_graphs import SEGMENTS, WEIGHTS_FILE

FUSED = "com.microsoft"
"""The domain of ONNX Runtime's fused operators (its ContribOperators documentation)."""

_OPSET = 24
_IR_VERSION = 11
_ALIGNMENT = 4096
"""Offsets of tensors in the weights file, in bytes: whole pages, as mapping them into memory wants."""


class Graph:
    """A graph under construction in `folder`. Every method adds one step and returns the name of its result."""

    def __init__(self, folder: Path, *, of_pairs: bool = False, whole: bool = False) -> None:
        self.of_pairs = of_pairs
        """Whether a row of ids is a pair of texts, whose tokens have the segments 0 and 1, and not a single text."""
        self.whole = whole
        """Whether long texts are not computed in blocks: for an engine that holds few scores at a time by itself."""
        self._inputs = ["input_ids", "attention_mask"]
        self._numbers = count()
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._weights = open(folder / WEIGHTS_FILE, "wb")  # noqa: SIM115  closed by close()

    def op(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a standard operator; "" omits an optional input."""
        name = f"{op}_{next(self._numbers)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def choose(self, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """The result of one of two subgraphs, float32; only that one is computed.

        Args:
            condition: a boolean without dimensions.
            then: adds the part for true, and returns its result.
            otherwise: the part for false.
        """
        return self.op("If", condition, then_branch=self._part(then), else_branch=self._part(otherwise))

    def repeat(self, times: str, body: Callable[[str], str]) -> str:
        """The results of a subgraph that runs several times in turn: float32, with an additional first axis.

        Args:
            times: the number of runs, int64 without dimensions.
            body: adds the subgraph, given the name of the run's number from 0, int64 without dimensions, and returns its result,
                which has the same shape each time.
        """
        number, going = (f"{name}_{next(self._numbers)}" for name in ("number", "going"))
        inputs = [
            helper.make_tensor_value_info(name, kind, [])
            for name, kind in ((number, TensorProto.INT64), (going, TensorProto.BOOL))
        ]
        part = self._part(lambda: body(number), inputs, keeps=going)
        return self.op("Loop", times, self.scalar(np.bool_(True)), body=part)

    def _part(self, build: Callable[[], str], inputs: Sequence[ValueInfoProto] = (), keeps: str = "") -> GraphProto:
        """A subgraph with the nodes that `build` adds; it has access to all earlier results."""
        outer, self._nodes = self._nodes, []
        outputs = [helper.make_tensor_value_info(build(), TensorProto.FLOAT, None)]
        if keeps:
            outputs.insert(0, helper.make_tensor_value_info(self.op("Identity", keeps), TensorProto.BOOL, []))
        nodes, self._nodes = self._nodes, outer
        return helper.make_graph(nodes, f"part_{next(self._numbers)}", list(inputs), outputs)

    def segments(self) -> str:
        """The segment of each token, int32 (batch, sequence): an input that exists only if it is used."""
        if SEGMENTS not in self._inputs:
            self._inputs.append(SEGMENTS)
        return SEGMENTS

    def fused(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds one of the runtime's fused operators."""
        return self.op(op, *inputs, domain=FUSED, **attributes)

    def weight(self, values: NDArray[np.float32] | NDArray[np.int8]) -> str:
        """A tensor in the weights file."""
        self._weights.write(b"\0" * (-self._weights.tell() % _ALIGNMENT))
        tensor = TensorProto(
            name=f"weight_{len(self._initializers)}",
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            dims=values.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": WEIGHTS_FILE, "offset": self._weights.tell(), "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._weights.write(np.ascontiguousarray(values).data)
        self._initializers.append(tensor)
        return str(tensor.name)

    def integers(self, *values: int) -> str:
        """A small constant, int64 (len(values),)."""
        return self._constant(np.array(values, dtype=np.int64))

    def scalar(self, value: np.generic) -> str:
        """A constant without dimensions, of the value's own type."""
        return self._constant(np.asarray(value))

    def _constant(self, values: NDArray[Any]) -> str:
        tensor = numpy_helper.from_array(values, f"constant_{len(self._initializers)}")
        self._initializers.append(tensor)
        return str(tensor.name)

    def close(self) -> None:
        """Closes the weights file; the creator of a graph must call it, also if writing fails."""
        self._weights.close()

    def save(self, path: Path, output: str, width: int, axes: Sequence[str] = ("batch",)) -> None:
        """Writes the graph whose result, float32 (*axes, width), is `output`."""
        self._weights.flush()
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "sequence"]) for name in self._inputs
        ]
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [*axes, width])
        graph = helper.make_graph(self._nodes, "embedry", inputs, [result], self._initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(FUSED, 1)]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        path.write_bytes(model.SerializeToString())
