"""Static models: a table of token vectors and a tokenizer, in sentence-transformers' layout or in model2vec's own."""

from msgspec import Struct

from embedry._files.weights import tensors
from embedry.errors import IntegrityError
from embedry.modules import Normalize, StaticEmbedding
from embedry.spec import NO_LIMIT
from embedry_layouts.files import Count, Files, ModuleEntry
from embedry_layouts.found import Found


class StaticFile(Struct):
    """config.json of a static model of model2vec."""

    model_type: str | None = None
    normalize: bool = False
    max_length: Count | None = 512
    """The default is model2vec's own; null is no limit."""


def table(files: Files, path: str, *, skip_unknown: bool = False) -> tuple[StaticEmbedding, int]:
    """Reads the module of a table of token vectors and its width from its file, the only source of both.

    Args:
        files: the files of the model.
        path: the folder of the table.
        skip_unknown: the setting of the module.

    Raises:
        WeightsNotFoundError: the file is missing.
        IntegrityError: the file is not safetensors, or has no such table.
    """
    weights = StaticEmbedding(path=path, outputs=1).weights
    files.check_present([weights])
    stored = tensors(files.folder / weights)
    name = next((name for name in ("embedding.weight", "embeddings") if name in stored), None)
    if name is None or len(stored[name].shape) != 2:
        raise IntegrityError(
            f"{files.folder / weights} has no table 'embedding.weight' or 'embeddings'; it has {', '.join(sorted(stored)) or 'nothing'}"
        )
    width = stored[name].shape[1]
    return StaticEmbedding(path=path, outputs=width, tensor=name, skip_unknown=skip_unknown), width


def is_static(files: Files) -> bool:
    """Whether a folder has a static model, in either layout."""
    listed = files.read_or("modules.json", list[ModuleEntry], [])
    return is_model2vec(files) or any(module.type.endswith(".StaticEmbedding") for module in listed[:1])


def is_model2vec(files: Files) -> bool:
    """Whether a folder has model2vec's layout without modules.json."""
    return (
        not files.has("modules.json")
        and files.has("config.json")
        and files.read("config.json", StaticFile).model_type == "model2vec"
    )


def model2vec(files: Files) -> Found:
    """Reads a model in model2vec's layout: config.json, a table and a tokenizer, all at the top level.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: as `table`.
    """
    module, width = table(files, "", skip_unknown=True)
    stated = files.read("config.json", StaticFile)
    return Found(
        chain=(module, *((Normalize(),) if stated.normalize else ())),
        dims=width,
        body=None,
        max_seq_length=stated.max_length or NO_LIMIT,
    )
