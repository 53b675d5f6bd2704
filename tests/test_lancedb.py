"""A LanceDB table embeds with the right prompts, finds its model again in another process, and refuses a changed one."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
from numpy.testing import assert_allclose
from pydantic import ValidationError

import embedry_lancedb  # noqa: F401  registers the function
from embedry import OptionError, SpaceError, TextTypeError, resolve

Fresh = Callable[..., CompletedProcess[str]]

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "The shop opens at nine."]
QUESTION = "When do I get my money back?"


@pytest.fixture
def asymmetric(checkpoint: Callable[..., Path]) -> Path:
    """A model whose queries and documents take prompts."""
    return checkpoint("bert", prompts={"query": "ask: ", "document": "say: "})


def function(name: str | Path, **options: Any) -> Any:
    return get_registry().get("embedry").create(name=str(name), **options)


def made(folder: Path, model: Any) -> Any:
    class Row(LanceModel):
        text: str = model.SourceField()
        vector: Vector(model.ndims()) = model.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder).create_table("rows", schema=Row)
    table.add([{"text": text} for text in TEXTS])
    return table


def test_rows_are_stored_as_documents_and_asked_as_queries(asymmetric: Path, tmp_path: Path) -> None:
    table = made(tmp_path, function(asymmetric))
    embedder = resolve(asymmetric)
    documents, query = embedder.encode_document(TEXTS), embedder.encode_query([QUESTION])[0]
    assert np.abs(documents - embedder.encode_query(TEXTS)).max() > 1e-2  # else the roles could be mixed up unseen
    stored = table.to_arrow()
    assert stored["text"].to_pylist() == TEXTS
    assert_allclose(np.stack(stored["vector"].to_numpy()), documents, atol=1e-6)
    found = table.search(QUESTION).limit(3).to_arrow()
    distances = dict(zip(found["text"].to_pylist(), found["_distance"].to_pylist(), strict=True))
    expected = ((documents - query) ** 2).sum(axis=1)
    assert_allclose([distances[text] for text in TEXTS], expected, atol=1e-6)


def test_vectors_are_arrays(asymmetric: Path) -> None:
    model = function(asymmetric)
    (row, *_) = model.compute_source_embeddings(pa.array(TEXTS))
    (query,) = model.compute_query_embeddings(QUESTION)
    for vector in (row, query):
        assert isinstance(vector, np.ndarray)
        assert (vector.dtype, vector.shape) == (np.float32, (48,))


def test_a_table_opened_in_another_process_finds_its_model(asymmetric: Path, tmp_path: Path, fresh: Fresh) -> None:
    made(tmp_path / "db", function(asymmetric, max_seq_length=64))
    result = fresh(
        "import embedry_lancedb, json, lancedb\n"
        f"table = lancedb.connect({str(tmp_path / 'db')!r}).open_table('rows')\n"
        "(config,) = table.embedding_functions.values()\n"
        f"found = table.search({QUESTION!r}).limit(1).to_list()[0]\n"
        f"(query,) = config.function.compute_query_embeddings({QUESTION!r})\n"
        "print(json.dumps([found['text'], found['vector'], query.tolist(), config.function.embedder.max_seq_length]))"
    )
    text, vector, query, length = json.loads(result.stdout)
    embedder = resolve(asymmetric, max_seq_length=64)
    documents, asked = embedder.encode_document(TEXTS), embedder.encode_query([QUESTION])[0]
    nearest = int(((documents - asked) ** 2).sum(axis=1).argmin())
    assert (text, length) == (TEXTS[nearest], 64)
    assert_allclose(vector, documents[nearest], atol=1e-6)
    assert_allclose(query, asked, atol=1e-6)


def test_the_metadata_names_the_model_and_its_space_and_not_the_machine(minilm: object, tmp_path: Path) -> None:
    table = made(tmp_path, function("minilm", threads=1))
    (kept,) = json.loads(table.schema.metadata[b"embedding_functions"])
    assert (kept["name"], kept["source_column"], kept["vector_column"]) == ("embedry", "text", "vector")
    assert kept["model"] == {
        "name": "all-MiniLM-L6-v2", "fingerprint": resolve("minilm").fingerprint, "dims": 384, "max_seq_length": 256,
        "normalize": True, "precision": None,
    }  # fmt: skip
    assert table.search(QUESTION).limit(1).to_list()[0]["text"] == TEXTS[0]


def test_a_model_that_makes_other_vectors_is_refused_at_once(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.symlink_to(checkpoint("bert"))
    made(tmp_path / "db", function(folder))
    folder.unlink()
    folder.symlink_to(checkpoint("bert", pooling="cls"))
    table = lancedb.connect(tmp_path / "db").open_table("rows")
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        table.search(QUESTION)
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        table.add([{"text": "one more"}])
    assert table.to_arrow()["text"].to_pylist() == TEXTS  # what is there can still be read


def test_nothing_is_loaded_before_the_first_text(fresh: Fresh) -> None:
    result = fresh(
        "import embedry_lancedb, sys\n"
        "from lancedb.embeddings import get_registry\n"
        "model = get_registry().get('embedry').create(name='e5-small-v2')\n"
        "print(model.ndims(), model.embedder.loaded, model.safe_model_dump()['name'])\n"
        "print([m for m in ('onnxruntime', 'tokenizers', 'torch', 'huggingface_hub') if m in sys.modules])"
    )
    assert result.stdout.splitlines() == ["384 False e5-small-v2", "[]"]


def test_what_is_wrong_is_said_at_once_and_as_it_is(minilm: object, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"dim\n.*not permitted"):
        function("minilm", dim=128)
    with pytest.raises(OptionError, match="dims=128"):
        function("minilm", dims=128)
    with pytest.raises(TextTypeError, match="text 1 must be a str, got NoneType"):
        function("minilm").compute_source_embeddings_with_retry(pa.array(["a", None]))
