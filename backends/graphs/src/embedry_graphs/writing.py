"""Writing the whole graph of a model: the encoder of its family, then the modules of its chain."""

from contextlib import closing
from importlib import import_module
from pathlib import Path

from embedry import ModelSpec, SpecError
from embedry.backend import ModelConfig
from embedry_graphs import FAMILIES, GRAPH_FILE, chain
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.quantised import QuantisedLayers
from embedry_graphs.shape import Shape


def write(spec: ModelSpec, config: ModelConfig, source: Path, target: Path, calibration: Path | None) -> None:
    """See `embedry_graphs.write`."""
    family = import_module(FAMILIES[spec.architecture])
    weights = Checkpoint([source / file for file in spec.weights], family.PREFIXES)
    shape = Shape.of(config)
    quantised = {"build_layer": QuantisedLayers(calibration)} if calibration is not None else {}
    with closing(Graph(target)) as graph:
        tokens = family.token_vectors(graph, weights, shape, first_only=chain.first_only(spec.body), **quantised)
        weights.check_all_read(spec.architecture)
        vectors, width = chain.apply(graph, spec.body, tokens, source, shape.width)
        if width != spec.dims:
            raise SpecError(f"the modules of {spec.name!r} give vectors of {width}, the entry says dims={spec.dims}")
        graph.save(target / GRAPH_FILE, vectors, width)
