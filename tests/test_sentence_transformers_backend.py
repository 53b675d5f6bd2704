"""The sentence-transformers backend: every module, pooling and input handling of the library, with the library's vectors."""

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from checkpoints import FAMILIES, WIDTH
from embedry import (
    IntegrityError,
    LibraryModule,
    ModelSpec,
    Normalize,
    OptionError,
    Pooling,
    TextTooLongError,
    TruncationWarning,
    UnsupportedModelError,
    _layouts,
    resolve,
)
from embedry.backend import TextEncoder
from embedry.views import LazyEmbedder

LONGEST = 128
LENGTHS = (0, 1, 2, 7, 7, 33, 100, LONGEST - 3, LONGEST - 2, 300)
WORDS = ["Paper", "river", "Seven", "cloud", "Against", "music", "Window", "early", "market", "garden", "because"]
TEXTS = [" ".join(WORDS[(n * n + at * seed) % len(WORDS)] for at in range(n)) for seed, n in enumerate(LENGTHS, 1)]
PROMPTS = {"query": "query: ", "document": "passage of a text: "}

Checkpoint = Callable[..., Path]


def embedder(model: Path | ModelSpec, **options: Any) -> LazyEmbedder:
    """The embedder under test."""
    return resolve(model, backend="sentence-transformers", **options)


def reference(model: Path) -> SentenceTransformer:
    """The library itself."""
    return SentenceTransformer(str(model), device="cpu")


def changed(model: Path, folder: Path, file: str, **settings: Any) -> Path:
    """A copy of a checkpoint with these settings in one of its files; None takes a setting out."""
    shutil.copytree(model, folder)
    read = json.loads((folder / file).read_text()) | settings
    (folder / file).write_text(json.dumps({name: value for name, value in read.items() if value is not None}))
    return folder


def furthest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference of two numbers at the same place."""
    assert one.shape == other.shape
    assert np.ptp(other, axis=0).max() > 0.01, "the texts must be told apart, or this proves nothing"
    return float(np.abs(one - other).max())


@pytest.fixture
def reading_cased(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A model that lowers its texts itself, with a tokenizer that would not."""
    folder = changed(
        checkpoint("bert", prompts=PROMPTS), tmp_path / "cased", "sentence_bert_config.json", do_lower_case=True
    )
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def without_prompt_in_pooling(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A model whose mean leaves the prompt's tokens out."""
    plain = checkpoint("bert", prompts=PROMPTS)
    return changed(plain, tmp_path / "excluding", "1_Pooling/config.json", include_prompt=False)


@pytest.fixture
def static(minilm_folder: Path, tmp_path: Path) -> ModelSpec:
    """A table of vectors without a transformer."""
    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    table = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), WIDTH)).astype(np.float32)
    folder = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu").save(str(folder))
    files = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"]
    return ModelSpec(
        name="static", folder=str(folder), files=dict.fromkeys(files), transformer=None, architecture="static",
        chain=(LibraryModule(class_name="sentence_transformers.models.StaticEmbedding", path=""),), preferred_backend="sentence-transformers", dims=WIDTH, max_seq_length=64,
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_model_gives_the_vectors_of_the_library_and_of_the_default_backend(
    checkpoint: Checkpoint, family: str
) -> None:
    model = checkpoint(family)
    vectors = embedder(model).encode_document(TEXTS)
    assert furthest(vectors, reference(model).encode(TEXTS)) <= 1e-5
    assert furthest(vectors, resolve(model, backend="onnxruntime").encode_document(TEXTS)) <= 1e-5


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_a_dense_layer_gives_the_vectors_of_the_library_at_its_length(checkpoint: Checkpoint, family: str) -> None:
    model = checkpoint(family, dense=16)
    vectors = embedder(model).encode_document(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)
    assert embedder(model).dims == 16
    assert furthest(vectors, reference(model).encode(TEXTS)) <= 1e-5
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_every_pooling_gives_the_vectors_of_the_library(checkpoint: Checkpoint, pooling: str) -> None:
    model = checkpoint("bert", pooling)
    assert furthest(embedder(model).encode_document(TEXTS), reference(model).encode(TEXTS)) <= 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode": ["mean", "max"]},
        {"pooling_mode": None, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
        | {"embedding_dimension": None, "word_embedding_dimension": WIDTH},
    ],
    ids=["named", "switched"],
)
def test_poolings_that_are_joined_give_the_vectors_of_the_library(
    checkpoint: Checkpoint, tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = changed(checkpoint("bert"), tmp_path / "joined", "1_Pooling/config.json", **settings)
    assert embedder(model).dims == 2 * WIDTH
    assert furthest(embedder(model).encode_document(TEXTS), reference(model).encode(TEXTS)) <= 1e-5


def test_a_query_and_a_document_have_the_prompts_of_the_library(checkpoint: Checkpoint) -> None:
    model = checkpoint("bert", prompts=PROMPTS, dense=16)
    query, document = embedder(model).encode_query(TEXTS), embedder(model).encode_document(TEXTS)
    assert furthest(query, reference(model).encode_query(TEXTS)) <= 1e-5
    assert furthest(document, reference(model).encode_document(TEXTS)) <= 1e-5
    assert furthest(query, document) > 0.01


@pytest.mark.parametrize("options", [{}, {"dense": 16}], ids=["plain", "dense"])
def test_without_normalizing_vectors_are_those_of_the_chain_without_it(
    checkpoint: Checkpoint, options: dict[str, Any]
) -> None:
    bare = reference(checkpoint("bert", normalize=False, **options)).encode(TEXTS)
    assert np.abs(np.linalg.norm(bare, axis=1) - 1).min() > 0.1
    assert furthest(embedder(checkpoint("bert", **options), normalize=False).encode_document(TEXTS), bare) <= 1e-5


def test_a_model_that_lowers_its_texts_itself_gives_the_vectors_of_the_library(reading_cased: Path) -> None:
    vectors = embedder(reading_cased).encode_query(TEXTS)
    assert furthest(vectors, reference(reading_cased).encode_query(TEXTS)) <= 1e-5
    assert furthest(vectors, embedder(reading_cased).encode_query([text.upper() for text in TEXTS])) <= 1e-5


def test_a_mean_without_the_prompts_tokens_is_that_of_the_library(
    without_prompt_in_pooling: Path, checkpoint: Checkpoint
) -> None:
    vectors = embedder(without_prompt_in_pooling).encode_query(TEXTS)
    assert furthest(vectors, reference(without_prompt_in_pooling).encode_query(TEXTS)) <= 1e-5
    assert furthest(vectors, embedder(checkpoint("bert", prompts=PROMPTS)).encode_query(TEXTS)) > 0.01


def test_a_table_of_vectors_without_a_transformer_gives_the_vectors_of_the_library(static: ModelSpec) -> None:
    assert static.folder is not None
    expected = reference(Path(static.folder)).encode(TEXTS)
    assert furthest(embedder(static).encode_document(TEXTS), expected) <= 1e-5
    unit = embedder(static, normalize=True).encode_document(TEXTS[1:])
    np.testing.assert_allclose(unit, expected[1:] / np.linalg.norm(expected[1:], axis=1, keepdims=True), atol=1e-6)


def test_a_default_prompt_is_not_put_before_a_role_that_has_its_own_or_none(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    plain = checkpoint("bert", prompts={"query": "query: ", "document": "", "other": "another thing: "})
    settings = {"default_prompt_name": "other"}
    folder = changed(plain, tmp_path / "default", "config_sentence_transformers.json", **settings)
    model = changed(folder, tmp_path / "model", "1_Pooling/config.json", include_prompt=False)
    for role in ("query", "document"):
        expected = getattr(reference(model), f"encode_{role}")(TEXTS)
        assert furthest(embedder(model).encode(TEXTS, role=role), expected) <= 1e-5


@pytest.mark.parametrize("kind", ["reading_cased", "without_prompt_in_pooling", "static"])
def test_a_text_too_long_for_a_model_with_its_own_input_is_treated_as_the_policy_says(
    request: pytest.FixtureRequest, kind: str
) -> None:
    model = request.getfixturevalue(kind)
    room = embedder(model).max_seq_length - (0 if kind == "static" else 2)
    prompt = 0 if kind == "static" else 2  # "query", ":"
    texts = [" ".join(["word"] * length) for length in (room - prompt, 3, room - prompt + 1)]
    embedder(model, on_overflow="error").encode_query(texts[:2])
    with pytest.raises(TextTooLongError, match="1 of 3 texts have more than"):
        embedder(model, on_overflow="error").encode_query(texts)
    with pytest.warns(TruncationWarning, match="at positions 2; ") as caught:
        vectors = embedder(model, on_overflow="warn").encode_query(texts)
    assert len(caught) == 1
    np.testing.assert_allclose(vectors, embedder(model).encode_query(texts), atol=1e-6)


def test_a_model_with_its_own_input_reads_as_many_tokens_as_its_entry_says(reading_cased: Path) -> None:
    shorter = reference(reading_cased)
    shorter.max_seq_length = 16
    entry = replace(_layouts.from_folder(reading_cased), max_seq_length=16)
    assert furthest(embedder(entry).encode_query(TEXTS), shorter.encode_query(TEXTS)) <= 1e-5


@pytest.mark.parametrize("kind", ["without_prompt_in_pooling", "static"])
def test_a_length_that_a_model_with_its_own_input_would_not_keep_to_is_refused(
    request: pytest.FixtureRequest, kind: str
) -> None:
    with pytest.raises(OptionError, match=r"max_seq_length=16 is not supported: .* tokenizes texts itself"):
        embedder(request.getfixturevalue(kind), max_seq_length=16).embed_query("a text")


def test_a_model_with_its_own_input_cuts_texts_while_another_thread_measures_them(
    without_prompt_in_pooling: Path,
) -> None:
    shared = embedder(without_prompt_in_pooling)
    engine = shared.engine.load().encoder
    assert isinstance(engine, TextEncoder)
    expected = shared.encode_query(TEXTS[-1:])
    tokens = len(TEXTS[-1].split()) + 2

    def work(number: int) -> None:
        if number % 2:
            assert engine.lengths(TEXTS[-1:]) == [tokens]
        else:
            np.testing.assert_allclose(shared.encode_query(TEXTS[-1:]), expected, atol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("options", [{}, {"dense": 16}], ids=["plain", "dense"])
def test_half_precision_is_computed_stated_and_close(
    checkpoint: Checkpoint, options: dict[str, Any], precision: str
) -> None:
    model = checkpoint("bert", **options)
    halved = embedder(model, precision=precision)
    difference = furthest(halved.encode_document(TEXTS), embedder(model).encode_document(TEXTS))
    assert 1e-6 < difference <= {"fp16": 2e-3, "bf16": 2e-2}[precision]
    assert halved.info["precision"] == precision


@pytest.mark.parametrize("device", ["cuda", "cuda:first"])
def test_a_device_that_is_not_here_is_refused(checkpoint: Checkpoint, device: str) -> None:
    if torch.cuda.is_available() and device == "cuda":
        pytest.skip("it is here")
    with pytest.raises(OptionError, match=f"device='{device}' is not available"):
        embedder(checkpoint("bert"), device=device).embed_query("a text")


def missing(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def left_over(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[f"more.{name}"] = torch.ones(2, 2)


def of_another_shape(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.ones(5, 7)


@pytest.mark.parametrize("damage", [missing, left_over, of_another_shape])
@pytest.mark.parametrize(
    ("file", "name"),
    [("model.safetensors", "encoder.layer.1.output.dense.weight"), ("2_Dense/model.safetensors", "linear.weight")],
    ids=["transformer", "dense"],
)
def test_a_tensor_that_does_not_fit_is_refused_by_its_name(
    checkpoint: Checkpoint,
    tmp_path: Path,
    file: str,
    name: str,
    damage: Callable[[dict[str, torch.Tensor], str], None],
) -> None:
    model = Path(shutil.copytree(checkpoint("bert", dense=16), tmp_path / "model"))
    tensors = load_file(model / file)
    damage(tensors, name)
    save_file(tensors, model / file, metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=rf"(?s)of 'model' .*{name}"):
        embedder(model, cache_dir=tmp_path / "cache").embed_query("a text")


def test_damage_in_the_weights_of_a_dense_layer_is_seen(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = Path(shutil.copytree(checkpoint("bert", dense=16), tmp_path / "model"))
    tensors = load_file(model / "2_Dense" / "model.safetensors")
    tensors["linear.weight"].zero_()
    save_file(tensors, model / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=r"'linear\.weight' of .*2_Dense.* is all zeros"):
        embedder(model, cache_dir=tmp_path / "cache").embed_query("a text")


def test_the_entry_decides_the_pooling_not_a_file_that_it_does_not_list(checkpoint: Checkpoint) -> None:
    mean = checkpoint("bert")
    entry = replace(_layouts.from_folder(mean), chain=(Pooling(mode="cls"), Normalize()))
    assert "modules.json" not in entry.files
    expected = resolve(checkpoint("bert", "cls"), backend="onnxruntime").encode_document(TEXTS)
    assert furthest(embedder(entry).encode_document(TEXTS), expected) <= 1e-5


@pytest.mark.parametrize("where", ["config.json", "modules.json"])
def test_code_that_comes_with_a_model_is_never_run(checkpoint: Checkpoint, tmp_path: Path, where: str) -> None:
    model = Path(shutil.copytree(checkpoint("bert", dense=16), tmp_path / "model"))
    left = tmp_path / "left-by-the-code"
    (model / "theirs.py").write_text(f"open({str(left)!r}, 'w').close()\nclass Theirs: pass\n")
    content = json.loads((model / where).read_text())
    if where == "config.json":
        content |= {
            "auto_map": {"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Theirs"},
            "model_type": "unheard-of",
        }
    else:
        content[2]["type"] = "theirs.Theirs"
    (model / where).write_text(json.dumps(content))
    with pytest.raises(UnsupportedModelError, match="code that comes with a model"):
        embedder(model).embed_query("a text")
    assert not left.exists()


def test_loading_and_encoding_write_nothing_on_stderr(
    checkpoint: Checkpoint, tmp_path: Path, fresh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    from transformers import AutoModel, AutoModelForMaskedLM

    model = Path(shutil.copytree(checkpoint("bert", dense=16), tmp_path / "model"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headed = AutoModelForMaskedLM.from_config(AutoModel.from_pretrained(model).config)
        headed.save_pretrained(tmp_path / "raw")
    shutil.copy(tmp_path / "raw" / "model.safetensors", model)
    result = fresh(
        f"from embedry import resolve\nresolve({str(model)!r}, backend='sentence-transformers').encode_query(['a'] * 99)",
        env={"PYTHONWARNINGS": "default", "EMBEDRY_CACHE": os.environ["EMBEDRY_CACHE"]},
    )
    assert result.stderr == ""


def test_an_activation_that_the_library_would_replace_by_another_is_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    own = {"activation_function": "their_code.Swish"}
    model = changed(checkpoint("bert", dense=16), tmp_path / "model", "2_Dense/config.json", **own)
    with pytest.raises(UnsupportedModelError, match=r"2_Dense/config\.json .* the activation 'their_code\.Swish'"):
        embedder(model).load()
