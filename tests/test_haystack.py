"""The Haystack components: roles, what a document's text is, and pipelines that are saved and opened again."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before its import, which would write to the home folder

from haystack import Document, Pipeline
from haystack.components.retrievers import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.core.errors import DeserializationError
from haystack.document_stores.in_memory import InMemoryDocumentStore

from embedry import SpaceError, TextTypeError, UnknownOptionError, resolve
from embedry.views import LazyEmbedder
from embedry_haystack import EmbedryDocumentEmbedder, EmbedryTextEmbedder

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "The shop opens at nine."]
QUESTION = "When do I get my money back?"


@pytest.fixture
def folder(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose queries and documents have different prompts, in a folder of this test."""
    made = checkpoint("bert", prompts={"query": "ask: ", "document": "a passage: "})
    return Path(shutil.copytree(made, tmp_path / "model"))


def asking(model: str, store: InMemoryDocumentStore) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", EmbedryTextEmbedder(model))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    return pipeline


def test_a_pipeline_and_its_store_are_found_again_in_another_process(
    minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    indexing = Pipeline()
    indexing.add_component("embedder", EmbedryDocumentEmbedder(minilm.name))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder.documents", "writer.documents")
    indexing.run({"embedder": {"documents": [Document(content=text) for text in TEXTS]}})
    store.save_to_disk(str(tmp_path / "store.json"))
    (tmp_path / "pipeline.yaml").write_text(asking(minilm.name, store).dumps())
    result = fresh(
        "import json, pathlib\n"
        "from haystack import Pipeline\n"
        "from haystack.document_stores.in_memory import InMemoryDocumentStore\n"
        "store = InMemoryDocumentStore.load_from_disk('store.json')\n"
        "saved = pathlib.Path('pipeline.yaml').read_text()\n"
        "pipeline = Pipeline.loads(saved, allowed_modules=['embedry_haystack'])\n"
        f"(found,) = pipeline.run({{'embedder': {{'text': {QUESTION!r}}}}})['retriever']['documents']\n"
        "print(json.dumps([found.content, found.score]))"
    )
    text, score = json.loads(result.stdout)
    assert text == TEXTS[0]
    expected = minilm.encode_document(TEXTS[:1]) @ minilm.encode_query([QUESTION]).T
    assert score == pytest.approx(expected.item(), abs=1e-5)


def test_queries_and_documents_have_the_prompts_of_their_roles(folder: Path) -> None:
    embedder = resolve(folder)
    query, vectors = embedder.encode_query(TEXTS[:1])[0], embedder.encode_document(TEXTS)
    assert np.abs(query - vectors[0]).max() > 1e-3  # else the prompts would tell nothing
    text, document = EmbedryTextEmbedder(str(folder)), EmbedryDocumentEmbedder(str(folder))
    documents = [Document(content=content) for content in TEXTS]
    for asked in (text.run(text=TEXTS[0]), asyncio.run(text.run_async(text=TEXTS[0]))):
        np.testing.assert_allclose(asked["embedding"], query, atol=1e-6)
        assert asked["meta"] == {"model": "model"}
    for stored in (document.run(documents=documents), asyncio.run(document.run_async(documents=documents))):
        np.testing.assert_allclose([one.embedding for one in stored["documents"]], vectors, atol=1e-6)
        assert stored["meta"] == {"model": "model"}
    assert all(one.embedding is None for one in documents)  # a component must not change what it is given


def test_chosen_meta_fields_are_embedded_before_the_content(minilm: LazyEmbedder) -> None:
    documents = [
        Document(content="Paid within 14 days.", meta={"title": "Refunds", "page": 3, "author": None, "secret": "x"}),
        Document(content=None, meta={"page": 0}),
    ]
    component = EmbedryDocumentEmbedder(
        minilm.name, meta_fields_to_embed=["title", "author", "page", "missing"], embedding_separator=" | "
    )
    got = [one.embedding for one in component.run(documents=documents)["documents"]]
    np.testing.assert_allclose(got, minilm.encode_document(["Refunds | 3 | Paid within 14 days.", "0 | "]), atol=1e-6)


def test_no_documents_give_no_documents(minilm: LazyEmbedder) -> None:
    assert EmbedryDocumentEmbedder(minilm.name).run(documents=[])["documents"] == []


def test_a_component_loads_when_it_is_warmed_up_and_not_before(folder: Path) -> None:
    for number, warm_up in enumerate((lambda c: c.warm_up(), lambda c: asyncio.run(c.warm_up_async()))):
        component = EmbedryTextEmbedder(str(folder), options={"threads": 1 + number})
        component.to_dict()
        assert not component._model.loaded
        warm_up(component)
        assert component._model.loaded


@pytest.mark.parametrize("kind", ["text", "documents", "warm_up"])
def test_the_event_loop_runs_on_meanwhile(kind: str, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    text, documents = EmbedryTextEmbedder(minilm.name), EmbedryDocumentEmbedder(minilm.name)
    work: Any = {
        "text": lambda: text.run_async(text="a text"),
        "documents": lambda: documents.run_async(documents=[Document(content="a text")]),
        "warm_up": text.warm_up_async,
    }[kind]
    method = "load" if kind == "warm_up" else "_encode"
    started, went_on, real = threading.Event(), threading.Event(), getattr(minilm, method)

    def waiting(*arguments: Any, **options: Any) -> Any:
        started.set()
        assert went_on.wait(20), "nothing else ran on the loop"
        return real(*arguments, **options)

    async def other() -> None:
        while not started.is_set():
            await asyncio.sleep(0.001)
        went_on.set()

    async def both() -> None:
        await asyncio.gather(work(), other())

    monkeypatch.setattr(minilm, method, waiting)
    asyncio.run(both())


def test_what_is_saved_opens_as_the_same_component(minilm: LazyEmbedder) -> None:
    options = {"max_seq_length": 64, "normalize": False}
    made = EmbedryDocumentEmbedder(
        minilm.name, options=options, meta_fields_to_embed=["title"], embedding_separator=" | "
    )
    saved = json.loads(json.dumps(made.to_dict()))
    assert saved["type"] == "embedry_haystack.EmbedryDocumentEmbedder"
    again = EmbedryDocumentEmbedder.from_dict(saved)
    assert again.to_dict() == saved
    assert again._model is made._model
    assert (again.meta_fields_to_embed, again.embedding_separator) == (["title"], " | ")


def test_a_model_that_changed_is_refused(folder: Path) -> None:
    saved = [
        (component, component.to_dict())
        for component in (EmbedryTextEmbedder(str(folder)), EmbedryDocumentEmbedder(str(folder)))
    ]
    pipeline = asking(str(folder), InMemoryDocumentStore()).dumps()
    Pipeline.loads(pipeline, allowed_modules=["embedry_haystack"])
    file = folder / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("ask: ", "question: "))
    for component, data in saved:
        with pytest.raises(SpaceError, match="other files, chain or prompts"):
            type(component).from_dict(data)
    with pytest.raises(DeserializationError, match="other files, chain or prompts") as caught:
        Pipeline.loads(pipeline, allowed_modules=["embedry_haystack"])
    assert isinstance(caught.value.__cause__, SpaceError)


def test_a_saved_pipeline_opens_only_where_its_module_is_allowed(minilm: LazyEmbedder) -> None:
    made = asking(minilm.name, InMemoryDocumentStore())
    saved = made.dumps()
    with pytest.raises(DeserializationError, match=r"allowed_modules=\['embedry_haystack'\]"):
        Pipeline.loads(saved)
    assert Pipeline.loads(saved, allowed_modules=["embedry_haystack"]).dumps() == saved


def test_what_cannot_be_right_is_told(minilm: LazyEmbedder) -> None:
    with pytest.raises(UnknownOptionError, match="devise"):
        EmbedryTextEmbedder(minilm.name, options={"devise": "cpu"})
    with pytest.raises(TextTypeError):
        EmbedryTextEmbedder(minilm.name).run(text=["a text"])
    for wrong in ("a text", ["a text"]):
        with pytest.raises(TypeError, match="use EmbedryTextEmbedder for a str"):
            EmbedryDocumentEmbedder(minilm.name).run(documents=wrong)
    with pytest.raises(TypeError, match="got one Document"):
        EmbedryDocumentEmbedder(minilm.name).run(documents=Document(content="a text"))
    with pytest.raises(TypeError, match=r"meta_fields_to_embed must be a list of str, got 'title'; write \['title'\]"):
        EmbedryDocumentEmbedder(minilm.name, meta_fields_to_embed="title")  # type: ignore[arg-type]
