"""The compiled graph of a model: written once from the verified weights, kept in the cache, and checked when used."""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from embedry import CacheError, CacheWarning, IntegrityError, ModelSpec, UnsupportedModelError, cache, integrity

GRAPH_VERSION = 2
"""Raised whenever the graph that is written for the same weights changes."""

_DIGESTS = "digests.json"


@contextmanager
def folder(spec: ModelSpec, source: Path, cache_dir: Path) -> Iterator[Path]:
    """A folder with model.onnx and its weights, for as long as it takes to open them.

    Where the cache cannot be written the graph is made in a temporary folder instead, with a warning.

    Raises:
        UnsupportedModelError: config.json asks for something that the graph does not do.
        IntegrityError: the weights are incomplete or too many, or config.json is another model's.
        CacheError: there is no room anywhere.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    check_config(spec, config)
    final = cache_dir / "graphs" / _key(spec, source, cache_dir)
    there = final.exists()
    if there and _intact(final, cache_dir):
        yield final
        return
    try:
        if there:  # damaged; what another process puts there from now on is not
            cache.discard(final, cache_dir)
        with cache.staging(cache_dir) as staged:
            _write(spec, config, source, staged)
            cache.publish(staged, final)
    except OSError as error:
        with _temporary(spec, config, source, cache_dir, reason=error) as elsewhere:
            yield elsewhere
    else:
        yield final


@contextmanager
def _temporary(
    spec: ModelSpec, config: Mapping[str, Any], source: Path, cache_dir: Path, *, reason: OSError
) -> Iterator[Path]:
    advice = "set EMBEDRY_CACHE to a folder with room that you can write"
    with tempfile.TemporaryDirectory(prefix="embedry-", ignore_cleanup_errors=True) as name:
        try:
            _write(spec, config, source, Path(name))
        except OSError as error:
            raise CacheError(
                f"the graph of {spec.name!r} could be written neither to the cache folder {cache_dir} ({reason}) "
                f"nor to {name} ({error}); {advice}"
            ) from error
        warnings.warn(
            CacheWarning(
                f"the graph of {spec.name!r} could not be kept in the cache folder {cache_dir} ({reason}), "
                f"so it is made anew at each start; {advice}"
            ),
            stacklevel=2,
        )
        yield Path(name)


def _key(spec: ModelSpec, source: Path, cache_dir: Path) -> str:
    parts = [GRAPH_VERSION, spec.pooling]
    parts += [integrity.remembered_sha256(source / file, cache_dir) for file in ("model.safetensors", "config.json")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _intact(final: Path, cache_dir: Path) -> bool:
    """Whether the cached graph is there and is what was written; a damaged one is simply made again."""
    try:
        digests = json.loads((final / _DIGESTS).read_text(encoding="utf-8"))
        return all(integrity.remembered_sha256(final / file, cache_dir) == digest for file, digest in digests.items())
    except (OSError, ValueError):
        return False


def _write(spec: ModelSpec, config: Mapping[str, Any], source: Path, target: Path) -> None:
    from embedry_onnxruntime import encoder
    from embedry_onnxruntime.checkpoint import Checkpoint
    from embedry_onnxruntime.families import MODULES
    from embedry_onnxruntime.graph import WEIGHTS_FILE, Graph

    family = MODULES[spec.architecture]
    weights = Checkpoint(source / "model.safetensors", family.PREFIX)
    with closing(Graph(target)) as graph:
        vectors = family.token_vectors(graph, weights, config)
        weights.check_all_read()
        graph.save(encoder.pool(graph, vectors, spec.pooling), spec.dims)
    digests = {file: integrity.sha256(target / file) for file in ("model.onnx", WEIGHTS_FILE)}
    (target / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")


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
