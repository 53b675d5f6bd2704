"""A model's graph as a cache artifact: written once from the verified files for an engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import embedry_graphs as graphs
from embedry import ModelSpec, UnsupportedModelError
from embedry.backend import LoadRequest, ModelConfig, artifact, resource_file
from embedry.modules import as_dict


def folder(
    request: LoadRequest,
    engine: str,
    precision: str = "fp32",
    *,
    whole: bool = False,
    settings: Sequence[object] = (),
    finish: Callable[[Path, Path], None] | None = None,
) -> Path:
    """The folder with `GRAPH_FILE` and `WEIGHTS_FILE`, see `embedry_graphs.write`.

    Args:
        request: the model.
        engine: the name of the backend, for messages.
        precision: "fp32" or "int8".
        whole: see `embedry_graphs.write`.
        settings: other values that the result depends on, as JSON values.
        finish: converts the graph to the engine's own format, if any: from the path of the graph to another folder.

    Raises:
        UnsupportedModelError: config.json has a setting that the graph does not support.
        IntegrityError: weights are missing or left over, or their shapes do not match config.json.
        CacheError: there is no room anywhere.
    """
    spec, source, config, cache_dir = request.spec, request.folder, checked_config(request, engine), request.cache_dir
    inputs = {file: source / file for file in spec.files if file.endswith((".safetensors", "config.json"))}
    if precision == "int8":
        inputs["calibration"] = _calibration(spec, cache_dir)

    def build(target: Path) -> None:
        if finish is None:
            graphs.write(spec, config, source, target, inputs.get("calibration"), whole=whole)
            return
        with TemporaryDirectory(prefix="unfinished-", dir=target) as unfinished:
            graphs.write(spec, config, source, Path(unfinished), inputs.get("calibration"), whole=whole)
            finish(Path(unfinished) / graphs.GRAPH_FILE, target)

    return artifact(
        f"the graph of {spec.name!r}",
        build,
        cache_dir,
        inputs=inputs,
        settings=[
            graphs.VERSION, [as_dict(module) for module in spec.body], precision, *(["whole"] if whole else []), *settings,
            *([] if spec.kind == "dense" else [spec.kind]),  # the same body may be another graph, of pairs or for each token
        ],
    )  # fmt: skip


def checked_config(request: LoadRequest, engine: str) -> ModelConfig:
    """Loads and checks the config.json of a model.

    Raises:
        UnsupportedModelError: it has a setting that the graph does not support.
    """
    config = request.config
    assert config is not None  # noqa: S101  every family has one
    fault = graphs.config_fault(config)
    if fault is not None:
        raise UnsupportedModelError(
            f"the backend {engine!r} cannot load {request.spec.name!r}: its config.json asks for {fault}; "
            'try backend="transformers": pip install embedry-transformers'
        )
    return config


def _calibration(spec: ModelSpec, cache_dir: Path) -> Path:
    if spec.int8 is None:
        raise UnsupportedModelError(f"{spec.name!r} has no calibration for int8")
    return resource_file(spec.int8.calibration, cache_dir)
