"""The entries of the model pack: each one's numbers fit each other, and what most people use is stated once more here."""

import re
import runpy
import string
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import embedry_models
from embedry import NO_LIMIT, LateInteraction, ModelSpec, Score, TermTable
from embedry.chains import Kind, widths
from embedry.registry import Registry
from embedry_onnxruntime import backend as onnxruntime
from embedry_sentence_transformers import backend as sentence_transformers
from embedry_static import backend as static
from embedry_transformers import backend as transformers

ROOT = Path(__file__).parents[1]
SPECS = list(embedry_models.embedry_models())
BACKENDS = {
    "onnxruntime": onnxruntime,
    "sentence-transformers": sentence_transformers,
    "static": static,
    "transformers": transformers,
}

POSITIONS = {
    "bert": 512, "deberta-v2": 512, "distilbert": 512, "gemma3_text": 2048, "jina_bert_v2": 8192, "jina_bert_v2_qk_post_norm": 8192,
    "modernbert": 32768, "mpnet": 512, "new": 8192, "nomic_bert": 8192, "qwen3": 40960, "roberta": 512,
    "static": NO_LIMIT, "xlm-roberta": 8192,
}  # fmt: skip
"""Architecture -> the most tokens that a model of the pack with it has positions for."""

FEWER = {
    "Qwen3-Embedding-0.6B": 32768,
    "bge-reranker-base": 512,
    "bge-reranker-large": 512,
    "ettin-reranker-150m-v1": 7999,
    "ettin-reranker-17m-v1": 7999,
    "ettin-reranker-32m-v1": 7999,
    "ettin-reranker-68m-v1": 7999,
    "gte-reranker-modernbert-base": 8192,
    "modernbert-embed-base": 8192,
    "multilingual-e5-base": 512,
    "multilingual-e5-large": 512,
    "multilingual-e5-large-instruct": 512,
    "paraphrase-multilingual-mpnet-base-v2": 512,
}
"""Models with fewer positions than others of their architecture."""

BGE = "Represent this sentence for searching relevant passages: "
NOMIC = {
    "query": "search_query: ",
    "document": "search_document: ",
    "clustering": "clustering: ",
    "classification": "classification: ",
}
PROMPTS = {
    "all-MiniLM-L6-v2": {},
    "all-mpnet-base-v2": {},
    "paraphrase-multilingual-MiniLM-L12-v2": {},
    "bge-small-en-v1.5": {"query": BGE},
    "bge-m3": {},
    "mxbai-embed-large-v1": {"query": BGE},
    "nomic-embed-text-v1.5": NOMIC,
    "multilingual-e5-small": {"query": "query: ", "document": "passage: "},
    "Qwen3-Embedding-0.6B": {
        "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    },
    "embeddinggemma-300m": {
        "query": "task: search result | query: ",
        "document": "title: none | text: ",
        "Clustering": "task: clustering | query: ",
        "Classification": "task: classification | query: ",
        "MultilabelClassification": "task: classification | query: ",
        "STS": "task: sentence similarity | query: ",
        "PairClassification": "task: sentence similarity | query: ",
        "InstructionRetrieval": "task: code retrieval | query: ",
        "Summarization": "task: summarization | query: ",
    },
    "ms-marco-MiniLM-L6-v2": {},
    "bge-reranker-v2-m3": {},
    "Qwen3-Reranker-0.6B": {
        "query": "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: ",
        "document": "\n<Document>: ",
    },
    "opensearch-neural-sparse-encoding-doc-v3-distill": {},
    "colbertv2.0": {"query": "[unused0] ", "document": "[unused1] "},
    "GTE-ModernColBERT-v1": {"query": "[Q] ", "document": "[D] "},
}
"""The prompts of the models that are used most, as their makers state them."""

WEIGHTS = {
    "bge-reranker-v2-m3": "953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e d9e3e081faff1eefb84019509b2f5558fd74c1a05a2c7db22f74174fcedb5286",
    "bge-m3": "142964af7e05de16511657561de8e8750fc153a0 993b2248881724788dcab8c644a91dfd63584b6e5604ff2037cb5541e1e38e7e",
    "embeddinggemma-300m": "57c266a740f537b4dc058e1b0cda161fd15afa75 cbf5a78393b6a033e0b8a63a57549964f7ed5c6fbeb4ba0694214f36123f2fd2",
    "multilingual-e5-base": "d128750597153bb5987e10b1c3493a34e5a4502a a18a44fad1d0b46ded15928144138cff1135d5cc8233bdd90be5f18822de09a7",
    "multilingual-e5-small": "614241f622f53c4eeff9890bdc4f31cfecc418b3 1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
    "nomic-embed-text-v1.5": "e9b6763023c676ca8431644204f50c2b100d9aab 9e7d262b1fe5ea350782829496efa831901b77486bbde1cea54a4c822d010d5c",
    "paraphrase-multilingual-MiniLM-L12-v2": "e8f8c211226b894fcb81acc59f3b34ba3efd5f42 eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
    "Qwen3-Embedding-0.6B": "97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3 0437e45c94563b09e13cb7a64478fc406947a93cb34a7e05870fc8dcd48e23fd",
    "Qwen3-Reranker-0.6B": "e61197ed45024b0ed8a2d74b80b4d909f1255473 27cd75a405b9c1b46b59abfd88aaa209e6fed2a1972cde9b70e7659537c5e65b",
}  # fmt: skip
"""The commit and the sha256 of the weights, as public records state them together: a digest belongs to its commit."""

IDENTITY, SIGMOID = Score(), Score(activation="sigmoid")

SHOWN = {
    "ms-marco-MiniLM-L6-v2": IDENTITY,
    "ms-marco-MiniLM-L12-v2": IDENTITY,
    "ettin-reranker-32m-v1": IDENTITY,
    "bge-reranker-v2-m3": SIGMOID,
    "bge-reranker-base": SIGMOID,
    "gte-reranker-modernbert-base": SIGMOID,
    "mxbai-rerank-xsmall-v1": SIGMOID,
    "Qwen3-Reranker-0.6B": SIGMOID,
}
"""How sentence-transformers shows the scores of rerankers, by their configurations."""

LENGTHS = {
    "colbertv2.0": (32, 180, 32),
    "answerai-colbert-small-v1": (32, 300, 32),
    "GTE-ModernColBERT-v1": (48, 300, 0),
    "LateOn-Code": (256, 2048, 0),
    "LateOn-Code-edge": (256, 2048, 0),
}
"""Tokens of a query and of a document, and how far queries are filled up."""

every_entry = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def named(name: str) -> ModelSpec:
    (spec,) = (spec for spec in SPECS if spec.name == name)
    return spec


def test_the_pack_has_the_models_that_people_ask_for() -> None:
    least: dict[Kind, int] = {"dense": 45, "reranker": 8, "sparse": 5, "multi_vector": 5}
    assert [kind for kind in least if sum(spec.kind == kind for spec in SPECS) < least[kind]] == []
    registry = Registry()
    registry.add(SPECS, "the pack")
    known_elsewhere = (
        "all-minilm", "BAAI/bge-base-en", "bge-large", "bge-m3", "embeddinggemma", "intfloat/multilingual-e5-large",
        "jinaai/jina-embeddings-v2-base-code", "mxbai-embed-large", "nomic-embed-text", "paraphrase-multilingual",
        "snowflake-arctic-embed2", "snowflake/snowflake-arctic-embed-m-long", "thenlper/gte-large",
        "cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L12-v2", "BAAI/bge-reranker-base",
        "colbert-ir/colbertv2.0",
    )  # fmt: skip
    assert [name for name in known_elsewhere if registry.find(name) is None] == []


def test_every_name_belongs_to_one_model_whatever_its_case() -> None:
    names = Counter(
        name.lower()
        for spec in SPECS
        for name in {spec.name, *spec.aliases, spec.repo or "", (spec.repo or "").split("/")[1]}
    )
    assert [name for name, count in names.items() if count > 1] == []


@every_entry
def test_an_entry_is_pinned_and_says_what_it_may_be_used_for(spec: ModelSpec) -> None:
    assert spec.repo is not None
    assert re.fullmatch("[0-9a-f]{40}", spec.revision or "")
    assert spec.license
    assert spec.languages
    assert spec.description
    assert not spec.description.endswith(".")


@every_entry
def test_an_entrys_numbers_fit_each_other(spec: ModelSpec) -> None:
    last = widths(spec.chain)[-1]
    assert last in (None, spec.dims)
    assert list(spec.matryoshka.dims) == sorted(spec.matryoshka.dims, reverse=True)
    assert all(shorter < spec.dims for shorter in spec.matryoshka.dims)
    positions = FEWER.get(spec.name, POSITIONS[spec.architecture])
    assert spec.max_seq_length <= positions
    if spec.kind in ("dense", "multi_vector"):
        assert spec.size_mb is None or spec.size_mb * 1_000_000 > spec.dims * 20_000, (
            "too few bytes for the embeddings of its words"
        )
    if spec.kind == "sparse":
        assert all(module.outputs == spec.dims for module in spec.query_chain if isinstance(module, TermTable))


@every_entry
def test_an_entrys_prompts_are_not_empty_and_end_where_the_text_begins(spec: ModelSpec) -> None:
    whole = spec.transformer.whole_tokens if spec.transformer else ()
    for prompt in spec.prompts.values():
        assert prompt.strip()
        assert prompt.endswith((": ", "Query:", "：")) or prompt in whole or prompt.removesuffix(" ") in whole, prompt


@every_entry
def test_an_entrys_files_are_those_that_its_backend_reads(spec: ModelSpec) -> None:
    if spec.transformer is None:
        assert {file.rpartition("/")[2] for file in spec.files} == {"model.safetensors", "tokenizer.json"}
        return
    sharded = len(spec.weights) > 1
    assert ("model.safetensors.index.json" in spec.files) == sharded
    assert sharded or spec.weights == ("model.safetensors",)


@every_entry
def test_the_preferred_backend_takes_the_entry(spec: ModelSpec) -> None:
    backend = BACKENDS[spec.preferred_backend]
    assert {type(module) for module in spec.body} <= set(backend.modules)
    assert backend.refusal(spec) is None


@pytest.mark.parametrize("name", PROMPTS)
def test_the_prompts_that_are_used_most(name: str) -> None:
    assert dict(named(name).prompts) == PROMPTS[name]


@pytest.mark.parametrize("name", SHOWN)
def test_scores_are_shown_as_their_makers_show_them(name: str) -> None:
    assert named(name).chain[-1] == SHOWN[name]


@pytest.mark.parametrize("name", [spec.name for spec in SPECS if spec.kind == "multi_vector"])
def test_late_interaction_reads_counts_and_fills_up_as_each_model_was_trained(name: str) -> None:
    spec = named(name)
    end = spec.chain[-1]
    assert isinstance(end, LateInteraction)
    assert (end.query_length, end.document_length or spec.max_seq_length, end.expand_to) == LENGTHS[name]
    assert (set(end.skip), end.skip_in, end.attend) == (set(string.punctuation), ("document",), False)
    assert spec.transformer is not None
    assert len(spec.transformer.whole_tokens) == 2


def test_queries_of_models_for_documents_are_looked_up_in_a_table() -> None:
    sparse = [spec for spec in SPECS if spec.kind == "sparse"]
    assert [spec.name for spec in sparse if bool(spec.query_chain) != ("encoding-doc-" in spec.name)] == []


def test_each_score_of_a_decoder_has_its_frame() -> None:
    frame = named("Qwen3-Reranker-0.6B").transformer
    assert frame is not None
    assert frame.pair is not None
    assert frame.pair.before.startswith("<|im_start|>system\nJudge whether the Document meets the requirements")
    assert frame.pair.before.endswith('can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n')
    assert frame.pair.after == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_the_page_of_models_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "plugins" / "models" / "make_table.py"))
    assert script["FILE"] == ROOT / "docs" / "models.md"
    assert script["FILE"].read_text(encoding="utf-8") == script["page"]()


def test_the_page_marks_what_a_license_forbids_and_how_files_are_verified() -> None:
    cells = runpy.run_path(str(ROOT / "plugins" / "models" / "make_table.py"))["cells"]
    spec = named("nomic-embed-text-v1.5")
    limited = replace(spec, license="CC-BY-NC-4.0", size_mb=None, files=dict.fromkeys(spec.files))
    address = "https://huggingface.co/nomic-ai/nomic-embed-text-v1.5"
    same = (f"[nomic-embed-text-v1.5]({address})", "768 (512, 256, 128, 64)", "8192")
    prompts = "query, document, 2 tasks"
    assert tuple(cells(spec)) == (*same, "547", "en", prompts, "Apache-2.0", "digest")
    assert tuple(cells(limited)) == (*same, "?", "en", prompts, "CC-BY-NC-4.0, **non-commercial**", "revision")


def test_the_page_says_of_each_kind_what_matters_for_it() -> None:
    cells = runpy.run_path(str(ROOT / "plugins" / "models" / "make_table.py"))["cells"]
    found = {name: tuple(cells(named(name)))[1:] for name in LENGTHS | SHOWN | {"granite-embedding-30m-sparse": 0}}
    assert found["ms-marco-MiniLM-L6-v2"] == ("512", "91", "en", "logits", "none", "Apache-2.0", "revision")
    assert found["Qwen3-Reranker-0.6B"][3:5] == ("0 to 1", "query, document")
    assert found["granite-embedding-30m-sparse"] == (
        "50265",
        "512",
        "61",
        "en",
        "transformer",
        "Apache-2.0",
        "revision",
    )
    assert found["colbertv2.0"] == ("128", "32 / 180", "438", "en", "MIT", "revision")


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_digests_of_an_entry_are_those_of_its_commit(name: str) -> None:
    spec = named(name)
    assert f"{spec.revision} {spec.files['model.safetensors']}" == WEIGHTS[name]
