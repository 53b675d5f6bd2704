"""The models of the registry in the `llm` tool: each step in a process of its own, as on the command line."""

import json
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from embedry import ModelSpec, resolve
from embedry.views import LazyEmbedder
from entries import registered

TEXTS = {
    "refunds": "Refunds are paid within 14 days.",
    "shipping": "We ship to most of Europe.",
    "hours": "The shop opens at nine.",
}
QUESTION = "When do I get my money back?"

Llm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def llm(tmp_path: Path) -> Llm:
    """Runs the `llm` command, with its user folder in a temporary one."""

    def run(
        *arguments: str, site: Path | None = None, code: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = ["-c", code] if code else ["-m", "llm", *arguments]
        result = subprocess.run(
            [sys.executable, *command],
            env=os.environ | {"LLM_USER_PATH": str(tmp_path / "llm"), "PYTHONPATH": str(site or "")},
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture
def asymmetric(checkpoint: Callable[..., Path]) -> ModelSpec:
    """A registered model whose queries and documents take prompts."""
    folder = checkpoint("bert", prompts={"query": "ask: ", "document": "say: "})
    return registered(folder, name="acme-small", aliases=("acme",))


@pytest.fixture
def pack(plugin: Callable[..., Path]) -> Callable[[ModelSpec], Path]:
    """Writes a plugin that registers this entry."""

    def write(spec: ModelSpec) -> Path:
        source = (
            f"import embedry, pickle\nSPEC = pickle.loads({pickle.dumps(spec)!r})\n"
            "@embedry.hookimpl\ndef embedry_models():\n    return [SPEC]\n"
        )
        return plugin("acme-models", {"embedry": {"acme": "acme_models"}}, {"acme_models": source})

    return write


def stored(tmp_path: Path) -> tuple[str, dict[str, tuple[float, ...]]]:
    """The model's id and the vectors that a collection holds."""
    with sqlite3.connect(tmp_path / "llm" / "embeddings.db") as database:
        ((model,),) = database.execute("select model from collections").fetchall()
        rows = database.execute("select id, embedding from embeddings").fetchall()
    return model, {name: struct.unpack(f"<{len(blob) // 4}f", blob) for name, blob in rows}


def store(llm: Llm, tmp_path: Path, model: str, site: Path | None = None) -> None:
    (tmp_path / "texts.json").write_text(json.dumps([{"id": name, "text": text} for name, text in TEXTS.items()]))
    llm("embed-multi", "shop", "texts.json", "-m", model, "--store", site=site)


def test_what_one_process_stored_another_finds(minilm: LazyEmbedder, llm: Llm, tmp_path: Path) -> None:
    store(llm, tmp_path, "embedry/all-MiniLM-L6-v2")
    documents, query = minilm.encode_document(TEXTS.values()), minilm.encode_query([QUESTION])[0]
    model, vectors = stored(tmp_path)
    assert model == f"embedry/all-MiniLM-L6-v2@{minilm.fingerprint}"
    assert_allclose([vectors[name] for name in TEXTS], documents, atol=1e-6)
    found = [json.loads(line) for line in llm("similar", "shop", "-c", QUESTION).stdout.splitlines()]
    expected = dict(zip(TEXTS, documents @ query, strict=True))
    assert [one["id"] for one in found] == sorted(TEXTS, key=lambda name: -expected[name])
    assert_allclose([one["score"] for one in found], [expected[one["id"]] for one in found], atol=1e-5)
    assert found[0]["content"] == TEXTS["refunds"]


def test_every_model_is_listed_with_its_aliases_and_nothing_is_imported(llm: Llm) -> None:
    listed = llm("embed-models", "list", "-q", "embedry").stdout.splitlines()
    space = resolve("e5-small-v2").fingerprint
    assert f"EmbedryModel: embedry/e5-small-v2@{space} (aliases: embedry/e5-small-v2, e5-small)" in listed
    assert f"EmbedryModel: embedry/e5-small-v2/query@{space} (aliases: embedry/e5-small-v2/query)" in listed
    assert "ms-marco" not in listed, "a reranker gives no vectors"
    assert sum("all-MiniLM-L6-v2" in line for line in listed) == 1  # its queries take no prompt of their own
    code = (
        "import llm, sys\n"
        "model = llm.get_embedding_model('minilm')\n"
        "print([m for m in ('onnxruntime', 'tokenizers', 'torch', 'huggingface_hub') if m in sys.modules])"
    )
    assert llm(code=code).stdout == "[]\n"


def test_an_id_is_for_documents_and_its_sibling_for_queries(
    llm: Llm, asymmetric: ModelSpec, pack: Callable[[ModelSpec], Path], tmp_path: Path
) -> None:
    site = pack(asymmetric)
    store(llm, tmp_path, "acme", site)
    embedder = resolve(asymmetric)
    documents, query = embedder.encode_document(TEXTS.values()), embedder.encode_query([QUESTION])[0]
    _, vectors = stored(tmp_path)
    assert np.abs(documents - embedder.encode_query(TEXTS.values())).max() > 1e-2
    assert_allclose([vectors[name] for name in TEXTS], documents, atol=1e-6)
    asked = json.loads(llm("embed", "-m", "embedry/acme-small/query", "-c", QUESTION, site=site).stdout)
    assert_allclose(asked, query, atol=1e-6)
    as_document = embedder.encode_document([QUESTION])[0]
    similar = [json.loads(line) for line in llm("similar", "shop", "-c", QUESTION, site=site).stdout.splitlines()]
    expected = dict(zip(TEXTS, documents @ as_document, strict=True))
    assert_allclose([one["score"] for one in similar], [expected[one["id"]] for one in similar], atol=1e-5)


@pytest.mark.parametrize("step", [("similar", "shop", "-c", QUESTION), ("embed", "shop", "more", "-c", "one more")])
def test_a_collection_of_a_changed_model_is_refused(
    step: tuple[str, ...], llm: Llm, asymmetric: ModelSpec, pack: Callable[[ModelSpec], Path], tmp_path: Path
) -> None:
    site = pack(asymmetric)
    store(llm, tmp_path, "acme", site)
    changed = replace(asymmetric, prompts={"query": "ask me: ", "document": "say: "})
    (site / "acme_models.py").write_text(
        (site / "acme_models.py").read_text().replace(repr(pickle.dumps(asymmetric)), repr(pickle.dumps(changed)))
    )
    result = llm(*step, site=site, check=False)
    assert result.returncode != 0
    assert f"Unknown model: embedry/acme-small@{resolve(asymmetric).fingerprint}" in result.stderr
    assert len(stored(tmp_path)[1]) == len(TEXTS)


def test_an_entry_without_digests_is_listed_without_reading_its_files(
    llm: Llm, asymmetric: ModelSpec, pack: Callable[[ModelSpec], Path], tmp_path: Path
) -> None:
    bare = replace(asymmetric, files=dict.fromkeys(asymmetric.files), folder=str(tmp_path / "nowhere"))
    listed = llm("embed-models", "list", "-q", "acme", site=pack(bare)).stdout.splitlines()
    ids = [line.split(" (")[0] for line in listed]
    assert ids == ["EmbedryModel: embedry/acme-small", "EmbedryModel: embedry/acme-small/query"]


def test_bytes_are_refused(llm: Llm) -> None:
    code = "import llm\nllm.get_embedding_model('minilm').embed(b'an image')"
    assert "does not support binary data" in llm(code=code, check=False).stderr
