"""A folder in the sentence-transformers layout describes a model completely, or is refused with the reason."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedry import IntegrityError, ModelSpec, UnknownModelError, UnsupportedModelError, WeightsNotFoundError, resolve
from embedry._layouts import from_folder
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling
from embedry.transformer import BertNormalizer, Transformer

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}
DENSE = {"type": "sentence_transformers.models.Dense", "path": "3_Dense"}
DENSE_CONFIG = {
    "in_features": 48,
    "out_features": 16,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
TOKENIZER = {
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {}},
    "normalizer": {"type": "BertNormalizer", "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]},
    "added_tokens": [],
}

MODEL: dict[str, Any] = {
    "modules.json": [TRANSFORMER, POOLING, NORMALIZE],
    "config.json": {"model_type": "bert", "max_position_embeddings": 512, "hidden_size": 48},
    "1_Pooling/config.json": {"pooling_mode": "mean", "embedding_dimension": 48},
    "sentence_bert_config.json": {"max_seq_length": 128},
    "tokenizer.json": TOKENIZER,
    "model.safetensors": "",
}
"""What describes a model; its weights are not looked at."""


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
    assert (spec.chain, dict(spec.prompts)) == ((Pooling(mode="mean"), Normalize()), {})
    assert (spec.transformer, spec.folder, spec.similarity) == (Transformer(), str(tmp_path / "model"), "cosine")
    assert dict(spec.files) == {"model.safetensors": None, "tokenizer.json": None, "config.json": None}


def test_the_chain_is_in_the_order_of_modules_json(read: Read) -> None:
    """Repetitions, and what stands before a Pooling, stay."""
    norm = {"type": "sentence_transformers.models.LayerNorm", "path": "4_LayerNorm"}
    spec = read(
        {
            "modules.json": [TRANSFORMER, POOLING, NORMALIZE, DENSE, norm, POOLING, NORMALIZE, DENSE],
            "3_Dense/config.json": DENSE_CONFIG,
            "3_Dense/model.safetensors": "",
            "4_LayerNorm/model.safetensors": "",
        }
    )
    dense = Dense(path="3_Dense", inputs=48, outputs=16, activation="tanh")
    pooling = Pooling(mode="mean")
    assert spec.chain == (pooling, Normalize(), dense, LayerNorm(path="4_LayerNorm"), pooling, Normalize(), dense)
    assert spec.dims == 16
    assert {"3_Dense/model.safetensors", "4_LayerNorm/model.safetensors"} <= set(spec.files)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_residual": True},
        {"activation_function": "torch.nn.modules.activation.Hardtanh"},
        {"module_input_name": "token_embeddings"},
    ],
)
def test_a_module_that_an_entry_cannot_say_is_left_to_the_library_with_all_of_its_files(
    read: Read, changes: dict[str, Any]
) -> None:
    spec = read(
        {
            "modules.json": [TRANSFORMER, POOLING, DENSE],
            "3_Dense/config.json": DENSE_CONFIG | changes,
            "3_Dense/model.safetensors": "",
        }
    )
    assert spec.chain[1] == LibraryModule(class_name="sentence_transformers.models.Dense", path="3_Dense")
    assert {"3_Dense/config.json", "3_Dense/model.safetensors"} <= set(spec.files)


@pytest.mark.parametrize("version", ["models", "base.modules", "sentence_transformer.modules"])
def test_a_class_is_known_under_the_names_of_every_version(read: Read, version: str) -> None:
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dropout": "3_Dropout"}
    for name in ("{kind}", "{kind}.{kind}", "{lower}.{kind}"):
        types = {kind: name.format(kind=kind, lower=kind.lower()) for kind in kinds}
        listed = [{"type": f"sentence_transformers.{version}.{types[kind]}", "path": kinds[kind]} for kind in kinds]
        assert read({"modules.json": listed}).chain == (Pooling(mode="mean"), Normalize())


@pytest.mark.parametrize(
    "name",
    [
        "custom_st.Transformer",
        "sentence_transformers_more.models.Transformer",
        "my.sentence_transformers.models.Transformer",
        "sentence_transformers.mine.Transformer",
        "Transformer",
    ],
)
def test_a_class_of_another_name_is_never_taken_for_the_librarys(read: Read, name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=re.escape(f"names the class {name!r}: the model needs code")):
        read({"modules.json": [TRANSFORMER | {"type": name}, POOLING, NORMALIZE]})


def test_two_modules_of_one_name_are_an_error_since_the_library_would_keep_one(read: Read) -> None:
    named = [TRANSFORMER | {"name": "0"}, POOLING | {"name": "1"}, NORMALIZE | {"name": "1"}]
    with pytest.raises(IntegrityError, match="gives the name '1' to 2 modules"):
        read({"modules.json": named})


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
    assert (spec.chain[0], spec.dims) == (Pooling(mode=pooling), dims)


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode": "attention", "embedding_dimension": 48},
        {"pooling_mode_mean_tokens": False, "word_embedding_dimension": 48},
    ],
)
def test_a_pooling_that_is_not_known_is_never_guessed(read: Read, settings: dict[str, Any]) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"1_Pooling/config.json in .* names no pooling that is known \(mean, "
    ):
        read({"1_Pooling/config.json": settings})


@pytest.mark.parametrize(
    ("settings", "query", "document"),
    [
        ({"prompts": {"query": "q: ", "document": "d: "}}, "q: ", "d: "),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, "q: ", "c: "),
        ({"prompts": {"document": "d: ", "passage": "p: "}}, "", "d: "),
        ({"prompts": {"document": "", "passage": "p: "}}, "", ""),
        ({"prompts": {"task": "t: "}, "default_prompt_name": "task"}, "", ""),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, "q: ", ""),
        ({"prompts": {"query": "", "document": None}}, "", ""),
        ({"prompts": None}, "", ""),
    ],
)
def test_a_role_has_the_prompt_that_is_written_for_it(
    read: Read, settings: dict[str, Any], query: str, document: str
) -> None:
    spec = read({"config_sentence_transformers.json": settings})
    assert (spec.prompt("query"), spec.prompt("document")) == (query, document)
    assert dict(spec.prompts) == {name: prompt or "" for name, prompt in (settings["prompts"] or {}).items()}


def test_a_default_prompt_that_is_not_there_is_an_error(read: Read) -> None:
    settings = {"prompts": {"task": "t: "}, "default_prompt_name": "other"}
    with pytest.raises(IntegrityError, match="names the default prompt 'other', and has only 'task'"):
        read({"config_sentence_transformers.json": settings})


ROBERTA = {"model_type": "roberta", "max_position_embeddings": 514, "hidden_size": 48}


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 1024}}, 1024),
        ({"sentence_bert_config.json": None, "tokenizer_config.json": {"model_max_length": 64}}, 64),
        ({"sentence_bert_config.json": {}, "tokenizer_config.json": {"model_max_length": 64}}, 64),
        ({"sentence_bert_config.json": None, "tokenizer_config.json": {"model_max_length": 1e30}}, 512),
        ({"sentence_bert_config.json": None, "tokenizer_config.json": {"model_max_length": 1024}}, 512),
        ({"sentence_bert_config.json": None}, 512),
        ({"sentence_bert_config.json": None, "config.json": {"model_type": "bert"}}, 512),
        ({"tokenizer_config.json": {"model_max_length": 64}}, 128),
    ],
)
def test_the_length_is_the_stated_one_or_what_tokenizer_and_positions_allow(
    read: Read, changes: dict[str, Any], length: int
) -> None:
    assert read(changes).max_seq_length == length


@pytest.mark.parametrize(("settings", "length"), [({}, 512), ({"pad_token_id": 3}, 510), ({"pad_token_id": None}, 512)])
def test_a_derived_length_leaves_out_the_positions_before_the_first_token(
    read: Read, settings: dict[str, Any], length: int
) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 514}
    files = {"sentence_bert_config.json": None, "config.json": ROBERTA | settings, "tokenizer_config.json": config}
    assert read(files).max_seq_length == length


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
@pytest.mark.parametrize("path", ["", "0_Transformer"])
def test_the_length_may_be_in_each_of_seven_files_beside_the_transformer(read: Read, name: str, path: str) -> None:
    start = f"{path}/" if path else ""
    moved = {f"{start}{file}": MODEL[file] for file in ("config.json", "tokenizer.json", "model.safetensors")}
    other = {"sentence_bert_config.json": {"max_seq_length": 99}} if path else {"sentence_bert_config.json": None}
    length = {f"{start}sentence_{name}_config.json": {"max_seq_length": 32}}
    spec = read({"modules.json": [TRANSFORMER | {"path": path}, POOLING]} | other | moved | length)
    assert spec.max_seq_length == 32
    assert list(spec.files) == [f"{start}{file}" for file in ("model.safetensors", "tokenizer.json", "config.json")]


@pytest.mark.parametrize(("stated", "similarity"), [("dot", "dot"), (None, "cosine")])
def test_the_similarity_is_the_stated_one_or_cosine(read: Read, stated: str | None, similarity: str) -> None:
    assert read({"config_sentence_transformers.json": {"similarity_fn_name": stated}}).similarity == similarity


def test_a_length_that_no_file_states_is_never_guessed(read: Read) -> None:
    config = {"model_type": "t5", "tokenizer_class": "BertTokenizer"}
    with pytest.raises(WeightsNotFoundError, match="states how many tokens the model reads"):
        read({"sentence_bert_config.json": None, "config.json": config})


def test_what_the_default_backend_does_not_do_is_refused_by_name_with_the_one_that_can(
    written: Callable[..., Path],
) -> None:
    pooling = MODEL["1_Pooling/config.json"] | {"include_prompt": False}
    with pytest.raises(UnsupportedModelError) as error:
        resolve(written({"1_Pooling/config.json": pooling}))
    assert "its pooling leaves out the prompt, which token ids do not tell; " in str(error.value)
    assert "try backend='sentence-transformers'" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}, None),
        ({"do_lower_case": False}, BertNormalizer(lower_case=False)),
        ({"strip_accents": False}, BertNormalizer(strip_accents=False)),
        ({"tokenize_chinese_chars": False}, BertNormalizer(chinese_chars=False)),
        ({"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"}, None),
        ({"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"}, BertNormalizer(lower_case=False)),
    ],
)
def test_the_settings_of_a_class_that_builds_its_tokenizer_hold_and_change_the_entry(
    read: Read, settings: dict[str, Any], expected: BertNormalizer | None
) -> None:
    spec = read({"tokenizer_config.json": settings})
    assert spec.transformer == Transformer(normalizer=expected)


@pytest.mark.parametrize(
    ("settings", "changes", "left"),
    [
        ({"truncation_side": "left"}, {}, True),
        ({"truncation_side": "right"}, {"truncation": {"direction": "Left"}}, False),
        ({}, {"truncation": {"direction": "Left"}}, True),
        ({}, {"truncation": {"direction": "Right"}}, False),
        ({}, {"truncation": {"max_length": 64}}, False),
    ],
)
def test_the_side_that_is_truncated_is_tokenizer_configs_or_else_tokenizers(
    read: Read, settings: dict[str, Any], changes: dict[str, Any], left: bool
) -> None:
    spec = read({"tokenizer_config.json": settings, "tokenizer.json": TOKENIZER | changes})
    assert spec.transformer == Transformer(truncate_left=left)


MARK = {"content": "[X]", "id": 7}


@pytest.mark.parametrize(
    ("settings", "changes", "about"),
    [
        ({"split_special_tokens": True}, {}, "split_special_tokens: True"),
        ({"added_tokens_decoder": {"7": {"content": "[X]"}}}, {}, "added_tokens_decoder.7: '[X]'"),
        (
            {"added_tokens_decoder": {"8": {"content": "[X]"}}},
            {"added_tokens": [MARK]},
            "added_tokens_decoder.8: '[X]'",
        ),
        ({"added_tokens_decoder": {}}, {"added_tokens": [MARK]}, "added_tokens: None"),
        ({"additional_special_tokens": ["[X]"]}, {}, "special tokens: '[X]'"),
        ({"cls_token": "[X]"}, {"added_tokens": [MARK]}, "post_processor: ['[X]', '[SEP]']"),
        ({"unk_token": "[X]"}, {"added_tokens": [MARK]}, "model.unk_token: '[X]'"),
        ({"tokenizer_class": "MPNetTokenizer"}, {}, "post_processor: ['<s>', '</s>']"),
        ({"tokenizer_class": "RobertaTokenizer"}, {}, "model: 'BPE'"),
        ({}, {"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer: 'BertPreTokenizer'"),
        ({}, {"pre_tokenizer": None}, "pre_tokenizer: 'BertPreTokenizer'"),
        ({}, {"post_processor": None}, "post_processor: ['[CLS]', '[SEP]']"),
    ],
)
def test_two_tokenizer_files_that_disagree_are_refused_by_what_they_disagree_about(
    read: Read, settings: dict[str, Any], changes: dict[str, Any], about: str
) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        read({"tokenizer_config.json": settings, "tokenizer.json": TOKENIZER | changes})
    assert f"tokenizer.json beside it disagree about {about}" in str(error.value)
    assert "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)" in str(error.value)


def test_a_dense_layer_decides_the_length_of_the_vectors(checkpoint: Callable[..., Path]) -> None:
    spec = from_folder(checkpoint("bert", dense=16))
    dense = Dense(path="2_Dense", inputs=48, outputs=16, activation="tanh")
    assert (spec.chain, spec.dims) == ((Pooling(mode="mean"), dense, Normalize()), 16)


@pytest.mark.parametrize("file", ["config.json", "1_Pooling/config.json"])
def test_a_file_that_is_missing_is_named_with_what_to_do(read: Read, tmp_path: Path, file: str) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        read({file: None})
    assert f"{tmp_path / 'model'} has no {file}: " in str(error.value)
    assert "write a ModelSpec" in str(error.value)


def test_files_of_no_layout_are_an_error_that_names_the_layouts(read: Read, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        read({"modules.json": None})
    assert str(error.value) == (
        f"the files of '{tmp_path / 'model'}' follow no layout that is installed (sentence-transformers); write a ModelSpec for "
        "it and pass that to resolve"
    )


@pytest.mark.parametrize("file", ["modules.json", "config.json", "sentence_bert_config.json"])
def test_a_file_that_was_cut_short_is_named(read: Read, tmp_path: Path, file: str) -> None:
    with pytest.raises(IntegrityError) as error:
        read({file: '{"max_seq_le'})
    assert str(tmp_path / "model" / file) in str(error.value)


def test_a_chain_without_pooling_is_refused(read: Read) -> None:
    with pytest.raises(UnsupportedModelError, match="lists nothing that makes one vector of a text's token vectors"):
        read({"modules.json": [TRANSFORMER]})


def test_a_second_transformer_is_refused(read: Read) -> None:
    with pytest.raises(UnsupportedModelError, match="lists a Transformer in place 1, not first"):
        read({"modules.json": [TRANSFORMER, TRANSFORMER, POOLING]})


INDEX = {"weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model.safetensors": None}, "has no model.safetensors; it has 1_Pooling, config.json, modules.json"),
        (
            {"model.safetensors": None, "pytorch_model.bin": ""},
            "has no model.safetensors; it has pytorch_model.bin, a pickle, which can run code and is never loaded; save the "
            "model again with safetensors",
        ),
        ({"tokenizer.json": None}, "has no tokenizer.json; make one with transformers: AutoTokenizer"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": INDEX, "model-00001-of-00002.safetensors": ""},
            "has no model-00002-of-00002.safetensors; it has 1_Pooling, config.json, model-00001-of-00002.safetensors",
        ),
        (
            {
                "modules.json": [TRANSFORMER, POOLING, DENSE],
                "3_Dense/config.json": DENSE_CONFIG,
                "3_Dense/pytorch_model.bin": "",
            },
            "has no 3_Dense/model.safetensors; it has pytorch_model.bin, a pickle",
        ),
    ],
)
def test_weights_that_are_missing_are_named_with_what_is_there_and_what_to_do(
    read: Read, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        read(changes)
    assert text in str(error.value)


def test_shards_are_all_files_of_the_entry(read: Read) -> None:
    shards = dict.fromkeys(INDEX["weight_map"].values(), "")
    spec = read({"model.safetensors": None, "model.safetensors.index.json": INDEX} | shards)
    assert spec.weights == tuple(shards)
    assert set(spec.files) == {*shards, "model.safetensors.index.json", "tokenizer.json", "config.json"}


@pytest.mark.parametrize("name", ["my model", "model (1)", "_model", "модель", "模型", "-x", "a/b/.."])
def test_the_name_of_a_folder_is_only_a_label(written: Callable[..., Path], tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    folder = tmp_path / name
    shutil.copytree(written({}), folder, dirs_exist_ok=True)
    spec = resolve(folder).spec
    assert spec.name == folder.resolve().name
    assert spec.folder == str(folder)


def test_a_model_without_a_type_is_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedModelError, match="not for ''"):
        resolve(written({"config.json": {"max_position_embeddings": 512}}))


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no folder .*gone; a model on the hub is written organization/name"):
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
    assert spec.normalizes is options.get("normalize", True)
    assert (spec.chain[0], spec.architecture) == (Pooling(mode=options.get("pooling", "mean")), family)
