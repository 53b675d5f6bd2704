"""The classic API: models from the registry, managers, and embeddings that are shared per configuration."""

import asyncio
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from embedry import UnknownModelError, register, resolve
from embedry.views import LazyEmbedder
from embedry_langchain import (
    DEFAULT_MODEL,
    EMBEDDING_MODELS,
    EmbeddingsManager,
    EmbedryEmbeddings,
    create_vector_store,
    get_embeddings,
    list_available_models,
)
from entries import entry
from examples import ROOT, blocks

FULL = "sentence-transformers/all-MiniLM-L6-v2"


def test_the_models_are_those_of_the_registry() -> None:
    assert DEFAULT_MODEL in EMBEDDING_MODELS
    mini = EMBEDDING_MODELS["all-MiniLM-L6-v2"]
    assert (mini["model_name"], mini["dimensions"], mini["max_seq_length"]) == (FULL, 384, 256)
    assert mini["description"]
    assert list_available_models() == sorted(EMBEDDING_MODELS, key=str.lower)
    assert len(EMBEDDING_MODELS) >= 4
    assert "ms-marco-MiniLM-L6-v2" not in EMBEDDING_MODELS, "a reranker gives no vectors"


def test_a_model_that_a_plugin_registers_appears_and_nothing_can_be_written() -> None:
    register(entry(name="appears-later", description="of a test"))
    assert EMBEDDING_MODELS["appears-later"] == {
        "model_name": "appears-later", "dimensions": 48, "max_seq_length": 128, "description": "of a test",
    }  # fmt: skip
    with pytest.raises(TypeError):
        EMBEDDING_MODELS["mine"] = {}  # type: ignore[index]
    with pytest.raises(KeyError, match="list_available_models"):
        EMBEDDING_MODELS["nobody"]


def test_a_manager_loads_with_the_first_call_and_only_then(fresh: Callable[..., CompletedProcess[str]]) -> None:
    result = fresh(
        "import sys\n"
        "from embedry_langchain import EMBEDDING_MODELS, EmbeddingsManager, EmbedryEmbeddings, get_embeddings\n"
        "list(EMBEDDING_MODELS), get_embeddings(), EmbedryEmbeddings()\n"
        "manager = EmbeddingsManager()\n"
        "print(sorted({'onnxruntime', 'tokenizers', 'torch', 'lancedb', 'pyarrow'} & set(sys.modules)))\n"
        "print(manager._embeddings.embedder.loaded)\n"
        "embeddings = manager.get_embeddings()\n"
        "print(embeddings.embedder.loaded, embeddings is manager.get_embeddings() is get_embeddings())\n"
    )
    assert result.stdout.splitlines() == ["[]", "False", "True True"]


def test_texts_are_queries_or_documents(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})
    embedder = resolve(folder, device="cpu", normalize=True)
    manager = EmbeddingsManager(str(folder))
    assert manager.embed_text("a text") == pytest.approx(embedder.encode_query(["a text"])[0].tolist(), abs=1e-6)
    assert manager.embed_texts(["a text"])[0] == pytest.approx(
        embedder.encode_document(["a text"])[0].tolist(), abs=1e-6
    )
    assert manager.embed_text("a text") != pytest.approx(manager.embed_texts(["a text"])[0], abs=1e-3)


def test_embeddings_are_shared_per_configuration_and_not_one_for_all(cache_dir: Path, tmp_path: Path) -> None:
    default = get_embeddings()
    assert get_embeddings(FULL) is default
    assert EmbeddingsManager(FULL)._embeddings is default
    others = [
        get_embeddings("bge-small-en-v1.5"),
        get_embeddings(normalize_embeddings=False),
        get_embeddings(cache_folder=tmp_path),
    ]
    assert len({id(embeddings) for embeddings in [default, *others]}) == 4
    assert others[0].embedder.name == "bge-small-en-v1.5", "a second model's name is not ignored"
    assert others[0] is get_embeddings("BAAI/bge-small-en-v1.5")
    assert others[2].embedder.config.cache_dir == tmp_path


def test_many_threads_get_the_same_embeddings() -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: get_embeddings("e5-small-v2"), range(200)))
    assert len({id(embeddings) for embeddings in found}) == 1


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UnknownModelError, match="all-MiniLM-L6-v2"):
        EmbeddingsManager("all-MiniLM-L6-v3")
    with pytest.raises(TypeError):
        EmbedryEmbeddings(batch_size=32)


def test_vectors_are_those_of_the_embedder_also_when_awaited(minilm: LazyEmbedder) -> None:
    embeddings = EmbedryEmbeddings("all-MiniLM-L6-v2")
    texts = ["a text", "", "another text"]
    expected = minilm.encode_document(texts)
    assert np.abs(np.array(embeddings.embed_documents(texts)) - expected).max() < 1e-6
    assert np.abs(np.array(asyncio.run(embeddings.aembed_documents(texts))) - expected).max() < 1e-6
    assert asyncio.run(embeddings.aembed_query("a text")) == pytest.approx(embeddings.embed_query("a text"), abs=1e-6)


def test_embeddings_pickle_as_their_name_and_options(minilm: LazyEmbedder) -> None:
    embeddings = EmbedryEmbeddings("all-MiniLM-L6-v2", max_seq_length=64)
    packed = pickle.dumps(embeddings)
    assert len(packed) < 10_000
    assert pickle.loads(packed).embedder is embeddings.embedder


def test_the_four_steps_of_the_readme_on_real_files(
    tmp_path: Path, minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    """On the project's own documentation: in memory, on disk, and again in a new process on the same folder."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    (steps,) = (block.text for block in blocks(ROOT / "README.md") if "create_vector_store" in block.text)
    question, answer = "How do I publish a package that registers my models?", "model-packs.md"
    steps = steps.replace("When do I get my money back?", question)
    assert fresh(steps).stdout.split()[0] == answer
    assert (tmp_path / "store").is_dir()
    assert fresh(steps.replace(', path="store"', "")).stdout.split()[0] == answer
    again = fresh(
        "from embedry_langchain import create_vector_store, get_embeddings\n"
        "store = create_vector_store(get_embeddings('all-MiniLM-L6-v2'), path='store')\n"
        f"print(store.similarity_search({question!r}, k=1)[0].metadata['source'])"
    )
    assert again.stdout.strip() == answer


@pytest.mark.parametrize("page", ["README.md", "docs/langchain.md"])
def test_what_the_examples_add_is_replaced_when_they_are_run_again(
    tmp_path: Path, minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]], page: str
) -> None:
    steps = next(block.text for block in blocks(ROOT / page) if "create_vector_store" in block.text)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "policy.md").write_text("Refunds are paid within 14 days.\n\n" + "We ship to Europe. " * 40)

    def stored() -> list[dict[str, str]]:
        fresh(steps)
        table = create_vector_store(get_embeddings(), tmp_path / "store").table
        assert table is not None
        return sorted(table.to_arrow().select(["id", "text"]).to_pylist(), key=itemgetter("id"))

    first = stored()
    assert len(first) > 1
    assert stored() == first
