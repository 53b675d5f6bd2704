"""Writing the whole graph of a model: the encoder of its family, then the modules of its chain."""

from contextlib import closing
from pathlib import Path

from embedry import ModelSpec, SpecError
from embedry.backend import ModelConfig
from embedry_graphs import GRAPH_FILE, chain, post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.families import MODULES
from embedry_graphs.graph import Graph
from embedry_graphs.quantised import QuantisedLayers


def write(spec: ModelSpec, config: ModelConfig, source: Path, target: Path, calibration: Path | None) -> None:
    """See `embedry_graphs.write`."""
    family = MODULES[spec.architecture]
    weights = Checkpoint([source / file for file in spec.weights], family.PREFIX)
    shape = post_norm.Shape.of(config)
    with closing(Graph(target)) as graph:
        layer = QuantisedLayers(calibration) if calibration is not None else post_norm.layer
        tokens = post_norm.encode(graph, family, weights, shape, layer, first_only=chain.first_only(spec.body))
        weights.check_all_read()
        vectors, width = chain.apply(graph, spec.body, tokens, source, shape.width)
        if width != spec.dims:
            raise SpecError(f"the modules of {spec.name!r} give vectors of {width}, the entry says dims={spec.dims}")
        graph.save(target / GRAPH_FILE, vectors, width)
