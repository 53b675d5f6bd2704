"""The rate of the model's own matrix products: the upper bound for an encoder on this machine, in each precision.

Run as a script it reads a name of `PRODUCTS` from each line of its input, and prints GFLOP/s. It is a separate process
because the threads of a linear-algebra library are set by its environment, before it is loaded.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

TOKENS = 512
LAYERS, HIDDEN, INNER = 6, 384, 1536
SHAPES = [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, INNER), (INNER, HIDDEN)]
"""Of one layer: query, key, value, output; up and down."""
PASSES = 8
"""Of a thread, in one measurement."""


def linear_flops(tokens: int) -> float:
    """Multiplications and additions of all products with weights."""
    return 2.0 * tokens * LAYERS * sum(rows * columns for rows, columns in SHAPES)


def attention_flops(length: int) -> float:
    """Multiplications and additions of all products of queries, keys and values, for a text of `length` tokens."""
    return 4.0 * length * length * HIDDEN * LAYERS


class Products:
    """The process that measures, with `threads` threads, each multiplying on its own."""

    def __init__(self, threads: int) -> None:
        self.names = names()
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(threads)],
            env=os.environ | single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def rate(self, name: str) -> Callable[[int], float]:
        """A turn that measures GFLOP/s of one of `names`."""

        def turn(number: int) -> float:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(name, file=self._process.stdin, flush=True)
            return float(self._process.stdout.readline())

        return turn

    def __enter__(self) -> "Products":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def main() -> None:
    """Measures until the input ends."""
    threads = int(sys.argv[1])
    passes = {name: PRODUCTS[name].make(threads) for name in names()}
    for run in passes.values():
        gflops(run, threads)
    for line in sys.stdin:
        print(gflops(passes[line.strip()], threads), flush=True)


def gflops(run: Callable[[], object], threads: int) -> float:
    """The rate of all threads together."""

    def work() -> None:
        for _ in range(PASSES):
            run()

    team = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    return threads * PASSES * linear_flops(TOKENS) / (time.perf_counter() - start) / 1e9


def weights() -> list[Any]:
    """Distinct weights for every layer, scaled so that values neither grow nor vanish."""
    import numpy as np

    chance = np.random.default_rng(0)
    return [
        (chance.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32) for _ in range(LAYERS) for shape in SHAPES
    ]


def tokens() -> Any:
    """The first layer's input."""
    import numpy as np

    return np.random.default_rng(1).standard_normal((TOKENS, HIDDEN)).astype(np.float32)


def numpy_pass(threads: int) -> Callable[[], object]:
    """All products in turn, by numpy."""
    import numpy as np

    return partial(_chain, np.matmul, tokens(), weights())


def torch_pass(threads: int) -> Callable[[], object]:
    """All products in turn, by torch."""
    import torch

    return partial(_chain, torch.mm, torch.from_numpy(tokens()), [torch.from_numpy(weight) for weight in weights()])


def torch_bf16_pass(threads: int) -> Callable[[], object]:
    """All products in turn, by torch's `linear`, which wants weights as (out, in)."""
    import torch

    factors = [torch.from_numpy(weight).T.contiguous().bfloat16() for weight in weights()]
    return partial(_chain, torch.nn.functional.linear, torch.from_numpy(tokens()).bfloat16(), factors)


def onnxruntime_pass(threads: int) -> Callable[[], object]:
    """All products in turn, as one graph; the session is shared by all threads."""
    return partial(_session(float_graph()).run, None, {"x0": tokens()})


def onnxruntime_int8_pass(threads: int) -> Callable[[], object]:
    """All products in turn of uint8 with int8, each rounded to uint8 again, as one graph."""
    import numpy as np

    return partial(_session(int8_graph()).run, None, {"x0": np.clip(tokens() * 32 + 128, 0, 255).astype(np.uint8)})


def openvino_bf16_pass(threads: int) -> Callable[[], object]:
    """All products in turn, by the same graph; a stream of one thread for each that calls."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
    return partial(core.compile_model(core.read_model(float_graph()), "CPU", settings).infer_new_request, [tokens()])


def float_graph() -> bytes:
    """An ONNX model of all products in turn."""
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights())]
    nodes = [
        helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]) for number in range(len(constants))
    ]
    return _model(nodes, constants, TensorProto.FLOAT)


def int8_graph() -> bytes:
    """An ONNX model of all products in turn of uint8 with int8. The steps of rounding keep values from saturating."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(np.array(1 / 32, dtype=np.float32), "step"),
        numpy_helper.from_array(np.array(128, dtype=np.uint8), "zero"),
        numpy_helper.from_array(np.array(0, dtype=np.int8), "none"),
    ]
    nodes = []
    for number, weight in enumerate(weights()):
        step = np.abs(weight).max() / 127
        constants += [
            numpy_helper.from_array(np.rint(weight / step).astype(np.int8), f"w{number}"),
            numpy_helper.from_array(step, f"s{number}"),
        ]
        given = [f"x{number}", "step", "zero", f"w{number}", f"s{number}", "none", "step", "zero"]
        nodes.append(helper.make_node("QLinearMatMul", given, [f"x{number + 1}"]))
    return _model(nodes, constants, TensorProto.UINT8)


def _model(nodes: list[Any], constants: list[Any], kind: int) -> bytes:
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, kind, [TOKENS, HIDDEN]) for name in ("x0", f"x{len(nodes)}")]
    model = helper.make_model(
        helper.make_graph(nodes, "products", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    serialized: bytes = model.SerializeToString()
    return serialized


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _chain(multiply: Callable[[Any, Any], Any], value: Any, factors: list[Any]) -> Any:
    for factor in factors:
        value = multiply(value, factor)
    return value


@dataclass(frozen=True)
class Product:
    """The products in a precision, and what makes a pass over them for a number of threads that run it at the same time."""

    precision: str
    make: Callable[[int], Callable[[], object]]


PRODUCTS: dict[str, Product] = {
    "numpy": Product("fp32", numpy_pass),
    "torch": Product("fp32", torch_pass),
    "onnxruntime": Product("fp32", onnxruntime_pass),
    "torch in bf16": Product("bf16", torch_bf16_pass),
    "openvino in bf16": Product("bf16", openvino_bf16_pass),
    "onnxruntime in int8": Product("int8", onnxruntime_int8_pass),
}


def names() -> list[str]:
    """The products that this processor computes."""
    from embedry_openvino import has_bf16  # here: whoever measures a GPU has no OpenVINO

    return [name for name, product in PRODUCTS.items() if product.precision != "bf16" or has_bf16()]


if __name__ == "__main__":
    main()
