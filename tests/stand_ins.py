"""Tiny checkpoints in the place of models that cannot be had here, so that the examples of the documentation run.

Each fits the entry of its name, in everything but what its weights make of a text.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import kind_folders
from embedry.registry import installed

_READS = 512
"""Tokens."""


def _reranker(folder: Path) -> None:
    kind_folders.make_classes(folder, "bert", max_position_embeddings=_READS)


def _sparse(folder: Path) -> None:
    words = kind_folders._tokenizer("whole")
    kind_folders._save(folder, "distilbert", "ForMaskedLM", words, max_position_embeddings=_READS)
    table = {word: 1 + token / len(words) for word, token in words.get_vocab().items() if not word.startswith("[")}
    (folder / "idf.json").write_text(json.dumps(table))


def _multi_vector(folder: Path) -> None:
    words = kind_folders._tokenizer("whole")
    kind_folders._save(folder, "bert", "Model", words, hidden_size=384, max_position_embeddings=_READS)
    projection = torch.randn(96, 384, generator=torch.Generator().manual_seed(0)) * 0.05
    weights = load_file(folder / "model.safetensors") | {"linear.weight": projection}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


STAND_INS: dict[str, Callable[[Path], None]] = {
    "ms-marco-MiniLM-L6-v2": _reranker,
    "opensearch-neural-sparse-encoding-doc-v3-distill": _sparse,
    "answerai-colbert-small-v1": _multi_vector,
}

_CODE = """\
from dataclasses import replace

from embedry import registry

FOLDERS = {folders!r}
_find = registry.Registry.find


def find(self, name):
    spec = _find(self, name)
    if spec is None or spec.name not in FOLDERS:
        return spec
    return replace(spec, folder=FOLDERS[spec.name], files=dict.fromkeys(spec.files))


registry.Registry.find = find
"""


def install(text: str, site: Path, root: Path) -> None:
    """Lets every process with this folder on its path find stand-ins for the models that a text names.

    Args:
        text: of a page.
        site: the folder for the path, made if it is needed.
        root: where the checkpoints are made, once.
    """
    folders: dict[str, str] = {}
    for name, make in STAND_INS.items():
        spec = installed().find(name)
        assert spec is not None
        if any(f'"{each}"' in text or f" {each}" in text for each in (spec.name, spec.repo, *spec.aliases)):
            folder = root / name
            if not folder.exists():
                make(folder)
            folders[name] = str(folder)
    if folders:
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_CODE.format(folders=folders))
