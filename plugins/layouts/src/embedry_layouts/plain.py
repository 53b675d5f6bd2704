"""Folders without modules.json: config.json names a class that is a complete model, or that only needs settings from another file."""

from msgspec import Struct

from embedry.errors import UnsupportedModelError
from embedry_layouts import multi_vectors, rerankers, static
from embedry_layouts.files import Files
from embedry_layouts.found import Found

_CONFIG = "config.json"
_STANFORD = "HF_ColBERT"
"""The class of ColBERT's authors."""


class ArchitecturesFile(Struct):
    """The model classes of a folder's weights."""

    architectures: list[str] | None = None


def read(files: Files) -> Found | None:
    """Reads such a folder; None if it is not a complete model.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure.
        UnsupportedModelError: a file has an unsupported setting; or the class is a model's only with something that no
            file states.
    """
    if static.is_model2vec(files):
        return static.model2vec(files)
    if is_stanford(files):
        return multi_vectors.stanford(files)
    head = next(iter(_architectures(files)), "")
    if head.endswith(("ForSequenceClassification", "ForCausalLM")):
        return rerankers.plain(files)
    if head.endswith("ForMaskedLM"):
        raise UnsupportedModelError(
            f"{files.folder / _CONFIG} names the class {head}, and without modules.json nothing says whether the model was "
            "trained to give weights of terms; if it was, save it with sentence-transformers: "
            "SparseEncoder(folder).save_pretrained(another_folder)"
        )
    return None


def is_stanford(files: Files) -> bool:
    """Whether a folder has the layout of ColBERT's authors."""
    return not files.has("modules.json") and _STANFORD in _architectures(files)


def _architectures(files: Files) -> list[str]:
    return files.read_or(_CONFIG, ArchitecturesFile, ArchitecturesFile()).architectures or []
