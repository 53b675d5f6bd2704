"""Static models: a table of token vectors and a tokenizer, in sentence-transformers' layout or in model2vec's own."""

from msgspec import Struct

from embedry._files.st_files import Count, Files
from embedry._files.weights import tensors
from embedry.errors import IntegrityError
from embedry.modules import Normalize, StaticEmbedding
from embedry.spec import NO_LIMIT, ModelSpec


class StaticFile(Struct):
    """config.json of a static model, as model2vec writes it."""

    model_type: str | None = None
    hidden_dim: Count | None = None
    normalize: bool = False
    max_length: Count | None = 512
    """The default is model2vec's own; null is no limit."""


def table(files: Files, path: str, *, skip_unknown: bool = False) -> tuple[StaticEmbedding, int]:
    """The module of a table of token vectors, and its width: as the file says, or, where that is still on the hub, config.json.

    Args:
        files: of the model.
        path: the folder of the table.
        skip_unknown: as the module has it.

    Raises:
        IntegrityError: no file states the width.
    """
    config = f"{path}/config.json" if path else "config.json"
    name, width = "embeddings", files.read_or(config, StaticFile, StaticFile()).hidden_dim
    weights = StaticEmbedding(path=path, outputs=1).weights
    if files.has(weights):
        stored = tensors(files.folder / weights)
        name = "embedding.weight" if "embedding.weight" in stored else "embeddings"
        width = stored[name].shape[-1] if name in stored else None
    if width is None:
        raise IntegrityError(f"neither {weights} nor {config} in {files.folder} states how long token vectors are")
    return StaticEmbedding(path=path, outputs=width, tensor=name, skip_unknown=skip_unknown), width


def is_model2vec(files: Files) -> bool:
    """Whether a folder has model2vec's own layout, and no modules.json."""
    return (
        not files.has("modules.json")
        and files.has("config.json")
        and files.read("config.json", StaticFile).model_type == "model2vec"
    )


def entry(files: Files, repo: str | None) -> ModelSpec:
    """The entry of a model in model2vec's own layout: config.json, a table and a tokenizer, all at the top.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: as `table`.
    """
    module, width = table(files, "", skip_unknown=True)
    stated = files.read("config.json", StaticFile)
    files.check_present([module.tokenizer, *([] if repo else [module.weights])])
    return ModelSpec(
        name=repo or files.folder.resolve().name or "model",
        repo=repo,
        revision=files.folder.name if repo else None,
        folder=None if repo else str(files.folder),
        files=dict.fromkeys((module.weights, module.tokenizer)),
        dims=width,
        max_seq_length=stated.max_length or NO_LIMIT,
        preferred_backend="static",
        architecture="static",
        transformer=None,
        chain=(module, *((Normalize(),) if stated.normalize else ())),
        description=f"read from {repo or files.folder}",
    )
