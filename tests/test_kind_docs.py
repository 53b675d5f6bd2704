"""The examples of docs/kinds.md that load a model: run as a reader would, with tiny models in place of those that they name.

Each stands in a Hugging Face cache as the repository of the entry that it stands for, at its revision: what has no digest in an
entry is not compared with one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

import kind_folders
from embedry.registry import installed
from examples import ROOT, blocks, write_files

PAGE = ROOT / "docs" / "kinds.md"
PROGRAMS = ("rerank.py", "hybrid.py", "sparse.py", "late.py")

_LONG: dict[str, Any] = {"max_position_embeddings": 512}


def _reranker(folder: Path) -> None:
    kind_folders.make_classes(folder, "bert", **_LONG)


def _sparse(folder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(kind_folders.wordpiece()), model_max_length=512)
    kind_folders._save(folder, "distilbert", "ForMaskedLM", tokenizer, **_LONG)
    terms = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "idf.json").write_text(json.dumps({term: 1 + number / 1e5 for term, number in terms.items()}))


def _late(folder: Path) -> None:
    kind_folders._save(folder, "bert", "Model", hidden_size=384, **_LONG)
    weights = load_file(folder / "model.safetensors")
    projection = torch.randn(96, 384, generator=torch.Generator().manual_seed(0))
    save_file(weights | {"linear.weight": projection}, folder / "model.safetensors", metadata={"format": "pt"})


STANDS_FOR = {"opensearch-sparse-doc-v3-distill": "opensearch-sparse-doc-v2-distill"}
"""A model of the page, whose entry has the digest of its table -> one like it, whose entry has none."""

MODELS = {
    "ms-marco-MiniLM-L6-v2": _reranker,
    "opensearch-sparse-doc-v2-distill": _sparse,
    "answerai-colbert-small-v1": _late,
}


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a tiny model in the place of each that the page names."""
    root = tmp_path_factory.mktemp("hugging-face")
    for name, make in MODELS.items():
        spec = installed().find(name)
        assert spec is not None
        assert spec.repo is not None
        make(root / f"models--{spec.repo.replace('/', '--')}" / "snapshots" / str(spec.revision))
    return root


def test_every_program_of_the_page_is_run_here() -> None:
    written = {block.file for block in blocks(PAGE) if block.file is not None}
    assert written == {*PROGRAMS, "make_bge_m3.py"}  # which tests/test_bge_m3.py runs


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_and_prints_what_the_page_says(
    program: str, hugging_face: Path, tmp_path: Path, cache_dir: Path, minilm: object
) -> None:
    write_files(PAGE, tmp_path)
    text = (tmp_path / program).read_text()
    for name, other in STANDS_FOR.items():
        text = text.replace(name, other)
    (tmp_path / program).write_text(text)
    environment = os.environ | {"HF_HUB_CACHE": str(hugging_face), "EMBEDRY_CACHE": str(cache_dir)}
    result = subprocess.run(
        [sys.executable, "-W", "error", program],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for comment in re.findall(r"print\(.*?\)\s+# (\(.+)", text):
        assert comment in result.stdout, f"{program} states {comment} and prints\n{result.stdout}"
    assert result.stdout
