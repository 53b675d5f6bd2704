"""Static models give the vectors of the two libraries that make them: sentence-transformers and model2vec."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model2vec import StaticModel
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from embedry import IntegrityError, Matryoshka, ModelSpec, SpecError, UnsupportedModelError, resolve
from embedry import StaticEmbedding as Table
from embedry.spec import NO_LIMIT
from embedry.testing import Conformance, Subject
from entries import entry
from small_hub import SmallHub

WIDTH = 48
CLOSE = 1e-6
WORDS = [
    "paper",
    "river",
    "unbelievably",
    "cloud",
    "☃",
    "against",
    "musicology",
    "window",
    "漢",
    "market",
    "x" * 120,
    "because",
]
LENGTHS = np.unique(np.geomspace(1, 1500, 60).astype(int))
TEXTS = [
    "",
    " ",
    "☃",
    "☃ ☂",
    *(" ".join(WORDS[(n * n + at) % len(WORDS)] for at in range(n)) for n in (*LENGTHS, 6000, 6001, 6002)),
]

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def tokenizer(minilm_folder: Path) -> Tokenizer:
    """A WordPiece tokenizer that does not know every word."""
    found = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


@pytest.fixture(scope="module")
def table(tokenizer: Tokenizer) -> Vectors:
    return np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def st_folder(tokenizer: Tokenizer, table: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as sentence-transformers saves it."""
    folder = tmp_path_factory.mktemp("static") / "model"
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table), Normalize()], device="cpu").save(
        str(folder)
    )
    return folder


@pytest.fixture(scope="module")
def m2v_folder(tokenizer: Tokenizer, table: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as model2vec saves it."""
    folder = tmp_path_factory.mktemp("model2vec") / "model"
    StaticModel(table, tokenizer, normalize=True, max_length=512).save_pretrained(folder)
    return only_model2vec(folder)


def only_model2vec(folder: Path) -> Path:
    """What model2vec saved, less what it writes for sentence-transformers, and with its type, as files on the hub have it."""
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "model2vec"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def reference(folder: Path, **options: int) -> SentenceTransformer:
    """The library, computing in float64: in float32 it loses digits in sums of thousands of rows, and embedry does not."""
    return SentenceTransformer(str(folder), device="cpu", **options).double()


def alone(model: Path | ModelSpec, texts: list[str]) -> Vectors:
    embedder = resolve(model)
    return np.concatenate([embedder.encode_document([text]) for text in texts])


def test_a_folder_of_sentence_transformers_gives_its_vectors(st_folder: Path) -> None:
    embedder = resolve(st_folder)
    assert embedder.spec.preferred_backend == "static"
    assert embedder.spec.chain[0] == Table(path="", outputs=WIDTH)
    assert embedder.max_seq_length == NO_LIMIT
    expected = reference(st_folder).encode(TEXTS)
    assert np.abs(embedder.encode_document(TEXTS) - expected).max() <= CLOSE
    assert np.abs(alone(st_folder, TEXTS) - expected).max() <= CLOSE
    assert not expected[0].any(), "a text without tokens is 0"


def test_sums_of_thousands_of_rows_keep_their_digits(st_folder: Path, table: Vectors, tokenizer: Tokenizer) -> None:
    for text in TEXTS[-6:]:
        mean = table[tokenizer.encode(text, add_special_tokens=False).ids].astype(np.float64).mean(axis=0)
        found = resolve(st_folder, normalize=False).encode_document([text])[0]
        assert np.abs(found - mean).max() <= 5e-7


def test_a_folder_of_model2vec_gives_its_vectors(m2v_folder: Path, tokenizer: Tokenizer) -> None:
    embedder = resolve(m2v_folder)
    assert embedder.spec.chain[0] == Table(outputs=WIDTH, tensor="embeddings", skip_unknown=True)
    assert embedder.max_seq_length == 512
    # Of a text longer than the median token times 512 model2vec reads no more characters; here all tokens are looked at.
    model = StaticModel.from_pretrained(m2v_folder)
    model.median_token_length = 10**6
    expected = model.encode(TEXTS)
    assert np.abs(embedder.encode_document(TEXTS) - expected).max() <= CLOSE
    assert np.abs(alone(m2v_folder, TEXTS) - expected).max() <= CLOSE
    unknown = tokenizer.token_to_id("[UNK]")
    assert {unknown} == set(tokenizer.encode(TEXTS[3], add_special_tokens=False).ids)
    assert not expected[3].any(), "a text of unknown words alone is 0"


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_a_table_in_half_precision_is_read_as_float32(kind: str, st_folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(st_folder, tmp_path / "model"))
    halved = load_file(folder / "model.safetensors")["embedding.weight"].to(
        {"F16": torch.float16, "BF16": torch.bfloat16}[kind]
    )
    save_file({"embedding.weight": halved}, folder / "model.safetensors")
    single = Path(shutil.copytree(st_folder, tmp_path / "single"))
    save_file({"embedding.weight": halved.float()}, single / "model.safetensors")
    expected = reference(single).encode(TEXTS)
    assert np.abs(resolve(folder).encode_document(TEXTS) - expected).max() <= CLOSE


def test_tokens_may_share_rows_with_weights_of_their_own(m2v_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(m2v_folder, tmp_path / "model"))
    rng = np.random.default_rng(1)
    whole = load_file(folder / "model.safetensors")["embeddings"]
    shared = {
        "embeddings": np.ascontiguousarray(whole[:500]),
        "mapping": rng.integers(0, 500, len(whole)),
        "weights": rng.random(len(whole)).astype(np.float32),
    }
    save_file(shared, folder / "model.safetensors")
    model = StaticModel.from_pretrained(folder)
    model.median_token_length = 10**6
    assert np.abs(resolve(folder).encode_document(TEXTS) - model.encode(TEXTS)).max() <= CLOSE
    for name, damaged, sentence in (
        ("mapping", shared["mapping"] + 1, "'mapping' of .* names rows beyond the 500 of the table"),
        (
            "weights",
            shared["weights"][:-1].copy(),
            f"'weights' of .* has {len(whole) - 1} values for {len(whole)} tokens",
        ),
    ):
        save_file(shared | {name: damaged}, folder / "model.safetensors")
        with pytest.raises(IntegrityError, match=sentence):
            resolve(folder).load()


def test_shorter_vectors_are_cut_before_they_are_normalized(st_folder: Path) -> None:
    spec = replace(resolve(st_folder).spec, matryoshka=Matryoshka(dims=(16,)))
    expected = reference(st_folder, truncate_dim=16).encode(TEXTS[4:], normalize_embeddings=True)
    assert np.abs(resolve(spec, dims=16).encode_document(TEXTS[4:]) - expected).max() <= CLOSE


def test_prompts_and_lengths_hold_for_static_models(st_folder: Path, tokenizer: Tokenizer) -> None:
    spec = replace(resolve(st_folder).spec, prompts={"query": "find: "}, max_seq_length=5)
    embedder = resolve(spec)
    np.testing.assert_array_equal(
        embedder.encode_query(["paper river window market"]), embedder.encode_document(["find: paper river window"])
    )
    prepared = embedder.prepare(TEXTS, role="document")
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch(TEXTS, add_special_tokens=False)]
    assert prepared.tokens == [min(count, 5) for count in counts]
    assert embedder.count_tokens(TEXTS, role="document") == counts


FAULTS: dict[str, tuple[Callable[[Path], None], type[Exception], str]] = {
    "another width": (
        lambda folder: save_file({"embedding.weight": np.ones((40000, 7), np.float32)}, folder / "model.safetensors"),
        IntegrityError, r"must have the table 'embedding.weight' with rows of 48, and it is \(40000, 7\)",
    ),
    "too few rows": (
        lambda folder: save_file({"embedding.weight": np.ones((100, WIDTH), np.float32)}, folder / "model.safetensors"),
        IntegrityError, "tokenizer.json has the token id .*, and the table of .* has rows for 0 to 99",
    ),
    "another name": (
        lambda folder: save_file({"table": np.ones((40000, WIDTH), np.float32)}, folder / "model.safetensors"),
        IntegrityError, "has no table 'embedding.weight'; it has table",
    ),
    "integers": (
        lambda folder: save_file({"embedding.weight": np.ones((40000, WIDTH), np.int8)}, folder / "model.safetensors"),
        UnsupportedModelError, "is I8; weights must be one of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_table_that_is_not_the_entrys_is_refused(case: str, st_folder: Path, tmp_path: Path) -> None:
    damage, kind, sentence = FAULTS[case]
    spec = replace(resolve(st_folder).spec, folder=str(shutil.copytree(st_folder, tmp_path / "model")))
    damage(tmp_path / "model")
    with pytest.raises(kind, match=sentence):
        resolve(spec).load()


def test_a_table_of_integers_of_model2vec_is_refused(m2v_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(m2v_folder, tmp_path / "model"))
    StaticModel.from_pretrained(folder, quantize_to="int8").save_pretrained(folder)
    only_model2vec(folder)
    with pytest.raises(UnsupportedModelError, match=r"'embeddings' of .* is I8; it must be one of F32, F16, BF16"):
        resolve(folder).load()


def test_other_backends_refuse_static_models_and_name_the_one_that_runs_them(st_folder: Path) -> None:
    for backend in ("onnxruntime", "transformers", "sentence-transformers"):
        with pytest.raises(UnsupportedModelError, match="it does not run StaticEmbedding; try backend='static'"):
            resolve(st_folder, backend=backend)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"chain": (Table(outputs=48),)}, "transformer must be None"),
        (
            {"transformer": None, "chain": (Table(outputs=48), Table(outputs=48))},
            "a StaticEmbedding that is not its first module",
        ),
        (
            {"transformer": None, "chain": (Table(outputs=47),)},
            "the chain ends with vectors of length 47, but dims is 48",
        ),
        ({"transformer": None, "chain": (Table(path="0", outputs=48),)}, "files lacks '0/model.safetensors'"),
        (
            {"transformer": None, "chain": (Table(path="0", outputs=48),), "files": {"0/model.safetensors": None}},
            "files lacks '0/tokenizer.json'",
        ),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        entry(**changes)


def test_the_table_is_mapped_and_not_copied(st_folder: Path) -> None:
    encoder = resolve(st_folder).engine.load().encoder
    assert isinstance(encoder._table.base, np.memmap)  # type: ignore[union-attr]


def test_a_table_in_a_folder_of_its_own_is_found(st_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(st_folder, tmp_path / "model"))
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(folder / "0_StaticEmbedding" / name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_StaticEmbedding"
    (folder / "modules.json").write_text(json.dumps(listed))
    assert resolve(folder).spec.chain[0] == Table(path="0_StaticEmbedding", outputs=WIDTH)
    np.testing.assert_array_equal(
        resolve(folder).encode_document(TEXTS[:40]), resolve(st_folder).encode_document(TEXTS[:40])
    )


@pytest.mark.parametrize("layout", ["sentence-transformers", "model2vec"])
def test_a_static_repository_on_the_hub_is_read_with_its_table(
    layout: str, st_folder: Path, m2v_folder: Path, small_hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = st_folder if layout == "sentence-transformers" else m2v_folder
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    commit = small_hub.commit("acme/static", files)
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    found = resolve("acme/static")
    assert found.spec.chain == resolve(folder).spec.chain
    assert found.spec.revision == commit
    np.testing.assert_array_equal(found.encode_document(TEXTS[:20]), resolve(folder).encode_document(TEXTS[:20]))


class TestStaticModel(Conformance):
    """What every embedder must hold to."""

    @pytest.fixture
    def subject(self, st_folder: Path) -> Subject:
        return Subject(str(st_folder))
