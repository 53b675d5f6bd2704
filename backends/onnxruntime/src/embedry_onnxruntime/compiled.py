"""The compiled graph of a model: written once from the verified weights, and kept in the cache."""

import platform
from contextlib import closing
from pathlib import Path

import onnxruntime

from embedry import BackendError, ModelSpec, SpecError, UnsupportedModelError
from embedry.backend import LoadRequest, ModelConfig, artifact, cpu_features, resource_file
from embedry.modules import as_dict
from embedry_onnxruntime import session

GRAPH_VERSION = 5
"""Raised whenever the graph that is written for the same weights changes."""

GRAPH_FILE = "model.onnx"

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
    check_config(spec, config)
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
            GRAPH_VERSION, [as_dict(module) for module in spec.body], precision, onnxruntime.__version__, platform.machine(),
            *cpu_features(),
        ],
    )  # fmt: skip


def _calibration(spec: ModelSpec, cache_dir: Path) -> Path:
    if spec.int8 is None:
        raise UnsupportedModelError(f"{spec.name!r} has no calibration for int8")
    return resource_file(spec.int8.calibration, cache_dir)


def _write(spec: ModelSpec, config: ModelConfig, source: Path, target: Path, calibration: Path | None) -> None:
    from tempfile import TemporaryDirectory

    from embedry_onnxruntime import chain, encoder
    from embedry_onnxruntime.checkpoint import Checkpoint
    from embedry_onnxruntime.families import MODULES
    from embedry_onnxruntime.graph import WEIGHTS_FILE, Graph
    from embedry_onnxruntime.quantised import QuantisedLayers

    family = MODULES[spec.architecture]
    weights = Checkpoint([source / file for file in spec.weights], family.PREFIX)
    shape = encoder.Shape.of(config)
    with TemporaryDirectory(prefix="unpacked-", dir=target) as unpacked:
        with closing(Graph(Path(unpacked))) as graph:
            layer = QuantisedLayers(calibration) if calibration is not None else encoder.layer
            tokens = encoder.encode(graph, family, weights, shape, layer, first_only=chain.first_only(spec.body))
            weights.check_all_read()
            vectors, width = chain.apply(graph, spec.body, tokens, source, shape.width)
            if width != spec.dims:
                raise SpecError(
                    f"the modules of {spec.name!r} give vectors of {width}, the entry says dims={spec.dims}"
                )
            graph.save(Path(unpacked) / GRAPH_FILE, vectors, width)
        _pack(Path(unpacked) / GRAPH_FILE, target / GRAPH_FILE, WEIGHTS_FILE)


def _pack(graph: Path, target: Path, weights_file: str) -> None:
    """Lets the runtime write the graph again, with every matrix also in the order in which it multiplies with it.

    It would make that copy at each start, for each session and process; a copy on disk is mapped by all of them.
    """
    settings = _PACKING | {"session.optimized_model_external_initializers_file_name": weights_file}
    try:
        session.open_session(graph, threads=1, optimize=False, settings=settings, save_to=target)
    except BackendError as error:
        session.open_session(graph, threads=1, optimize=False)  # raises if the graph is what is wrong
        raise OSError(f"{target.parent} could not be written: {error}") from error


def check_config(spec: ModelSpec, config: ModelConfig) -> None:
    """UnsupportedModelError if the model has an activation or attention that the graph does not do."""
    if config.hidden_act != "gelu":
        fault = f"the activation {config.hidden_act!r}"
    elif config.is_decoder:
        fault = "attention that only looks back"
    else:
        return
    raise UnsupportedModelError(
        f"the backend 'onnxruntime' cannot load {spec.name!r}: its config.json asks for {fault}; "
        'try backend="transformers": pip install embedry-transformers'
    )
