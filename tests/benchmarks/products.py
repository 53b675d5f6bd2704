"""The rate of the model's own matrix products: the upper bound for an encoder on this machine.

Run as a script it reads the name of a library from each line of its input, and prints GFLOP/s. It is a separate process
because the threads of a linear-algebra library are set by its environment, before it is loaded.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

TOKENS = 512
LAYERS, HIDDEN, INNER = 6, 384, 1536
SHAPES = [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, INNER), (INNER, HIDDEN)]
"""Of one layer: query, key, value, output; up and down."""
PASSES = 8
"""Of a thread, in one measurement."""
LIBRARIES = ("numpy", "torch", "onnxruntime")


def linear_flops(tokens: int) -> float:
    """Multiplications and additions of all products with weights."""
    return 2.0 * tokens * LAYERS * sum(rows * columns for rows, columns in SHAPES)


def attention_flops(length: int) -> float:
    """Multiplications and additions of all products of queries, keys and values, for a text of `length` tokens."""
    return 4.0 * length * length * HIDDEN * LAYERS


class Products:
    """The process that measures, with `threads` threads, each multiplying on its own."""

    def __init__(self, threads: int) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(threads)],
            env=os.environ | single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def rate(self, library: str) -> Callable[[int], float]:
        """A turn that measures GFLOP/s."""

        def turn(number: int) -> float:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(library, file=self._process.stdin, flush=True)
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
    made = {"numpy": numpy_pass, "torch": torch_pass, "onnxruntime": onnxruntime_pass}
    passes = {name: make() for name, make in made.items()}
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


def numpy_pass() -> Callable[[], object]:
    """All products in turn, by numpy."""
    import numpy as np

    return partial(_chain, np.matmul, tokens(), weights())


def torch_pass() -> Callable[[], object]:
    """All products in turn, by torch."""
    import torch

    return partial(_chain, torch.mm, torch.from_numpy(tokens()), [torch.from_numpy(weight) for weight in weights()])


def onnxruntime_pass() -> Callable[[], object]:
    """All products in turn, as one graph; the session is shared by all threads."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights())]
    nodes = [
        helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]) for number in range(len(constants))
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [TOKENS, HIDDEN]) for name in ("x0", f"x{len(nodes)}")
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "products", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x0": tokens()})


def _chain(multiply: Callable[[Any, Any], Any], value: Any, factors: list[Any]) -> Any:
    for factor in factors:
        value = multiply(value, factor)
    return value


if __name__ == "__main__":
    main()
