"""A folder in the sentence-transformers layout describes a model completely, or is refused with the reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedry import IntegrityError, ModelSpec, UnknownModelError, UnsupportedModelError, WeightsNotFoundError, resolve
from embedry._files.st_layout import from_folder

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}
DENSE = {"type": "sentence_transformers.models.Dense", "path": "3_Dense"}

MODEL: dict[str, Any] = {
    "modules.json": [TRANSFORMER, POOLING, NORMALIZE],
    "config.json": {"model_type": "bert", "max_position_embeddings": 512, "hidden_size": 48},
    "1_Pooling/config.json": {"pooling_mode": "mean", "embedding_dimension": 48},
    "sentence_bert_config.json": {"max_seq_length": 128},
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the model with these files changed; None leaves one out, a str is written as it is."""

    def write(changes: dict[str, Any]) -> Path:
        for file, content in (MODEL | changes).items():
            if content is not None:
                (tmp_path / "model" / file).parent.mkdir(parents=True, exist_ok=True)
                text = content if isinstance(content, str) else json.dumps(content)
                (tmp_path / "model" / file).write_text(text)
        return tmp_path / "model"

    return write


@pytest.fixture
def read(written: Callable[..., Path]) -> Callable[..., ModelSpec]:
    """The entry that the written model describes."""
    return lambda changes: from_folder(written(changes))


Read = Callable[..., ModelSpec]


def test_an_entry_has_what_the_files_say(read: Read, tmp_path: Path) -> None:
    spec = read({})
    assert (spec.name, spec.dims, spec.max_seq_length, spec.architecture) == ("model", 48, 128, "bert")
    assert (spec.pooling, spec.normalize, spec.modules, dict(spec.prompts)) == ("mean", True, (), {})
    assert (spec.folder, spec.similarity) == (str(tmp_path / "model"), "cosine")
    assert dict(spec.files) == {"model.safetensors": None, "tokenizer.json": None, "config.json": None}


@pytest.mark.parametrize(
    ("settings", "pooling", "dims"),
    [
        ({"pooling_mode": "cls", "embedding_dimension": 48}, "cls", 48),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 48}, "last", 48),
        ({"pooling_mode": ["cls", "max"], "embedding_dimension": 48}, "cls+max", 96),
        ({"pooling_mode_mean_tokens": True, "word_embedding_dimension": 48}, "mean", 48),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 48},
            "cls",
            48,
        ),
        ({"pooling_mode_max_tokens": True, "word_embedding_dimension": 48}, "max", 48),
        ({"pooling_mode_mean_sqrt_len_tokens": True, "word_embedding_dimension": 48}, "mean_sqrt_len_tokens", 48),
        ({"pooling_mode_weightedmean_tokens": True, "word_embedding_dimension": 48}, "weightedmean", 48),
        ({"pooling_mode_lasttoken": True, "word_embedding_dimension": 48}, "last", 48),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "word_embedding_dimension": 48},
            "cls+mean",
            96,
        ),
    ],
)
def test_pooling_configs_of_every_age_are_read(read: Read, settings: dict[str, Any], pooling: str, dims: int) -> None:
    spec = read({"1_Pooling/config.json": settings})
    assert (spec.pooling, spec.dims) == (pooling, dims)


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode": "attention", "embedding_dimension": 48},
        {"pooling_mode_mean_tokens": False, "word_embedding_dimension": 48},
    ],
)
def test_a_pooling_that_is_not_known_is_never_guessed(read: Read, settings: dict[str, Any]) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"names no pooling that is known: .*pooling_mode"):
        read({"1_Pooling/config.json": settings})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"prompts": {"query": "q: ", "document": "d: "}}, {"query": "q: ", "document": "d: "}),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, {"query": "q: ", "passage": "p: ", "document": "p: "}),
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, {"query": "q: ", "corpus": "c: ", "document": "c: "}),
        ({"prompts": {"document": "d: ", "passage": "p: "}}, {"document": "d: ", "passage": "p: "}),
        (
            {"prompts": {"task": "t: "}, "default_prompt_name": "task"},
            {"task": "t: ", "query": "t: ", "document": "t: "},
        ),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, {"query": "q: ", "document": "q: "}),
        ({"prompts": {"query": "q: "}, "default_prompt_name": None}, {"query": "q: "}),
        ({"prompts": {"query": "", "document": ""}}, {}),
        ({"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": "query"}, {"query": "q: "}),
        ({"prompts": {"query": "q: ", "task": ""}}, {"query": "q: ", "task": ""}),
        ({"prompts": None}, {}),
    ],
)
def test_prompts_are_those_that_sentence_transformers_would_use(
    read: Read, settings: dict[str, Any], expected: dict[str, str]
) -> None:
    assert dict(read({"config_sentence_transformers.json": settings}).prompts) == expected


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 1024}}, 512),
        ({"sentence_bert_config.json": None, "tokenizer_config.json": {"model_max_length": 64}}, 64),
        ({"sentence_bert_config.json": {}, "tokenizer_config.json": {"model_max_length": 64}}, 64),
        ({"sentence_bert_config.json": None, "tokenizer_config.json": {"model_max_length": 1e30}}, 512),
        ({"sentence_bert_config.json": None}, 512),
        ({"tokenizer_config.json": {"model_max_length": 64}}, 128),
    ],
)
def test_the_length_is_the_stated_one_within_what_the_positions_allow(
    read: Read, changes: dict[str, Any], length: int
) -> None:
    assert read(changes).max_seq_length == length


@pytest.mark.parametrize(("stated", "similarity"), [("dot", "dot"), (None, "cosine")])
def test_the_similarity_is_the_stated_one_or_cosine(read: Read, stated: str | None, similarity: str) -> None:
    assert read({"config_sentence_transformers.json": {"similarity_fn_name": stated}}).similarity == similarity


def test_a_length_that_no_file_states_is_never_guessed(read: Read) -> None:
    with pytest.raises(WeightsNotFoundError, match="states how many tokens the model reads"):
        read({"sentence_bert_config.json": None, "config.json": {"model_type": "bert"}})


@pytest.mark.parametrize(
    ("changes", "module"),
    [
        ({"modules.json": [TRANSFORMER, POOLING, DENSE], "3_Dense/config.json": {"out_features": 16}}, "Dense"),
        (
            {"sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": True}},
            "Transformer(do_lower_case=True)",
        ),
        (
            {"1_Pooling/config.json": MODEL["1_Pooling/config.json"] | {"include_prompt": False}},
            "Pooling(include_prompt=False)",
        ),
    ],
)
def test_what_the_default_backend_does_not_do_is_refused_by_name_with_the_package_that_can(
    written: Callable[..., Path], changes: dict[str, Any], module: str
) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        resolve(written(changes))
    assert f"it does not do the modules {module};" in str(error.value)
    assert "pip install embedry-sentence-transformers" in str(error.value)


def test_a_dense_layer_decides_the_length_of_the_vectors(checkpoint: Callable[..., Path]) -> None:
    spec = from_folder(checkpoint("bert", dense=16))
    assert (spec.modules, spec.dims, spec.normalize) == (("Dense",), 16, True)


@pytest.mark.parametrize("file", ["modules.json", "config.json", "1_Pooling/config.json"])
def test_a_file_that_is_missing_is_named_with_what_to_do(read: Read, tmp_path: Path, file: str) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        read({file: None})
    assert f"{tmp_path / 'model'} has no {file}: " in str(error.value)
    assert "write a ModelSpec" in str(error.value)


@pytest.mark.parametrize("file", ["modules.json", "config.json", "sentence_bert_config.json"])
def test_a_file_that_was_cut_short_is_named(read: Read, tmp_path: Path, file: str) -> None:
    with pytest.raises(IntegrityError) as error:
        read({file: '{"max_seq_le'})
    assert str(tmp_path / "model" / file) in str(error.value)


def test_a_chain_without_pooling_is_refused(read: Read) -> None:
    with pytest.raises(WeightsNotFoundError, match="lists no Pooling"):
        read({"modules.json": [TRANSFORMER]})


def test_a_model_without_a_type_is_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedModelError, match="not ''"):
        resolve(written({"config.json": {"max_position_embeddings": 512}}))


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no folder .*gone; a model on the hub is written organisation/name"):
        resolve(tmp_path / "gone")


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {}),
        ("mpnet", {"pooling": "cls", "normalize": False, "prompts": {"query": "q: "}, "max_seq_length": 64}),
    ],
)
def test_what_sentence_transformers_saves_is_read_as_it_reads_it(
    checkpoint: Callable[..., Path], family: str, options: dict[str, Any]
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = checkpoint(family, **options)
    spec = from_folder(folder)
    model = SentenceTransformer(str(folder), device="cpu")
    assert spec.max_seq_length == model.max_seq_length
    assert spec.dims == model.get_embedding_dimension()
    assert {role: spec.prompt(role) for role in ("query", "document")} == {
        role: model.prompts.get(role) or "" for role in ("query", "document")
    }
    assert spec.normalize is options.get("normalize", True)
    assert (spec.pooling, spec.architecture) == (options.get("pooling", "mean"), family)
