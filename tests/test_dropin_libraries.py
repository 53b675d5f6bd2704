"""Libraries that take an object of sentence-transformers run on the drop-in as they are, with the same results."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from numpy.testing import assert_allclose
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from embedry_dropin import SentenceTransformer
from examples import ROOT, write_files

# BERTopic still imports it so.
pytestmark = pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers.models' is deprecated")

SUBJECTS = {
    "bread": ["rye bread", "a sourdough loaf", "fresh rolls", "a wheat baguette", "the brown loaf"],
    "football": ["the goalkeeper", "a penalty kick", "the home team", "a corner kick", "the striker"],
    "rain": ["a heavy shower", "the thunderstorm", "a rainy morning", "the wet autumn", "a light drizzle"],
}
ENDINGS = [
    "{} is what everybody talked about today.",
    "We read a long article about {}.",
    "My neighbor told me about {}.",
    "There is a photograph of {} in the newspaper.",
]
DOCUMENTS = [
    ending.format(f"{thing} ({subject})")
    for subject, things in SUBJECTS.items()
    for thing in things
    for ending in ENDINGS
]
DOCUMENT = (
    "Refunds are paid within 14 days of the return of a book. We ship books to most of Europe. The shop opens at nine, "
    "sells fresh bread, and closes at six. Our bakers start before dawn, and there is parking behind the shop."
)


@pytest.fixture(scope="module")
def ours(minilm: object) -> SentenceTransformer:
    return SentenceTransformer("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def theirs(minilm_folder: Path) -> Iterator[sentence_transformers.SentenceTransformer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    modules = [Transformer(str(minilm_folder), max_seq_length=256), Pooling(384, pooling_mode="mean"), Normalize()]
    yield sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _without_clients_of_language_models() -> None:
    """KeyBERT and BERTopic import what is installed, for features that are not used here; it takes longer than all of this."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        for name in ("cohere", "langchain", "langchain_core", "litellm", "openai", "spacy"):
            patch.setitem(sys.modules, name, None)
        warnings.simplefilter("ignore")  # of umap, which misses TensorFlow
        import bertopic
        import keybert

    assert bertopic.BERTopic
    assert keybert.KeyBERT


def test_bertopic_finds_the_same_topics(ours: Any, theirs: Any) -> None:
    from bertopic import BERTopic
    from bertopic.representation import KeyBERTInspired

    found = []
    for model in (ours, theirs):
        topics = BERTopic(
            embedding_model=model,
            umap_model=PCA(5, random_state=0),
            hdbscan_model=KMeans(3, random_state=0, n_init=3),
            representation_model=KeyBERTInspired(random_state=0),  # which embeds words
        )
        assigned, _ = topics.fit_transform(DOCUMENTS)
        assert topics.embedding_model.embedding_model is model
        predicted, _ = topics.transform(["Bread is baked of rye.", "It rained all night."])
        found.append((assigned, topics.get_topics(), list(predicted), topics.embedding_model.embed(DOCUMENTS)))
    (assigned, words, predicted, vectors), (assigned_, words_, predicted_, vectors_) = found
    assert assigned == assigned_
    assert sorted(map(assigned.count, set(assigned))) == [20, 20, 20]  # the topics are the subjects
    assert predicted == predicted_
    for topic, named in words.items():
        assert [word for word, _ in named] == [word for word, _ in words_[topic]]
        assert_allclose([score for _, score in named], [score for _, score in words_[topic]], rtol=0, atol=1e-5)
    assert vectors.dtype == vectors_.dtype == np.float32
    assert_allclose(vectors, vectors_, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"use_mmr": True, "diversity": 0.5}, {"keyphrase_ngram_range": (1, 2), "top_n": 10}]
)
def test_keybert_finds_the_same_keywords(options: dict[str, Any], ours: Any, theirs: Any) -> None:
    from keybert import KeyBERT

    found = []
    for model in (ours, theirs):
        keybert = KeyBERT(model)
        assert keybert.model.embedding_model is model
        found.append(keybert.extract_keywords([DOCUMENT, DOCUMENTS[0]], **options))
    assert [[word for word, _ in words] for words in found[0]] == [[word for word, _ in words] for words in found[1]]
    for one, other in zip(*found, strict=True):
        assert_allclose(
            [score for _, score in one], [score for _, score in other], rtol=0, atol=1e-4
        )  # four digits are given


def test_keybert_takes_embeddings_of_either(ours: Any, theirs: Any) -> None:
    from keybert import KeyBERT

    for one, other in zip(
        KeyBERT(ours).extract_embeddings([DOCUMENT]), KeyBERT(theirs).extract_embeddings([DOCUMENT]), strict=True
    ):
        assert_allclose(one, other, rtol=0, atol=1e-5)


def test_semhash_finds_the_same_duplicates(ours: Any, theirs: Any) -> None:
    from semhash import SemHash

    records = [*DOCUMENTS, "We read a very long article about rye bread (bread).", "Nothing else is like this one."]
    found = []
    for model in (ours, theirs):
        hashed = SemHash.from_records(records, model=model, ann_backend="basic")
        result = hashed.self_deduplicate(threshold=0.85)
        duplicates = [(each.record, each.duplicate_of, round(float(each.score), 4)) for each in result.filtered]
        found.append((result.selected, duplicates, hashed.self_filter_outliers().filtered))
    assert found[0] == found[1]
    assert 0 < len(found[0][1]) < len(records)


WITHOUT_TORCH = """
import runpy, sys

class Absent:
    names = ("torch", "transformers", "sentence_transformers", "cohere", "langchain", "litellm", "openai")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
runpy.run_path("keywords.py")
"""


def test_the_backend_of_the_documentation_needs_no_torch(
    fresh: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, minilm: object
) -> None:
    write_files(ROOT / "docs/frameworks/drop-in.md", tmp_path)
    assert fresh(WITHOUT_TORCH).stdout.split() == ["bread"]
