"""Folders that once broke a load, or passed where they should not: each is refused in a sentence, by every engine alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import hostile
from embedry import EmbedryError, IntegrityError, WeightsNotFoundError, resolve
from embedry._files import parsing, weights
from mutations import LARGE, VALUES, Header, HeaderLength, Mutation, Replace, Set, Tensor, split

BACKENDS = ("onnxruntime", "transformers", "sentence-transformers")

TABLE = "embeddings.position_embeddings.weight"
BIAS = "encoder.layer.1.output.dense.bias"
WORDS = "embeddings.word_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A valid model, with another beside it that is none of its business."""
    for name in ("model", "outside"):
        hostile.write(tmp_path / name)
    return tmp_path / "model"


def edit(folder: Path, file: str, **settings: Any) -> None:
    """Changes keys of a JSON file, which is made if it is not there."""
    (folder / file).parent.mkdir(exist_ok=True)
    read = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(read | settings))


def refused(folder: Path, backend: str = "onnxruntime") -> str:
    """The error's class and message, without the folder's path."""
    with pytest.raises(EmbedryError) as caught:
        resolve(folder, backend=backend, threads=1, cache_dir=folder.parent / "cache").encode_document(hostile.TEXTS)
    return f"{type(caught.value).__name__}: {caught.value}".replace(f"{folder}/", "").replace(str(folder), "MODEL")


def vectors(folder: Path, backend: str, texts: list[str]) -> Any:
    """Vectors of documents."""
    return resolve(folder, backend=backend, threads=1, cache_dir=folder.parent / "cache").encode_document(texts)


JSON_OF_THE_WRONG_FORM: list[tuple[Mutation, str]] = [
    (Set("modules.json", (), "a dict"), "IntegrityError: modules.json: expected `array`, got `object` at the top: {}"),
    (Set("modules.json", (), "null"), "IntegrityError: modules.json: expected `array`, got `null` at the top: None"),
    (Set("modules.json", (1,), "three"), "IntegrityError: modules.json: expected `object`, got `int` at [1]: 3"),
    (
        Set("modules.json", (), "a million texts"),
        f"IntegrityError: modules.json has {len(LARGE['a million texts'])} bytes; the maximum for this kind of file is 4194304",
    ),
    (
        Set("modules.json", (), "many modules"),
        "UnsupportedModelError: modules.json in MODEL lists 65000 modules; embedry reads no more than 64",
    ),
    (
        Set("sentence_bert_config.json", ("max_seq_length",), "NaN"),
        "IntegrityError: sentence_bert_config.json is not valid JSON, it is damaged or cut short: "
        "JSON is malformed: invalid character (byte 19)",
    ),
    (
        Set("sentence_bert_config.json", ("max_seq_length",), "1e400"),
        "IntegrityError: sentence_bert_config.json: number out of range at [...]",
    ),
    (
        Set("sentence_bert_config.json", ("max_seq_length",), "zero"),
        "IntegrityError: sentence_bert_config.json: expected `int` >= 1 at max_seq_length: 0",
    ),
    (
        Set("config.json", ("num_hidden_layers",), "10**400"),
        "IntegrityError: config.json: expected `int` <= 2147483647 at num_hidden_layers: "
        "100000000000000000...0000000000000000000",
    ),
    (
        Set("config.json", ("x",), "deep lists"),
        "IntegrityError: config.json is not valid JSON, it is damaged or cut short: "
        "maximum recursion depth exceeded while deserializing an object",
    ),
    (
        Replace("tokenizer.json", "300 MB of zeros"),
        "IntegrityError: tokenizer.json has 314572800 bytes; the maximum for this kind of file is 67108864",
    ),
    (
        Replace("config.json", "300 MB of zeros"),
        "IntegrityError: config.json has 314572800 bytes; the maximum for this kind of file is 4194304",
    ),
    (Replace("modules.json", "a pipe"), "IntegrityError: modules.json is not a regular file"),
]  # fmt: skip


@pytest.mark.parametrize(("mutation", "sentence"), JSON_OF_THE_WRONG_FORM)
def test_json_of_the_wrong_form_is_refused_with_the_place_and_the_value(
    model: Path, mutation: Mutation, sentence: str
) -> None:
    mutation.apply(model, model.parent / "outside")
    assert refused(model) == sentence


@pytest.mark.parametrize("content", ['{"a": ' + VALUES["deep lists"] + "}", '{"a": [], "b', '{"a": [], "b": 1e400}'])
def test_a_wrong_type_is_named_also_where_the_rest_of_the_file_cannot_be_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"config\.json: expected `int`, got `array` at \[\.\.\.\]$"):
        parsing.read(tmp_path, "config.json", dict[str, int])


def test_a_file_that_is_too_large_is_not_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Replace("modules.json", "300 MB of zeros").apply(model, model)
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: pytest.fail("it was read") if path.name == "modules.json" else read(path)
    )
    assert "has 314572800 bytes" in refused(model)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "change"), [(TABLE, "one row"), (BIAS, "one row"), (WORDS, "half"), (BIAS, "one more axis"), (TABLE, "flat")]
)  # fmt: skip
def test_a_tensor_of_a_wrong_shape_is_refused_by_its_name(model: Path, name: str, change: str, backend: str) -> None:
    Tensor("model.safetensors", name, change).apply(model, model)
    message = refused(model, backend)
    assert message.startswith("IntegrityError")
    assert name in message


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["I64", "BOOL", "F8_E4M3"])
def test_weights_that_are_no_floating_point_are_refused_by_the_tensors_name(
    model: Path, kind: str, backend: str
) -> None:
    Tensor("model.safetensors", BIAS, kind).apply(model, model)
    assert refused(model, backend) == (
        f"UnsupportedModelError: the tensor {BIAS!r} of model.safetensors is {kind}; weights must be one of "
        "F64, F32, F16, BF16"
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("max_position_embeddings", 64, f"the tensor {TABLE!r} of model.safetensors is (32, 8), and config.json says (64, 8)"),
        ("type_vocab_size", 2**30, f"the tensor {TYPES!r} of model.safetensors is (2, 8), and config.json says (1073741824, 8)"),
        ("num_hidden_layers", 10**9, "config.json of 'model' says num_hidden_layers=1000000000, and model.safetensors has only 37"),
        ("intermediate_size", 10**9, "config.json of 'model' says intermediate_size=1000000000, and the longest axis of a tensor"),
        ("num_attention_heads", 3, "config.json of 'model' has a hidden_size of 8, which its 3 attention heads do not divide"),
        ("num_labels", 10**9, "config.json: expected `int` <= 65536 at num_labels: 1000000000"),
    ],
)  # fmt: skip
def test_sizes_that_the_tensors_do_not_have_are_refused_before_anything_is_made_of_them(
    model: Path, key: str, value: int, sentence: str, backend: str
) -> None:
    edit(model, "config.json", **{key: value})
    assert refused(model, backend).startswith(f"IntegrityError: {sentence}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_tables_and_layers_of_other_sizes_than_stated_are_refused(model: Path, backend: str) -> None:
    edit(model, "2_Dense/config.json", out_features=2**31 - 1)
    assert "the tensor 'linear.weight' in the shape (4, 8), and the model's files say (2147483647, 8)" in (
        refused(model, backend)
    )
    edit(model, "2_Dense/config.json", out_features=hostile.DIMS)
    edit(model, "config.json", type_vocab_size=0)
    Tensor("model.safetensors", TYPES, "no rows").apply(model, model)
    assert f"config.json says type_vocab_size=0, and the table {TYPES!r} of model.safetensors must have a row" in (
        refused(model, backend)
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_norm_of_another_width_is_refused(model: Path, backend: str) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules.insert(2, {"idx": 9, "name": "9", "path": "norm", "type": "sentence_transformers.models.LayerNorm"})
    (model / "modules.json").write_text(json.dumps(modules))
    edit(model, "norm/config.json", dimension=hostile.WIDTH)
    save_file({f"norm.{name}": np.ones(1, np.float32) for name in ("weight", "bias")}, model / "norm/model.safetensors")
    assert refused(model, backend) == (
        "IntegrityError: norm/model.safetensors of 'model' has the tensor 'norm.weight' in the shape (1,), and the model's "
        "files say (8,)"
    )


@pytest.mark.parametrize(
    ("mutation", "fault"),
    [
        (HeaderLength("model.safetensors", 2**62), f"its header length of {2**62} bytes exceeds the maximum"),
        (HeaderLength("model.safetensors", 7), "cannot be read as safetensors"),
        (Header("model.safetensors", 3, "data_offsets.1", "2**63"), "cannot be read as safetensors"),
        (Header("model.safetensors", 3, "data_offsets.0", "zero"), "cannot be read as safetensors"),
        (Tensor("model.safetensors", WORDS, "endless and empty"), WORDS),
    ],
)
def test_a_header_that_is_not_true_is_refused(model: Path, mutation: Mutation, fault: str) -> None:
    mutation.apply(model, model)
    message = refused(model)
    assert message.startswith("IntegrityError")
    assert fault in message


REFUSED_BY_NAME: dict[str, tuple[str, Any]] = {
    "transformers_weights": ("config.json", "other.safetensors"),
    "attn_implementation": ("config.json", "acme/kernel"),
    "_attn_implementation": ("config.json", "acme/kernel"),
    "quantization_config": ("config.json", {"quant_method": "bitsandbytes"}),
    "adapter_config.json": ("adapter_config.json", "acme/model"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", REFUSED_BY_NAME)
def test_what_no_engine_runs_is_refused_by_its_name(model: Path, key: str, backend: str) -> None:
    file, value = REFUSED_BY_NAME[key]
    (model / "other.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    edit(model, file, **{key: value})
    message = refused(model, backend)
    assert message.startswith("UnsupportedModelError")
    assert key in message


@pytest.mark.parametrize("path", ["../outside/1_Pooling", "../../x", "/abs", "ABSOLUTE", "..\\outside", "1_Pooling/../../outside"])  # fmt: skip
def test_a_path_that_leads_out_is_refused_and_nothing_of_what_is_there_is_told(model: Path, path: str) -> None:
    path = path.replace("ABSOLUTE", str(model.parent / "outside" / "1_Pooling"))
    (model.parent / "outside" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "the secret"}')
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = path
    (model / "modules.json").write_text(json.dumps(modules))
    message = refused(model)
    assert message == f"IntegrityError: the model in MODEL names the file {path!r}, which is outside its folder"


@pytest.mark.parametrize("by", ["a link out", "a relative link out", "a link out of the folder"])
@pytest.mark.parametrize("file", ["1_Pooling/config.json", "2_Dense/model.safetensors", "tokenizer.json"])
def test_a_link_that_leads_out_is_refused(model: Path, file: str, by: str) -> None:
    Replace(file, by).apply(model, model.parent / "outside")
    assert "which is outside the model's folder" in refused(model)


@pytest.mark.parametrize(
    ("by", "error"),
    [("a link to itself", IntegrityError), ("a folder", WeightsNotFoundError), ("a pipe", WeightsNotFoundError)],
)
def test_what_is_no_file_is_not_opened(model: Path, by: str, error: type[EmbedryError]) -> None:
    Replace("model.safetensors", by).apply(model, model)
    with pytest.raises(error, match=r"model\.safetensors"):
        resolve(model)


@pytest.mark.parametrize("name", ["x" * 5000, "1_Pooling\0"])
def test_a_name_that_no_file_can_have_is_refused(model: Path, name: str) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = name
    (model / "modules.json").write_text(json.dumps(modules))
    assert refused(model).startswith(f"IntegrityError: the model in MODEL has no file {name[:100]!r}: ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_text_without_tokens_is_a_zero_vector_and_harms_no_other(model: Path, backend: str) -> None:
    hostile.write_tokenizer(model / "tokenizer.json", special_tokens=False)
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (model / "config_sentence_transformers.json").unlink()
    found = vectors(model, backend, ["", "hello world", "", "the cat"])
    np.testing.assert_array_equal(found[[0, 2]], 0)
    np.testing.assert_allclose(np.linalg.norm(found[[1, 3]], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[[1, 3]], vectors(model, backend, ["hello world", "the cat"]), atol=1e-6)
    np.testing.assert_array_equal(vectors(model, backend, [""]), np.zeros((1, hostile.DIMS), dtype=np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_sharded_weights_are_the_same_model(model: Path, tmp_path: Path, backend: str) -> None:
    hostile.write(tmp_path / "sharded", shards=2)
    np.testing.assert_array_equal(
        vectors(tmp_path / "sharded", backend, hostile.TEXTS), vectors(model, backend, hostile.TEXTS)
    )


def test_the_values_of_a_tensor_may_be_written(model: Path) -> None:
    """Libraries warn of arrays that may not."""
    found = weights.tensors(model / "model.safetensors")
    assert all(tensor.values().flags.writeable for tensor in found.values())
    assert set(found) == set(split(model / "model.safetensors")[0]) - {"__metadata__"}
