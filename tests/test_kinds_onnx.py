"""The default engine gives the logits, the weights and the token vectors of the libraries that define rerankers, sparse and
multi-vector encoders: of every family with a head of its own, for pairs and texts alone and in batches."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForMaskedLM

import kind_entries
import kind_references as reference
from embedry import (
    IntegrityError,
    ModelSpec,
    UnsupportedModelError,
    _backends,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
)
from embedry._files import model_config
from embedry.backend import LoadRequest
from embedry.chains import Kind
from embedry.heads import Classifier, MaskedLM, Score, SpladePooling, TermTable, TermWeights
from embedry.modules import Dense, LayerNorm, Normalize
from embedry_graphs import sparse
from embedry_graphs.graph import Graph
from kind_folders import (
    WIDTH,
    as_gte,
    make_classes,
    make_multi_vector,
    make_sparse,
)
from kind_references import PAIRS, TEXTS, Floats, Role

CLOSE = 1e-5
CLOSE_WEIGHTS = 2e-5
"""Weights of terms are of logits up to 20, whose rounding errors are as much larger."""

_ROLES: tuple[Role, ...] = ("query", "document")

_ELSEWHERE = {"electra", "deberta-v2", "modernbert, biases"}
"""Rerankers and sparse encoders that this engine refuses; decoders whose score is a logit are others."""
_ALIKE = {
    "bert, old Identity",
    "bert, tokenizer without a length",
    "saved bert, 3 labels",
    "plain bert",
    "bert, old names",
}
"""Folders whose entry and whose weights are another's."""

Folder = Callable[[Kind, str], Path]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new cache: graphs are compiled by the code under test."""
    return tmp_path_factory.mktemp("cache")


def _names(kind: Kind) -> list[str]:
    return [name for name in kind_entries.ENTRIES[kind] if name not in _ELSEWHERE | _ALIKE and "decoder" not in name]


def _close(found: Floats, wanted: Floats, atol: float = CLOSE) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=atol)


def _entry(kind: Kind, name: str, path: Path) -> ModelSpec:
    return kind_entries.ENTRIES[kind][name](path)


@pytest.mark.parametrize("name", _names("reranker"))
def test_logits_are_those_of_the_library(name: str, kind_folder: Folder, cache: Path) -> None:
    path = kind_folder("reranker", name)
    reranker = resolve_reranker(_entry("reranker", name, path), threads=1, cache_dir=cache)
    wanted = reference.scores(path, PAIRS, 16).reshape(len(PAIRS), -1)
    _close(reranker.logits(PAIRS), wanted)
    _close(np.concatenate([reranker.logits([pair]) for pair in PAIRS]), wanted)


@pytest.mark.parametrize("name", _names("sparse"))
def test_weights_of_terms_are_those_of_the_library(name: str, kind_folder: Folder, cache: Path) -> None:
    path = kind_folder("sparse", name)
    model = resolve_sparse(_entry("sparse", name, path), threads=1, cache_dir=cache)
    for role in _ROLES if model.spec.query_chain or model.spec.prompts else ("document",):
        wanted = reference.sparse(path, TEXTS, role, 16)
        _close(model.encode(TEXTS, role=role).to_dense(), wanted, CLOSE_WEIGHTS)
        alone = [model.encode([text], role=role).to_dense() for text in TEXTS]
        _close(np.concatenate(alone), wanted, CLOSE_WEIGHTS)


@pytest.mark.parametrize("name", _names("multi_vector"))
def test_token_vectors_are_those_of_the_library(name: str, kind_folder: Folder, cache: Path) -> None:
    path = kind_folder("multi_vector", name)
    model = resolve_multi_vector(_entry("multi_vector", name, path), threads=1, cache_dir=cache)
    for role in _ROLES:
        wanted = reference.token_vectors(path, TEXTS, role, 16)
        alone = [model.encode([text], role=role)[0] for text in TEXTS]
        for each in (list(model.encode(TEXTS, role=role)), alone):
            assert [vectors.shape for vectors in each] == [vectors.shape for vectors in wanted]
            _close(np.concatenate(each), np.concatenate(wanted))


@pytest.mark.parametrize(
    "settings", [{"classifier_bias": True}, {"classifier_activation": "relu"}, {"classifier_activation": "silu"}]
)
def test_the_head_of_modernbert_is_as_its_configuration_says(
    settings: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    make_classes(tmp_path / "model", "modernbert", **settings)
    entry = kind_entries.RERANKERS["modernbert, cls"](tmp_path / "model")
    some = PAIRS[:20]
    wanted = reference.scores(tmp_path / "model", some, 4).reshape(-1, 1)
    _close(resolve_reranker(entry, threads=1, cache_dir=cache).logits(some), wanted)


def test_a_masked_language_model_of_modernbert_without_a_bias(tmp_path: Path, cache: Path) -> None:
    make_sparse(tmp_path / "model", "modernbert")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights.pop("decoder.bias")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    _change(tmp_path / "model", decoder_bias=False)
    entry = kind_entries.SPARSE["modernbert"](tmp_path / "model")
    wanted = reference.sparse(tmp_path / "model", TEXTS[:20], "document", 4)
    found = resolve_sparse(entry, threads=1, cache_dir=cache).encode(TEXTS[:20], role="document")
    _close(found.to_dense(), wanted, CLOSE_WEIGHTS)


def _change(path: Path, **settings: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


# What of a graph depends on lengths and sizes that these folders do not have.


def _run(spec: ModelSpec, cache: Path, ids: Any, mask: Any, *segments: Any) -> Floats:
    path = Path(spec.folder or "")
    config = model_config.read(path, "config.json")
    encoder: Any = _backends.find("onnxruntime").load(
        LoadRequest(spec=spec, folder=path, config=config, device="cpu", precision=None, threads=1, cache_dir=cache)
    )
    found: Floats = encoder.forward(*(np.asarray(each, np.int32) for each in (ids, mask, *segments)))
    return found


def _some_ids(rows: int, *lengths: int) -> tuple[Any, Any]:
    """Token ids and mask of texts of these lengths."""
    ids = np.random.default_rng(1).integers(5, rows, (len(lengths), max(lengths)))
    return ids, (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(int)


@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("lengths", [(9, 4), (1300,), (513, 600)])
def test_a_long_text_has_the_weights_of_all_its_tokens(
    strategy: Any, lengths: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "_TERMS", 100)  # several blocks of columns, the last one narrower
    path = tmp_path / "model"
    make_sparse(path, "modernbert", max_position_embeddings=2048)
    spec = kind_entries.SPARSE["modernbert"](path)
    spec = replace(spec, chain=(MaskedLM(), SpladePooling(strategy=strategy)))
    ids, mask = _some_ids(spec.dims, *lengths)
    model = AutoModelForMaskedLM.from_pretrained(path)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    weights = np.log1p(np.maximum(logits, 0)) * mask[:, :, None]
    wanted = weights.max(1) if strategy == "max" else weights.sum(1)
    np.testing.assert_allclose(_run(spec, tmp_path / "cache", ids, mask), wanted, rtol=1e-5, atol=CLOSE_WEIGHTS)


@pytest.mark.parametrize(("positions", "apart"), [(512, 2), (8192, 0), (0, 0)])
def test_the_logits_of_a_long_text_are_never_there_at_once(positions: int, apart: int, tmp_path: Path) -> None:
    with closing(Graph(tmp_path)) as graph:
        weight = np.ones((4, 5000), np.float32)
        found = sparse.splade(graph, SpladePooling(), graph.op("Identity", "tokens"), weight, None, positions)
        graph.save(tmp_path / "graph.onnx", found, 5000)
    nodes = onnx.load(tmp_path / "graph.onnx", load_external_data=False).graph.node
    (loop, *_) = [node.attribute[0].g.node for node in nodes if node.op_type == "Loop"] or [[]]
    assert [sum(node.op_type == "MatMul" for node in each) for each in (nodes, loop)] == [apart, 2 - apart]


def test_the_masked_language_model_of_new(kind_folder: Folder, tmp_path: Path) -> None:
    """Its own code names the parts of the head as transformers does those of "gte", but for the norm."""
    path = tmp_path / "model"
    shutil.copytree(kind_folder("reranker", "new"), path)
    model = AutoModelForMaskedLM.from_pretrained(as_gte(kind_folder("reranker", "new")))
    torch.manual_seed(0)
    head = {name: torch.randn_like(tensor) for name, tensor in model.lm_head.state_dict().items()}
    model.lm_head.load_state_dict(head | {"decoder.weight": model.lm_head.decoder.weight})
    names = {name: f"lm_head.{name.replace('layer_norm', 'norm')}" for name in head if name != "decoder.weight"}
    own = {name: tensor for name, tensor in load_file(path / "model.safetensors").items() if name.startswith("new.")}
    save_file(own | {names[name]: head[name].numpy() for name in names}, path / "model.safetensors")
    ids, mask = _some_ids(len(model.lm_head.decoder.weight), 20, 6)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    spec = replace(kind_entries.RERANKERS["new"](path), chain=(MaskedLM(), SpladePooling()), dims=logits.shape[-1])
    wanted = (np.log1p(np.maximum(logits, 0)) * mask[:, :, None]).max(1)
    _close(_run(spec, tmp_path / "cache", ids, mask), wanted, CLOSE_WEIGHTS)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize(("lengths", "seen"), [((12, 40), (7, 25)), ((700,), (640,)), ((600, 560), (560, 520))])
def test_tokens_that_are_not_seen_have_vectors(
    family: str, lengths: tuple[int, ...], seen: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    settings = {"max_position_embeddings": 1024 + 2 * (family == "roberta")}
    make_multi_vector(path, family, denses=(), settings=settings | {"local_attention": 128})
    spec = kind_entries.MULTI_VECTOR["bert, no Dense"](path)
    ids, mask = _some_ids(180, *lengths)
    mask[:, : max(lengths)] = np.arange(max(lengths)) < np.array(seen)[:, None]
    model = AutoModel.from_pretrained(path)
    with torch.inference_mode():
        wanted = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    found = _run(replace(spec, architecture=family), tmp_path / "cache", ids, mask)
    for each, expected, length in zip(found, wanted, lengths, strict=True):
        _close(each[:length], expected[:length])


def test_modules_of_a_chain_run_over_each_token(kind_folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(kind_folder("multi_vector", "bert"), path)
    random = np.random.default_rng(0)
    weight, bias, scale, shift = (random.normal(size=size).astype(np.float32) for size in ((24, WIDTH), 24, 24, 24))
    last = random.normal(size=(16, 24)).astype(np.float32)
    _saved(path / "A", {"linear.weight": weight, "linear.bias": bias})
    _saved(path / "B", {"norm.weight": scale, "norm.bias": shift})
    _saved(path / "C", {"linear.weight": last})
    bare = kind_entries.MULTI_VECTOR["bert, no Dense"](path)
    modules = (
        Dense(path="A", inputs=WIDTH, outputs=24, activation="tanh"),
        LayerNorm(path="B"),
        Normalize(),
        Dense(path="C", inputs=24, outputs=16, bias=False),
    )
    files = dict.fromkeys((*bare.files, *(f"{name}/model.safetensors" for name in "ABC")))
    spec = replace(bare, chain=(*modules, bare.chain[-1]), dims=16, files=files)
    ids, mask = _some_ids(4000, 3, 30)
    x = np.tanh(_run(bare, tmp_path / "cache", ids, mask) @ weight.T + bias)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift
    x = x / np.linalg.norm(x, axis=-1, keepdims=True) @ last.T
    _close(_run(spec, tmp_path / "cache", ids, mask), x)


def _saved(path: Path, tensors: dict[str, Floats]) -> None:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")


@pytest.mark.parametrize("skip", [(), (0, 2, 40)])
def test_a_term_has_the_greatest_weight_of_its_tokens(skip: tuple[int, ...], tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model"
    make_multi_vector(path, "xlm-roberta", denses=())
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(1, WIDTH)).astype(np.float32), np.array([0.3], np.float32)
    _saved(path / "sparse", {"linear.weight": weight, "linear.bias": bias})
    bare = replace(kind_entries.MULTI_VECTOR["bert, no Dense"](path), architecture="xlm-roberta")
    terms = Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab_size()
    module = TermWeights(path="sparse", inputs=WIDTH, outputs=terms, skip=skip)
    files = dict.fromkeys((*bare.files, module.weights))
    spec = replace(bare, chain=(module,), dims=terms, files=files)
    ids, mask = _some_ids(60, 50, 3, 17)
    ids[:, 0] = 0
    tokens = np.maximum(_run(bare, cache, ids, mask) @ weight[0] + bias, 0)
    wanted = np.zeros((3, terms), np.float32)
    for text, column in np.argwhere((mask == 1) & ~np.isin(ids, skip)):
        term = ids[text, column]
        wanted[text, term] = max(wanted[text, term], tokens[text, column])
    found = _run(spec, cache, ids, mask)
    _close(found, wanted)
    assert (found > 0).sum() > 20


def test_the_same_modules_are_one_graph_for_texts_and_another_for_pairs(kind_folder: Folder, cache: Path) -> None:
    path = kind_folder("reranker", "head on bert, Identity")
    pairs = kind_entries.RERANKERS["head on bert, Identity"](path)
    texts = replace(pairs, chain=pairs.chain[:-1])
    ids, mask = _some_ids(4000, 20, 12)
    segments = np.zeros_like(ids)
    of_texts = _run(texts, cache, ids, mask)
    _close(_run(pairs, cache, ids, mask, segments), of_texts)
    segments[:, 6:] = 1
    assert np.abs(_run(pairs, cache, ids, mask, segments) - of_texts).min() > 0.01
    _close(_run(texts, cache, ids, mask), of_texts)


# What is wrong is refused.

_HEADS: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("reranker", "bert"): ("bert.pooler.dense.weight", "classifier.bias"),
    ("reranker", "roberta"): ("classifier.dense.bias", "classifier.out_proj.weight"),
    ("reranker", "distilbert"): ("pre_classifier.weight", "classifier.weight"),
    ("reranker", "modernbert, cls"): ("head.dense.weight", "head.norm.weight", "classifier.bias"),
    ("sparse", "bert"): ("cls.predictions.transform.LayerNorm.bias", "cls.predictions.bias"),
    ("sparse", "bert, untied"): ("cls.predictions.decoder.weight",),
    ("sparse", "distilbert"): ("vocab_transform.bias", "vocab_projector.bias"),
    ("sparse", "roberta"): ("lm_head.dense.weight", "lm_head.bias"),
    ("sparse", "modernbert"): ("head.norm.weight", "decoder.bias"),
    ("multi_vector", "stanford"): ("linear.weight",),
}
_DAMAGED = [(kind, name, tensor) for (kind, name), tensors in _HEADS.items() for tensor in tensors]


def _load(kind: Kind, name: str, path: Path, cache: Path) -> None:
    door: Any = {"reranker": resolve_reranker, "sparse": resolve_sparse, "multi_vector": resolve_multi_vector}[kind]
    door(_entry(kind, name, path), threads=1, cache_dir=cache).load()


@pytest.mark.parametrize(("kind", "name", "tensor"), _DAMAGED)
def test_a_head_without_one_of_its_tensors_is_refused(
    kind: Kind, name: str, tensor: str, kind_folder: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(kind_folder(kind, name), path)
    weights = load_file(path / "model.safetensors")
    without = {each: values for each, values in weights.items() if each != tensor}
    short = tensor.removeprefix("bert.")
    save_file(without, path / "model.safetensors")
    with pytest.raises(IntegrityError, match=f"no tensor '{short}'".replace(".", r"\.")):
        _load(kind, name, path, tmp_path / "cache")
    save_file(without | {tensor: np.ones((5, *weights[tensor].shape[1:]), np.float32)}, path / "model.safetensors")
    with pytest.raises(IntegrityError, match=short):
        _load(kind, name, path, tmp_path / "cache")
    save_file(weights, path / "model.safetensors")
    _load(kind, name, path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("kind", "name", "tensor"),
    [
        ("reranker", "bert", "classifier.dense.weight"),
        ("reranker", "roberta", "classifier.weight"),
        ("reranker", "distilbert", "pre_classifier.norm.weight"),
        ("reranker", "modernbert, cls", "head.dense.bias"),
        ("sparse", "bert", "cls.predictions.transform.more.weight"),
        ("sparse", "roberta", "lm_head.more.bias"),
        ("sparse", "modernbert", "head.dense.bias"),
    ],
)
def test_a_head_with_a_tensor_that_nothing_accounts_for_is_refused(
    kind: Kind, name: str, tensor: str, kind_folder: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(kind_folder(kind, name), path)
    weights = load_file(path / "model.safetensors")
    save_file(weights | {tensor: np.ones(WIDTH, np.float32)}, path / "model.safetensors")
    with pytest.raises(IntegrityError, match=tensor.replace(".", r"\.")):
        _load(kind, name, path, tmp_path / "cache")


def test_the_heads_of_other_tasks_do_not_matter(kind_folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(kind_folder("sparse", "bert"), path)
    weights = load_file(path / "model.safetensors")
    save_file(weights | {"cls.seq_relationship.weight": np.ones((2, WIDTH), np.float32)}, path / "model.safetensors")
    _load("sparse", "bert", path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bert", {"chain": (Classifier(pooling="mean"), Score())}, "takes the first token's vector, not the mean"),
        (
            "bert",
            {"architecture": "nomic_bert"},
            "heads of classification are written for bert, .* not for 'nomic_bert'",
        ),
        ("saved qwen3 decoder", {}, "does not run LogitScore"),
        ("electra", {}, "not for 'electra'"),
    ],
)
def test_what_no_graph_is_written_for_is_refused(
    name: str, changes: dict[str, Any], message: str, kind_folder: Folder
) -> None:
    entry = replace(_entry("reranker", name, kind_folder("reranker", name)), **changes)
    with pytest.raises(UnsupportedModelError, match=message):
        resolve_reranker(entry, backend="onnxruntime")


def test_a_masked_language_model_of_an_unknown_family_is_refused(kind_folder: Folder) -> None:
    entry = replace(_entry("sparse", "bert", kind_folder("sparse", "bert")), architecture="nomic_bert")
    with pytest.raises(UnsupportedModelError, match=r"masked language models are written for .* not for 'nomic_bert'"):
        resolve_sparse(entry, backend="onnxruntime")


def test_an_activation_that_no_graph_has_is_refused(kind_folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(kind_folder("reranker", "modernbert, cls"), path)
    _change(path, classifier_activation="mish")
    with pytest.raises(UnsupportedModelError, match="activation 'mish' in a head"):
        _load("reranker", "modernbert, cls", path, tmp_path / "cache")


# Tables of terms.


@pytest.fixture
def queries(kind_folder: Folder, tmp_path: Path) -> ModelSpec:
    """The query side of the router whose table is a JSON file beside its tokenizer."""
    path = tmp_path / "model"
    shutil.copytree(kind_folder("sparse", "router, old layout"), path)
    spec = kind_entries.SPARSE["router, old layout"](path)
    table = TermTable(outputs=spec.dims, table="idf.json")
    return replace(spec, query_chain=(table,), files=dict.fromkeys((*spec.files, table.weights))).for_queries


def test_a_table_in_json_gives_each_term_its_weight_once(queries: ModelSpec, cache: Path) -> None:
    path = Path(queries.folder or "")
    stated = json.loads((path / "idf.json").read_text(encoding="utf-8")) | {"[PAD]": 3}
    (path / "idf.json").write_text(json.dumps(stated), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    found = resolve_sparse(queries, cache_dir=cache).encode(TEXTS, role="query")
    for row, text in enumerate(TEXTS):
        terms = {tokenizer.id_to_token(each) for each in tokenizer.encode(text, add_special_tokens=False).ids[:64]}
        wanted = {term: np.float32(stated[term]) for term in terms if term in stated}
        assert found.terms(row) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "must be an object of terms and their weights"),
        ('{"river": "much"}', "must be an object of terms and their weights"),
        ('{"river": 1', "cannot be read as JSON"),
        ('{"no such term": 1}', "a weight for 'no such term', which the tokenizer does not know"),
        ('{"river": -1}', "weights below 0 or not finite"),
        ('{"river": NaN}', "weights below 0 or not finite"),
    ],
)
def test_a_table_of_terms_that_is_none_is_refused(
    content: str, message: str, queries: ModelSpec, tmp_path: Path
) -> None:
    (Path(queries.folder or "") / "idf.json").write_text(content)
    with pytest.raises(IntegrityError, match=message):
        resolve_sparse(queries, cache_dir=tmp_path / "cache").load()


def test_a_table_of_another_size_is_refused(kind_folder: Folder, tmp_path: Path) -> None:
    spec = _entry("sparse", "router", kind_folder("sparse", "router")).for_queries
    for outputs, message in ((4001, "must have the tensor 'weight' of"), (3999, "token ids up to 3999")):
        table = TermTable(outputs=outputs, path="query_0_SparseStaticEmbedding")
        with pytest.raises(IntegrityError, match=message):
            resolve_sparse(replace(spec, chain=(table,), dims=outputs), cache_dir=tmp_path / "cache").load()


def test_batches_of_terms_are_small_where_the_vocabulary_is_large(kind_folder: Folder) -> None:
    from embedry_graphs.budget import BATCH_TOKENS, batch_tokens

    spec = _entry("sparse", "bert", kind_folder("sparse", "bert"))
    assert batch_tokens(spec) == BATCH_TOKENS == 512
    module = TermWeights(path="sparse", inputs=1024, outputs=250_002)
    large = replace(spec, chain=(module,), dims=250_002, files=dict.fromkeys((*spec.files, module.weights)))
    assert batch_tokens(large) == 201
