"""bge-m3's three kinds of results from one entry and one set of files, against the formulas of FlagEmbedding, its makers' library:
`_process_token_weights` and `_process_colbert_vecs` in its inference/embedder/encoder_only/m3.py, and `forward` of its model.

The folder is made by the script of docs/kinds.md, of a tiny random XLM-RoBERTa and of heads that are pickles, as on the hub.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

import kind_folders
from embedry import (
    Dense,
    LateInteraction,
    ModelSpec,
    Normalize,
    Pooling,
    TermWeights,
    maxsim,
    resolve,
    resolve_multi_vector,
    resolve_sparse,
)
from embedry.registry import installed
from examples import ROOT, blocks
from kind_references import TEXTS

PAGE = ROOT / "docs" / "kinds.md"
WIDTH, OUTPUTS, TERMS = kind_folders.WIDTH, 24, 301
SPECIAL = {0, 1, 2, 3}
"""The ids of <s>, <pad>, </s> and <unk>, in every tokenizer of XLM-RoBERTa."""

Heads = dict[str, torch.nn.Linear]
Texts = list[NDArray[np.float32]]

on_each_engine = pytest.mark.parametrize("backend", ["onnxruntime", "transformers"])


@pytest.fixture(scope="module")
def heads() -> Heads:
    torch.manual_seed(3)
    return {"sparse_linear": torch.nn.Linear(WIDTH, 1), "colbert_linear": torch.nn.Linear(WIDTH, OUTPUTS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, heads: Heads) -> Path:
    """What the page's script makes, of what it is told are the files of the repository."""
    root = tmp_path_factory.mktemp("bge-m3")
    kind_folders._save(root / "hub", "xlm-roberta", "Model")
    for name, head in heads.items():
        torch.save(head.state_dict(), root / "hub" / f"{name}.pt")

    def hf_hub_download(repo: str, file: str, *, revision: str, local_dir: Path | None = None) -> str:
        assert repo == "BAAI/bge-m3"
        assert len(revision) == 40
        if local_dir is None:
            return str(root / "hub" / file)
        local_dir.mkdir(exist_ok=True)
        (local_dir / file).write_bytes((root / "hub" / file).read_bytes())
        return str(local_dir / file)

    (script,) = (block.text for block in blocks(PAGE) if block.file == "make_bge_m3.py")
    hub = ModuleType("huggingface_hub")
    hub.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setitem(sys.modules, "huggingface_hub", hub)
        exec(compile(script, "make_bge_m3.py", "exec"), {})
    return root / "bge-m3"


@pytest.fixture(scope="module")
def entry(folder: Path) -> ModelSpec:
    """The entry of the page, of the tiny model's sizes."""
    heads = ("sparse_linear/model.safetensors", "colbert_linear/model.safetensors")
    return ModelSpec(
        name="bge-m3-three",
        folder=str(folder),
        files=dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json", *heads)),
        architecture="xlm-roberta",
        dims=WIDTH,
        max_seq_length=kind_folders.LENGTH,
        preferred_backend="onnxruntime",
        chain=(Pooling(mode="cls"), Normalize()),
        other_chains=(
            (TermWeights(path="sparse_linear", inputs=WIDTH, outputs=TERMS, skip=(0, 1, 2, 3)),),
            (
                Dense(path="colbert_linear", inputs=WIDTH, outputs=OUTPUTS),
                Normalize(),
                LateInteraction(skip=("<s>",), skip_in=("query", "document", "unprompted")),
            ),
        ),
    )


@pytest.fixture(scope="module")
def read(folder: Path) -> tuple[list[list[int]], Texts]:
    """The token ids of each text, and its token vectors, by the transformers library, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder.parent / "hub")
    model = AutoModel.from_pretrained(folder.parent / "hub").eval()
    ids = [tokenizer(text, truncation=True, max_length=kind_folders.LENGTH)["input_ids"] for text in TEXTS]
    with torch.inference_mode():
        return ids, [model(torch.tensor([each])).last_hidden_state[0].numpy() for each in ids]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def applied(head: torch.nn.Linear, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    weight, bias = (tensor.detach().numpy() for tensor in (head.weight, head.bias))
    found: NDArray[np.float32] = vectors @ weight.T + bias
    return found


@on_each_engine
def test_the_dense_vectors(entry: ModelSpec, read: Any, backend: str, tmp_path: Path) -> None:
    _, hidden = read
    wanted = np.stack([unit(vectors[0]) for vectors in hidden])
    found = resolve(entry, backend=backend, device="cpu", cache_dir=tmp_path).encode(TEXTS, role="document")
    assert np.abs(found - wanted).max() <= 1e-5


@on_each_engine
def test_the_weights_of_terms(entry: ModelSpec, heads: Heads, read: Any, backend: str, tmp_path: Path) -> None:
    ids, hidden = read
    wanted = np.zeros((len(TEXTS), TERMS), dtype=np.float32)
    for row, (tokens, vectors) in enumerate(zip(ids, hidden, strict=True)):
        for token, weight in zip(tokens, np.maximum(applied(heads["sparse_linear"], vectors)[:, 0], 0), strict=True):
            if token not in SPECIAL:
                wanted[row, token] = max(wanted[row, token], weight)
    found = resolve_sparse(entry, backend=backend, device="cpu", cache_dir=tmp_path).encode(TEXTS, role="query")
    assert np.abs(found.to_dense() - wanted).max() <= 1e-5
    assert 0.05 < np.count_nonzero(wanted) / sum(map(len, ids)) < 0.95, "some weights are cut to 0, and some are not"


@on_each_engine
def test_the_token_vectors(entry: ModelSpec, heads: Heads, read: Any, backend: str, tmp_path: Path) -> None:
    _, hidden = read
    wanted = [unit(applied(heads["colbert_linear"], vectors[1:])) for vectors in hidden]
    late = resolve_multi_vector(entry, backend=backend, device="cpu", cache_dir=tmp_path)
    for role in ("query", "document", "unprompted"):
        found = late.encode(TEXTS, role=role)
        assert list(map(len, found)) == list(map(len, wanted))
        assert max(np.abs(one - other).max() for one, other in zip(found, wanted, strict=True)) <= 1e-5
    scores = maxsim(found[:3], found) / np.array([[len(vectors)] for vectors in found[:3]])  # as `colbert_score`
    for row, query in enumerate(wanted[:3]):
        mean = [(query @ document.T).max(axis=1).sum() / len(query) for document in wanted]
        assert np.abs(scores[row] - mean).max() <= 1e-5


def test_the_page_has_this_entry_at_its_real_sizes(entry: ModelSpec) -> None:
    found: dict[str, Any] = {}
    program = "".join(block.text for block in blocks(PAGE) if block.language == "python" and block.file is None)
    exec(compile(program, "kinds.md", "exec"), found)  # which registers the entry
    three: ModelSpec = found["three"]
    tiny = json.dumps(entry.to_dict()["other_chains"])
    for small, real in ((WIDTH, 1024), (OUTPUTS, 1024), (TERMS, 250002)):
        tiny = tiny.replace(f": {small}", f": {real}")
    assert three.to_dict()["other_chains"] == json.loads(tiny)
    assert set(three.files) == set(entry.files)
    registered = installed().find("bge-m3")
    assert registered is not None
    assert resolve(three).fingerprint == resolve(registered).fingerprint
