"""The compiled graph of a model: written once from the verified weights, kept in the cache, and checked when used."""

import hashlib
import json
import platform
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import onnxruntime

from embedry import BackendError, CacheError, CacheWarning, IntegrityError, ModelSpec, UnsupportedModelError, _cpu
from embedry._files import cache, digests
from embedry_onnxruntime import session

GRAPH_VERSION = 4
"""Raised whenever the graph that is written for the same weights changes."""

GRAPH_FILE = "model.onnx"

_DIGESTS = "digests.json"

_PACKING = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}

_temporary: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of graphs that could not be cached. They go with the process, for a session may be opened at any time."""


def folder(spec: ModelSpec, source: Path, cache_dir: Path, precision: str) -> Path:
    """The folder with the model's graph and its weights.

    Where the cache cannot be written the graph is made in a temporary folder instead, with a warning.

    Raises:
        UnsupportedModelError: config.json asks for something that the graph does not do.
        IntegrityError: the weights are incomplete or too many, or config.json is another model's.
        CacheError: there is no room anywhere.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    check_config(spec, config)
    final = cache_dir / "graphs" / _key(spec, source, cache_dir, precision)
    there = final.exists()
    if there and _intact(final, cache_dir):
        return final
    try:
        if there:  # damaged; what another process puts there from now on is not
            cache.discard(final, cache_dir)
        with cache.staging(cache_dir) as staged:
            _write(spec, config, source, staged, precision)
            cache.publish(staged, final)
    except OSError as error:
        return _elsewhere(spec, config, source, cache_dir, precision, reason=error)
    return final


def _elsewhere(
    spec: ModelSpec, config: Mapping[str, Any], source: Path, cache_dir: Path, precision: str, *, reason: OSError
) -> Path:
    advice = "set EMBEDRY_CACHE to a folder with room that you can write"
    temporary = tempfile.TemporaryDirectory(prefix="embedry-", ignore_cleanup_errors=True)
    try:
        _write(spec, config, source, Path(temporary.name), precision)
    except OSError as error:
        raise CacheError(
            f"the graph of {spec.name!r} could be written neither to the cache folder {cache_dir} ({reason}) "
            f"nor to {temporary.name} ({error}); {advice}"
        ) from error
    _temporary.append(temporary)
    warnings.warn(
        CacheWarning(
            f"the graph of {spec.name!r} could not be kept in the cache folder {cache_dir} ({reason}), "
            f"so it is made anew at each start; {advice}"
        ),
        stacklevel=2,
    )
    return Path(temporary.name)


def _key(spec: ModelSpec, source: Path, cache_dir: Path, precision: str) -> str:
    # Packed weights are in the order that this build of the runtime wants on this kind of processor.
    parts = [GRAPH_VERSION, spec.pooling, onnxruntime.__version__, platform.machine(), *_cpu.features()]
    files = [source / "model.safetensors", source / "config.json"]
    if precision == "int8":
        files.append(_calibration(spec))
    parts += [precision, *(digests.remembered_sha256(file, cache_dir) for file in files)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _calibration(spec: ModelSpec) -> Path:
    if spec.int8 is None:
        raise UnsupportedModelError(f"{spec.name!r} has no calibration for int8")
    return Path(spec.int8.calibration)


def _intact(final: Path, cache_dir: Path) -> bool:
    """Whether the cached graph is there and is what was written; a damaged one is simply made again."""
    try:
        recorded = json.loads((final / _DIGESTS).read_text(encoding="utf-8"))
        return all(digests.remembered_sha256(final / file, cache_dir) == digest for file, digest in recorded.items())
    except (OSError, ValueError):
        return False


def _write(spec: ModelSpec, config: Mapping[str, Any], source: Path, target: Path, precision: str) -> None:
    from embedry_onnxruntime import encoder
    from embedry_onnxruntime.checkpoint import Checkpoint
    from embedry_onnxruntime.families import MODULES
    from embedry_onnxruntime.graph import WEIGHTS_FILE, Graph
    from embedry_onnxruntime.quantised import QuantisedLayers

    family = MODULES[spec.architecture]
    weights = Checkpoint(source / "model.safetensors", family.PREFIX)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=target) as unpacked:
        with closing(Graph(Path(unpacked))) as graph:
            layer = QuantisedLayers(_calibration(spec)) if precision == "int8" else encoder.layer
            pooled = encoder.encode(graph, family, weights, config, spec.pooling, layer)
            weights.check_all_read()
            graph.save(Path(unpacked) / GRAPH_FILE, pooled, spec.dims)
        _pack(Path(unpacked) / GRAPH_FILE, target / GRAPH_FILE, WEIGHTS_FILE)
    written = {file: digests.sha256(target / file) for file in (GRAPH_FILE, WEIGHTS_FILE)}
    (target / _DIGESTS).write_text(json.dumps(written), encoding="utf-8")


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


def check_config(spec: ModelSpec, config: Mapping[str, Any]) -> None:
    """Compares config.json with what the graph computes and what the entry says.

    Raises:
        IntegrityError: it describes another model than the entry.
        UnsupportedModelError: it has an activation, positions or attention that the graph does not do.
    """
    if config.get("model_type") != spec.architecture:
        raise IntegrityError(
            f"config.json of {spec.name!r} is of a {config.get('model_type')!r}, the entry says {spec.architecture!r}"
        )
    width = config.get("hidden_size", config.get("dim"))
    if width != spec.dims:
        raise IntegrityError(f"config.json of {spec.name!r} has vectors of {width}, the entry says dims={spec.dims}")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    positions = config.get("position_embedding_type") or "absolute"
    faults = {
        f"the activation {activation!r}": activation != "gelu",
        f"{positions!r} positions": positions != "absolute",
        "attention that only looks back": bool(config.get("is_decoder")),
    }
    for fault, there in faults.items():
        if there:
            raise UnsupportedModelError(
                f"the backend 'onnxruntime' cannot load {spec.name!r}: its config.json asks for {fault}; "
                'try backend="transformers": pip install embedry-transformers'
            )
    longest = config["max_position_embeddings"] - (2 if spec.architecture in ("mpnet", "roberta", "xlm-roberta") else 0)
    if spec.max_seq_length > longest:
        raise IntegrityError(
            f"{spec.name!r} has positions for {longest} tokens, the entry says max_seq_length={spec.max_seq_length}"
        )
