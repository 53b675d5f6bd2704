"""Each engine gives the vectors of sentence-transformers for a folder, or says what in it it does not run."""

import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import IntegrityError, UnsupportedModelError, WeightsNotFoundError, resolve
from folder_table import FOLDERS
from folders import TEXTS, Made, save_all

ENGINES = ("onnxruntime", "transformers", "sentence-transformers")
ROLES = ("query", "document")
CLOSE = 1e-5
"""The greatest difference in a component that rounding explains."""

Vectors = NDArray[np.float32]

_OURS = ("onnxruntime", "transformers")

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "Dense with a residual": (_OURS, "modules.dense.Dense as 2_Dense sets it up; try backend='sentence-transformers'"),
    "Dense with a residual of its own": (_OURS, "modules.dense.Dense as 2_Dense sets it up"),
    "Dense Hardtanh": (_OURS, "modules.dense.Dense as 2_Dense sets it up"),
    "CNN": (_OURS, "modules.cnn.CNN as 1_CNN sets it up; try backend='sentence-transformers'"),
    "WeightedLayerPooling": (_OURS, "WeightedLayerPooling as 1_WeightedLayerPooling sets it up"),
    "prompt left out of the pooling": (_OURS, "its pooling leaves out the prompt, which token ids do not tell"),
    "mish": (("onnxruntime",), "its config.json asks for the activation 'mish'"),
    "looks back only": (("onnxruntime",), "its config.json asks for attention that only looks back"),
    "roberta of 514 tokens": (ENGINES, "has positions for 512 tokens, and max_seq_length=514 asks for more"),
    "roberta whose padding has id 3": (ENGINES, "has positions for 62 tokens, and max_seq_length=64 asks for more"),
    "fewer positions than config.json says": (ENGINES, "position_embeddings.weight"),
    "a token beyond the table": (ENGINES, "tokenizer.json has the token id 3999, and the table"),
    "code of its own": (
        ENGINES,
        "config.json sets auto_map.AutoModel to 'modeling.Mine': the model needs code of its own",
    ),
    "relative positions": (
        ENGINES,
        "config.json sets position_embedding_type to 'relative_key', which no engine of embedry computes",
    ),
    "a space in one file": (ENGINES, "tokenizer.json beside it disagree about add_prefix_space: True"),
    "other tokens around a text": (ENGINES, "disagree about post_processor: ['[CLS]', '[SEP]']"),
    "lowercased in tokenizer.json alone": (ENGINES, "disagree about normalizer: None"),
    "truncate_dim": (ENGINES, "sets truncate_dim to 16, which no engine of embedry honors"),
    "SparseEncoder": (
        ENGINES,
        "lists Transformer, Pooling, Normalize for documents; of sparse embedders embedry computes",
    ),
    "custom class": (ENGINES, "names the class 'custom_st.Transformer': the model needs code of its own"),
    "custom activation": (ENGINES, "2_Dense/config.json"),
    "Dense of pickled weights": (ENGINES, "has no 2_Dense/model.safetensors; it has pytorch_model.bin, a pickle"),
    "pickled weights": (ENGINES, "has no model.safetensors; it has pytorch_model.bin, a pickle"),
    "no tokenizer.json": (ENGINES, "has no tokenizer.json; make one with transformers"),
    "static": (ENGINES, "it does not run StaticEmbedding; try backend='static'"),
    "adapter": (ENGINES, "has adapter_config.json: an adapter over another model's weights"),
    "options for the library's own loading": (ENGINES, "set model_args to {'attn_implementation': 'eager'}"),
}
"""Folder -> the engines that refuse it, and a part of what they say. Every other engine runs every other folder."""


@dataclass(frozen=True)
class Cell:
    """What one engine makes of one folder: how far its vectors are from the library's, or why it makes none."""

    distance: float = 0.0
    refusal: str = ""

    def __str__(self) -> str:
        return f"refused: {self.refusal}" if self.refusal else f"{self.distance:.1e}"


def reference(folder: Path, made: Made) -> dict[str, Vectors]:
    """Vectors of the texts for each role by sentence-transformers, float32 (texts, dims)."""
    import torch
    from sentence_transformers import SentenceTransformer

    options = {"dtype": torch.float32} if made.fp32 else {}
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=options)
    encode: dict[str, Callable[..., Vectors]] = {"query": model.encode_query, "document": model.encode_document}
    batches = [[text] for text in TEXTS] if made.alone else [list(TEXTS)]
    prompts = {role: {"prompt_name": made.roles[role]} if role in made.roles else {} for role in ROLES}
    return {role: np.concatenate([encode[role](batch, **prompts[role]) for batch in batches]) for role in ROLES}


def cell(folder: Path, engine: str, expected: dict[str, Vectors] | None, cache_dir: Path) -> Cell:
    try:
        embedder = resolve(folder, backend=engine, cache_dir=cache_dir, threads=1)
        vectors = {role: embedder.encode(TEXTS, role=role) for role in ROLES}
    except (UnsupportedModelError, IntegrityError, WeightsNotFoundError) as error:
        return Cell(refusal=str(error))
    if expected is None or any(vectors[role].shape != expected[role].shape for role in ROLES):
        return Cell(distance=float("inf"))
    return Cell(max(float(np.abs(vectors[role] - expected[role]).max()) for role in ROLES))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> dict[str, Path]:
    """Every folder of `folders.py` by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save_all(tmp_path_factory.mktemp("folders"), minilm_folder / "tokenizer.json", FOLDERS)


@pytest.fixture(scope="session")
def references(folders: dict[str, Path]) -> dict[str, dict[str, Vectors]]:
    """What sentence-transformers makes of each folder that some engine runs."""
    run = {name: made for name, made in FOLDERS.items() if set(REFUSED.get(name, ((), ""))[0]) != set(ENGINES)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: reference(folders[name], made) for name, made in run.items()}


@pytest.fixture(scope="session")
def table(
    folders: dict[str, Path], references: dict[str, dict[str, Vectors]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Cell]]:
    """What each engine makes of each folder."""
    cache_dir = tmp_path_factory.mktemp("cache")
    return {
        name: {engine: cell(folder, engine, references.get(name), cache_dir) for engine in ENGINES}
        for name, folder in folders.items()
    }


def test_every_engine_gives_the_vectors_of_sentence_transformers_or_says_what_it_does_not_run(
    table: dict[str, dict[str, Cell]],
) -> None:
    lines = [
        " | ".join([f"{name:40}", *(f"{cells[engine]!s:21.60}" for engine in ENGINES)]) for name, cells in table.items()
    ]
    print("\n".join([" | ".join([f"{'':40}", *(f"{engine:21}" for engine in ENGINES)]), *lines]))
    wrong = {}
    for name, cells in table.items():
        refusing, part = REFUSED.get(name, ((), ""))
        for engine, found in cells.items():
            right = part in found.refusal if engine in refusing else not found.refusal and found.distance <= CLOSE
            if not right or (engine in refusing) != bool(found.refusal):
                wrong[name, engine] = str(found)
    assert wrong == {}
    assert sum(not cells["onnxruntime"].refusal for cells in table.values()) >= 25


def test_the_texts_tell_the_folders_apart(references: dict[str, dict[str, Vectors]]) -> None:
    """A folder that must give other vectors than a plain one does: or the table would prove nothing."""
    plain = references["bert"]["document"]
    for name in (
        "left truncation", "left truncation in tokenizer.json", "cased", "cased in tokenizer_config.json alone",
        "accents kept", "Chinese words not split", "Normalize, then Dense", "prompt of a passage", "relu", "looks back only",
        "0_Transformer, other weights at the top", "no class of tokenizer, cased", "tokens added",
    ):  # fmt: skip
        other = references[name]["document"]
        assert other.shape != plain.shape or np.abs(other - plain).max() > 100 * CLOSE, name
    for found in references.values():
        assert np.ptp(found["document"], axis=0).max() > 100 * CLOSE


def test_folders_of_one_fingerprint_give_the_same_vectors(
    folders: dict[str, Path], references: dict[str, dict[str, Vectors]], tmp_path: Path
) -> None:
    """What an engine reads is all in the fingerprint: weights of every module, and each setting of the two tokenizer files."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in references:
        engine = next(engine for engine in ENGINES if engine not in REFUSED.get(name, ((), ""))[0])
        alike[resolve(folders[name], backend=engine, cache_dir=tmp_path).fingerprint].append(name)
    assert len(alike) > len(references) // 2
    for names in alike.values():
        for name in names[1:]:
            for role in ROLES:
                first, other = references[names[0]][role], references[name][role]
                assert first.shape == other.shape, names
                assert np.abs(first - other).max() <= CLOSE, names


def test_the_weights_of_every_module_are_verified_and_part_of_the_fingerprint(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    same, other = (shutil.copytree(folders["Dense Tanh"], tmp_path / name) for name in ("same", "other"))
    weights = load_file(other / "2_Dense" / "model.safetensors")
    save_file({name: -value for name, value in weights.items()}, other / "2_Dense" / "model.safetensors")
    embedders = [resolve(folder, cache_dir=tmp_path / "cache") for folder in (folders["Dense Tanh"], same, other)]
    one, two, three = [embedder.fingerprint for embedder in embedders]
    assert one == two != three
    assert np.abs(embedders[0].encode_query(TEXTS) - embedders[2].encode_query(TEXTS)).max() > 0.1
    weights["linear.bias"][3] = np.nan
    save_file(weights, other / "2_Dense" / "model.safetensors")
    with pytest.raises(
        IntegrityError, match=r"tensor 'linear\.bias' of .*2_Dense.model\.safetensors has values that are not"
    ):
        resolve(other, cache_dir=tmp_path / "other", normalize=False).embed_query("a text")


@pytest.mark.parametrize("name", ["my model (1)", "_модель"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_runs_from_a_folder_of_any_name(
    folders: dict[str, Path], references: dict[str, dict[str, Vectors]], tmp_path: Path, name: str, engine: str
) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / name)
    vectors = resolve(folder, backend=engine, cache_dir=tmp_path / "cache").encode_document(TEXTS)
    assert np.abs(vectors - references["bert"]["document"]).max() <= CLOSE
