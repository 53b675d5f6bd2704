"""Calibrates precision="int8" for a model with its fp32 graph."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import embedry_graphs as graphs
from embedry.backend import LoadRequest
from embedry_graphs.artifact import checked_config
from embedry_graphs.calibration import content
from embedry_onnxruntime import session


def calibrate(request: LoadRequest, texts: Iterable[NDArray[np.int32]]) -> bytes:
    """The content of a calibration file.

    Args:
        request: a model without an `int8_refusal`.
        texts: the token ids of each text, (tokens,), as passed to the model; at least one.

    Raises:
        UnsupportedModelError: config.json has a setting that the graph does not support.
        IntegrityError: weights are missing, or their shapes do not match config.json.
    """
    config = checked_config(request, "onnxruntime")
    # Some systems cannot remove a mapped file.
    with TemporaryDirectory(prefix="embedry-calibration-", ignore_cleanup_errors=True) as folder:
        channels = graphs.write_measuring(request.spec, config, request.folder, Path(folder))
        graph = session.open_session(Path(folder) / graphs.GRAPH_FILE, threads=request.threads, optimize=False)
        low = np.full(sum(channels.values()), np.inf, dtype=np.float32)
        high = -low
        for ids in texts:  # one per batch: padding would be measured too
            batch = ids[np.newaxis]
            least, greatest = graph.run(None, {"input_ids": batch, "attention_mask": np.ones_like(batch)})[0]
            np.minimum(low, least, out=low)
            np.maximum(high, greatest, out=high)
    return content(channels, low, high)
