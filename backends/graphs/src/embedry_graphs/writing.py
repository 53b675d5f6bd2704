"""Writes the graph of a model: the encoder of its family, then the modules of its chain."""

import json
from contextlib import closing
from importlib import import_module
from pathlib import Path
from types import ModuleType

from embedry import ModelSpec, SpecError
from embedry.backend import ModelConfig
from embedry_graphs import FAMILIES, GRAPH_FILE, chain
from embedry_graphs.calibration import MeasuringLayers
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.quantized import QuantizedLayers
from embedry_graphs.shape import Shape


def write(
    spec: ModelSpec, config: ModelConfig, source: Path, target: Path, calibration: Path | None, *, whole: bool
) -> None:
    """See `embedry_graphs.write`."""
    assert spec.transformer is not None  # noqa: S101  every family has one
    family, weights = _family(spec, source)
    settings = json.loads((source / spec.transformer.file("config.json")).read_text(encoding="utf-8"))
    parts = chain.Parts(source, weights, Shape.of(config), spec.architecture, settings)
    quantized = {"build_layer": QuantizedLayers(calibration)} if calibration is not None else {}
    with closing(Graph(target, of_pairs=spec.kind == "reranker", whole=whole)) as graph:
        tokens = family.token_vectors(graph, weights, parts.shape, first_only=chain.first_only(spec.body), **quantized)
        result, width = chain.apply(graph, spec.body, tokens, parts)
        weights.check_all_read(spec.architecture, chain.prefixes(spec.body, parts))
        if width != spec.dims:
            raise SpecError(f"the modules of {spec.name!r} give vectors of {width}, the entry says dims={spec.dims}")
        axes = ("batch", "sequence") if spec.kind == "multi_vector" else ("batch",)
        graph.save(target / GRAPH_FILE, result, width, axes)


def write_measuring(spec: ModelSpec, config: ModelConfig, source: Path, target: Path) -> dict[str, int]:
    """See `embedry_graphs.write_measuring`."""
    family, weights = _family(spec, source)
    measuring = MeasuringLayers()
    first_only = chain.first_only(spec.body)  # what the 8-bit graph does not compute needs no range
    with closing(Graph(target)) as graph:
        family.token_vectors(graph, weights, Shape.of(config), first_only=first_only, build_layer=measuring)
        graph.save(target / GRAPH_FILE, measuring.result(graph), sum(measuring.channels.values()), ("ends",))
    return measuring.channels


def _family(spec: ModelSpec, source: Path) -> tuple[ModuleType, Checkpoint]:
    """The module that writes the model's encoder, and its weights."""
    family = import_module(FAMILIES[spec.architecture])
    return family, Checkpoint([source / file for file in spec.weights], family.PREFIXES)
