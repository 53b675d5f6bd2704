"""Real tasks of mteb over local texts: the scores are those of embedder vectors, with the prompts of their roles."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import EncoderProtocol
from numpy.testing import assert_allclose

from embedry import ModelSpec, OptionError, SpaceError, TextTypeError, resolve
from embedry.views import LazyEmbedder
from embedry_mteb import EmbedryModel
from entries import entry, registered

Fresh = Callable[..., CompletedProcess[str]]

CORPUS = {
    "refunds": "Refunds are paid within 14 days.", "shipping": "We ship to most of Europe.", "hours": "The shop opens at nine.",
    "jobs": "We are looking for a baker.", "bread": "Our bread is baked before dawn.", "parking": "There is parking behind the shop.",
}  # fmt: skip
QUERIES = {"money": "When do I get my money back?", "early": "How early can I come?", "car": "Where do I leave my car?"}
RELEVANT = {"money": {"refunds": 1}, "early": {"hours": 2, "bread": 1}, "car": {"parking": 1}}
PAIRS = [
    ("The shop opens at nine.", "We open at nine o'clock.", 5.0), ("The shop opens at nine.", "The shop shuts at six.", 3.0),
    ("Our bread is fresh.", "There is parking behind the shop.", 0.0), ("We bake bread.", "Bread is baked here.", 4.0),
    ("Where is my refund?", "The cat sleeps.", 0.5), ("We ship to Spain.", "We deliver to France.", 2.0),
]  # fmt: skip

ABOUT: dict[str, Any] = {
    "description": "texts of a shop", "reference": None, "dataset": {"path": "local", "revision": "1"}, "category": "t2t",
    "eval_splits": ["test"], "eval_langs": ["eng-Latn"], "date": None, "domains": None, "task_subtypes": None,
    "license": None, "annotations_creators": None, "dialect": None, "modalities": ["text"], "sample_creation": None,
    "bibtex_citation": None,
}  # fmt: skip


class ShopRetrieval(AbsTaskRetrieval):
    metadata = TaskMetadata(name="ShopRetrieval", type="Retrieval", main_score="ndcg_at_10", **ABOUT)

    def load_data(self, **_: Any) -> None:
        self.dataset = {
            "default": {
                "test": RetrievalSplitData(
                    queries=Dataset.from_list([{"id": key, "text": text} for key, text in QUERIES.items()]),
                    corpus=Dataset.from_list([{"id": key, "text": text, "title": ""} for key, text in CORPUS.items()]),
                    relevant_docs=RELEVANT,
                    top_ranked=None,
                )
            }
        }
        self.data_loaded = True


class ShopSTS(AbsTaskSTS):
    metadata = TaskMetadata(name="ShopSTS", type="STS", main_score="cosine_pearson", **ABOUT)

    def load_data(self, **_: Any) -> None:
        rows = [{"sentence1": one, "sentence2": other, "score": score} for one, other, score in PAIRS]
        self.dataset = DatasetDict({"test": Dataset.from_list(rows)})
        self.data_loaded = True


@pytest.fixture
def asymmetric(checkpoint: Callable[..., Path]) -> ModelSpec:
    """A model whose queries and documents take prompts."""
    return registered(checkpoint("bert", prompts={"query": "ask what: ", "document": "say that: "}), name="acme-small")


def scores(model: Any, task: Any, folder: Path) -> dict[str, Any]:
    result = mteb.evaluate(model, task, cache=mteb.ResultCache(folder), show_progress_bar=False)
    (found,) = result.task_results[0].scores["test"]
    return dict(found)


def ndcg(queries: Any, documents: Any) -> float:
    """The mean over the queries of DCG / ideal DCG, all documents ranked by cosine (fewer than ten, so NDCG at ten)."""
    found = []
    for (_, gains), similar in zip(RELEVANT.items(), queries @ documents.T, strict=True):
        order = [list(CORPUS)[place] for place in np.argsort(-similar)]
        discounts = 1 / np.log2(np.arange(len(order)) + 2)
        ideal = np.sort([gains.get(key, 0) for key in CORPUS])[::-1]
        found.append(discounts @ [gains.get(key, 0) for key in order] / (discounts @ ideal))
    return float(np.mean(found))


def correlation(one: Any, other: Any) -> float:
    return float(np.corrcoef((one * other).sum(axis=1), [score for _, _, score in PAIRS])[0, 1])


def test_retrieval_asks_with_the_query_prompt_and_searches_documents(asymmetric: ModelSpec, tmp_path: Path) -> None:
    embedder = resolve(asymmetric)
    texts, asked = list(CORPUS.values()), list(QUERIES.values())
    right = ndcg(embedder.encode_query(asked), embedder.encode_document(texts))
    wrong = [
        ndcg(embedder.encode_document(asked), embedder.encode_document(texts)),
        ndcg(embedder.encode_query(asked), embedder.encode_query(texts)),
        ndcg(embedder.encode_document(asked), embedder.encode_query(texts)),
    ]
    assert min(abs(right - other) for other in wrong) > 1e-3  # else the roles could be mixed up unseen
    found = scores(EmbedryModel(asymmetric), ShopRetrieval(), tmp_path)
    assert found["main_score"] == pytest.approx(right, abs=1e-5)


def test_symmetric_texts_have_no_prompt_where_the_roles_have_different_ones(
    asymmetric: ModelSpec, tmp_path: Path
) -> None:
    bare = resolve(replace(asymmetric, prompts={}))
    one, other = ([pair[side] for pair in PAIRS] for side in (0, 1))
    right = correlation(bare.encode_document(one), bare.encode_document(other))
    embedder = resolve(asymmetric)
    assert abs(right - correlation(embedder.encode_document(one), embedder.encode_document(other))) > 1e-3
    assert scores(EmbedryModel(asymmetric), ShopSTS(), tmp_path)["main_score"] == pytest.approx(right, abs=1e-5)


def test_every_vector_agrees_with_mtebs_own_wrapper(checkpoint: Callable[..., Path]) -> None:
    from mteb._create_dataloaders import create_dataloader
    from mteb.models import SentenceTransformerEncoderWrapper
    from mteb.types import PromptType

    folder = checkpoint("bert", prompts={"query": "ask what: ", "document": "say that: ", "STS": "compare: "})
    ours, theirs = EmbedryModel(folder), SentenceTransformerEncoderWrapper(str(folder), device="cpu")
    rows = Dataset.from_list([{"text": text} for text in CORPUS.values()])
    seen = []
    for task in (ShopRetrieval.metadata, ShopSTS.metadata):
        for prompt_type in (PromptType.query, PromptType.document, None):
            call: dict[str, Any] = {"task_metadata": task, "hf_split": "test", "hf_subset": "default"}
            vectors = [
                model.encode(create_dataloader(rows, task_metadata=task, batch_size=2), prompt_type=prompt_type, **call)
                for model in (ours, theirs)
            ]
            assert vectors[0].dtype == np.float32
            assert_allclose(*vectors, atol=1e-5)
            seen.append(vectors[0])
    assert np.abs(seen[0] - seen[1]).max() > 1e-2
    assert np.abs(seen[2] - seen[5]).max() > 1e-2


def test_results_are_found_in_another_process_and_name_the_space(
    minilm: LazyEmbedder, tmp_path: Path, fresh: Fresh
) -> None:
    model = EmbedryModel("all-MiniLM-L6-v2")
    right = ndcg(minilm.encode_query(QUERIES.values()), minilm.encode_document(CORPUS.values()))
    one, other = (minilm.encode_document([pair[side] for pair in PAIRS]) for side in (0, 1))
    assert scores(model, ShopRetrieval(), tmp_path / "results")["main_score"] == pytest.approx(right, abs=1e-5)
    assert scores(model, ShopSTS(), tmp_path / "results")["main_score"] == pytest.approx(
        correlation(one, other), abs=1e-5
    )
    code = (
        "import json, mteb\n"
        f"cache = mteb.ResultCache({str(tmp_path / 'results')!r})\n"
        f"(found,) = cache.load_results(experiment_kwargs={{'space': {minilm.fingerprint!r}}}).model_results\n"
        "scores = {result.task_name: result.get_score() for result in found.task_results}\n"
        "print(json.dumps([found.model_name, found.model_revision, scores]))"
    )
    name, revision, kept = json.loads(fresh(code).stdout.splitlines()[-1])
    assert (name, revision) == (minilm.spec.repo, minilm.spec.revision)
    assert kept == pytest.approx({"ShopRetrieval": right, "ShopSTS": correlation(one, other)}, abs=1e-5)


def test_results_of_each_space_are_filed_apart(minilm: LazyEmbedder, tmp_path: Path) -> None:
    full, short = EmbedryModel("minilm"), EmbedryModel("minilm", max_seq_length=5)
    assert scores(full, ShopSTS(), tmp_path)["main_score"] != scores(short, ShopSTS(), tmp_path)["main_score"]
    folders = {path.parent.name for path in tmp_path.rglob("ShopSTS.json")}
    assert folders == {f"space_{model.model.fingerprint}" for model in (full, short)}


def test_the_meta_says_what_the_entry_and_mteb_know(minilm: LazyEmbedder) -> None:
    model = EmbedryModel("all-MiniLM-L6-v2", max_seq_length=64)
    assert isinstance(model, EncoderProtocol)
    meta = model.mteb_model_meta
    assert (meta.name, meta.revision, meta.license) == (minilm.spec.repo, minilm.spec.revision, "apache-2.0")
    assert (meta.embed_dim, meta.max_tokens, meta.similarity_fn_name) == (384, 64, "cosine")
    assert meta.n_parameters == 22_713_216
    assert meta.experiment_kwargs == {"space": resolve("minilm", max_seq_length=64).fingerprint}
    again: Any = meta.load_model(device="cpu")
    assert again.model is resolve("minilm", max_seq_length=64, device="cpu")
    with pytest.raises(SpaceError, match="does not write into the space"):
        meta.load_model(max_seq_length=32)


def test_a_model_that_mteb_does_not_know_has_a_meta_too(asymmetric: ModelSpec, tmp_path: Path) -> None:
    meta = EmbedryModel(asymmetric).mteb_model_meta
    assert (meta.name, meta.revision) == ("embedry/acme-small", "no_revision_available")
    assert (meta.license, meta.n_parameters, meta.use_instructions) == (None, None, True)
    again: Any = meta.load_model()
    assert again.model is resolve(asymmetric)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_similarity_is_the_models_own(similarity: Any) -> None:
    model = EmbedryModel(
        entry(
            similarity=similarity, files=dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json"), "0" * 64)
        )
    )
    one, other = np.random.default_rng(0).normal(size=(2, 3, 48)).astype(np.float32)
    expected = one @ other.T
    if similarity == "cosine":
        expected /= np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    assert_allclose(model.similarity(one, other), expected, rtol=1e-4, atol=1e-5)
    assert_allclose(model.similarity_pairwise(one, other), np.diag(expected), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_done_is_refused(asymmetric: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="pinned to"):
        EmbedryModel("e5-small-v2", "main")
    with pytest.raises(OptionError, match="compares by 'euclidean'"):
        EmbedryModel(replace(asymmetric, similarity="euclidean"))
    with pytest.raises(OptionError, match=r"use EmbedryModel\(name, precision=\.\.\.\)"):
        mteb.evaluate(EmbedryModel(asymmetric), ShopSTS(), cache=None, encode_kwargs={"precision": "int8"})
    call: dict[str, Any] = {"task_metadata": ShopSTS.metadata, "hf_split": "test", "hf_subset": "default"}
    with pytest.raises(TextTypeError, match="text 1 must be a str"):
        EmbedryModel(asymmetric).encode([{"text": ["a", None]}], **call)  # type: ignore[arg-type, list-item]


def test_importing_it_loads_no_model_and_no_engine(fresh: Fresh) -> None:
    code = (
        "import embedry_mteb, sys\n"
        "model = embedry_mteb.EmbedryModel('e5-small-v2')\n"
        "print(model.model.loaded, 'onnxruntime' in sys.modules, model.mteb_model_meta.experiment_kwargs)"
    )
    space = resolve("e5-small-v2").fingerprint
    assert fresh(code).stdout.splitlines()[-1] == f"False False {{'space': {space!r}}}"
