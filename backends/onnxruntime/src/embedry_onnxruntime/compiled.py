"""The compiled graph of a model: written once from the verified weights, and kept in the cache."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime

import embedry_graphs as graphs
from embedry import BackendError, ModelSpec, UnsupportedModelError
from embedry.backend import LoadRequest, ModelConfig, artifact, resource_file
from embedry.modules import as_dict
from embedry_onnxruntime import packing, session

_PACKING = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}


def folder(request: LoadRequest, precision: str) -> Path:
    """The folder with the model's graph and its weights.

    Raises:
        UnsupportedModelError: config.json asks for something that the graph does not do.
        IntegrityError: the weights are incomplete or too many, or of other shapes than config.json says.
        CacheError: there is no room anywhere.
    """
    spec, source, config, cache_dir = request.spec, request.folder, request.config, request.cache_dir
    assert config is not None  # noqa: S101  every family has one
    fault = graphs.config_fault(config)
    if fault is not None:
        raise UnsupportedModelError(
            f"the backend 'onnxruntime' cannot load {spec.name!r}: its config.json asks for {fault}; "
            'try backend="transformers": pip install embedry-transformers'
        )
    inputs = {file: source / file for file in spec.files if file.endswith((".safetensors", "config.json"))}
    if precision == "int8":
        inputs["calibration"] = _calibration(spec, cache_dir)
    return artifact(
        f"the graph of {spec.name!r}",
        lambda target: _write(spec, config, source, target, inputs.get("calibration")),
        cache_dir,
        inputs=inputs,
        # Packed weights are in the order that this build of the runtime wants on this kind of processor.
        settings=[
            graphs.VERSION, [as_dict(module) for module in spec.body], precision, onnxruntime.__version__,
            packing.level(precision),
            *([] if spec.kind == "dense" else [spec.kind]),  # the same body may be another graph, of pairs or for each token
        ],
    )  # fmt: skip


def _calibration(spec: ModelSpec, cache_dir: Path) -> Path:
    if spec.int8 is None:
        raise UnsupportedModelError(f"{spec.name!r} has no calibration for int8")
    return resource_file(spec.int8.calibration, cache_dir)


def _write(spec: ModelSpec, config: ModelConfig, source: Path, target: Path, calibration: Path | None) -> None:
    with TemporaryDirectory(prefix="unpacked-", dir=target) as unpacked:
        graphs.write(spec, config, source, Path(unpacked), calibration)
        _pack(Path(unpacked) / graphs.GRAPH_FILE, target / graphs.GRAPH_FILE)


def _pack(graph: Path, target: Path) -> None:
    """Lets the runtime write the graph again, with every matrix also in the order in which it multiplies with it.

    It would make that copy at each start, for each session and process; a copy on disk is mapped by all of them.
    """
    settings = _PACKING | {"session.optimized_model_external_initializers_file_name": graphs.WEIGHTS_FILE}
    try:
        session.open_session(graph, threads=1, optimize=False, settings=settings, save_to=target)
    except BackendError as error:
        session.open_session(graph, threads=1, optimize=False)  # raises if the graph is what is wrong
        raise OSError(f"{target.parent} could not be written: {error}") from error
