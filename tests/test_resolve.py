"""`resolve`: one shared embedder for a name and its options; what is impossible is refused before anything is loaded."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedry import DownloadError, Matryoshka, OptionError, UnknownModelError, UnknownOptionError, _cpu, resolve
from embedry.views import LazyEmbedder
from entries import COMMIT, contents, entry, hub_cache, registered

TEXTS = ["a text", "another text of a few more words", ""]

Fresh = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "minilm", "sentence-transformers/all-MiniLM-L6-v2"]
)
def test_a_model_is_one_object_by_all_its_names(name: str) -> None:
    assert resolve(name) is resolve("all-minilm")


def test_defaults_that_are_written_out_give_the_same_object() -> None:
    assert resolve("minilm") is resolve(
        "minilm",
        backend="onnxruntime",
        device="cpu",
        dims=384,
        normalize=True,
        max_seq_length=256,
        on_overflow="truncate",
        threads=_cpu.available(),
        cache_dir=os.environ["EMBEDRY_CACHE"],
    )


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": False},
        {"max_seq_length": 64},
        {"on_overflow": "error"},
        {"threads": _cpu.available() + 1},
        {"folder": "elsewhere"},
        {"cache_dir": "elsewhere"},
        {"dims": 16},
    ],
)
def test_every_option_makes_another_object_and_its_own_is_shared(options: dict[str, Any]) -> None:
    spec = entry(matryoshka=Matryoshka(dims=(16,)))
    assert resolve(spec, **options) is not resolve(spec)
    assert resolve(spec, **options) is resolve(replace(spec), **options)


def test_an_embedder_knows_its_entry_without_being_loaded() -> None:
    embedder = resolve("e5-small-v2", max_seq_length=100)
    assert (embedder.name, embedder.dims, embedder.max_seq_length) == ("e5-small-v2", 384, 100)
    assert embedder.spec.prompt("query") == "query: "
    assert not embedder.loaded
    assert repr(embedder) == "<embedry 'e5-small-v2' dims=384 backend='onnxruntime' not loaded>"


def test_an_unknown_option_is_an_error_with_the_nearest_and_all_others() -> None:
    with pytest.raises(UnknownOptionError) as error:
        resolve("minilm", max_length=128)  # type: ignore[arg-type]
    assert "resolve has no option 'max_length'; did you mean 'max_seq_length'?" in str(error.value)
    assert (
        "options: backend, device, precision, dims, normalize, max_seq_length, on_overflow, threads, folder, cache_dir"
        in str(error.value)
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dims": 128}, "dims=128 is not supported: 'all-MiniLM-L6-v2' has 384 and was trained for no other length"),
        ({"dims": 0}, "dims=0 is not supported"),
        ({"dims": "384"}, "dims='384' is not supported"),
        ({"dims": 384.0}, "dims=384.0 is not supported"),
        (
            {"max_seq_length": 257},
            "max_seq_length must be an integer from 3 to 256, the most that 'all-MiniLM-L6-v2' reads, got 257",
        ),
        (
            {"max_seq_length": 2},
            "max_seq_length must be an integer from 3 to 256, the most that 'all-MiniLM-L6-v2' reads, got 2",
        ),
        ({"max_seq_length": True}, "got True"),
        ({"max_seq_length": 64.0}, "got 64.0"),
        ({"threads": 0}, "threads must be a positive integer, got 0"),
        ({"threads": 1.5}, "threads must be a positive integer, got 1.5"),
        ({"threads": True}, "threads must be a positive integer, got True"),
        ({"threads": 1000}, f"threads must be at most {8 * (os.cpu_count() or 1)}, 8 for each processor, got 1000"),
        ({"normalize": 1}, "normalize must be True, False, or None for the model's default, got 1"),
        ({"normalize": "yes"}, "got 'yes'"),
        ({"on_overflow": "cut"}, "on_overflow must be one of 'truncate', 'warn', 'error', got 'cut'"),
        ({"on_overflow": None}, "got None"),
        ({"device": "tpu"}, "does not run on device='tpu'; it runs on cpu"),
    ],
)
def test_an_impossible_option_is_an_error_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as error:
        resolve("minilm", **options)
    assert text in str(error.value)


def test_a_length_that_the_model_was_not_trained_for_is_refused_with_those_it_was() -> None:
    with pytest.raises(OptionError, match=r"'tiny' has 48 and was trained for 32, 16, 48$"):
        resolve(entry(matryoshka=Matryoshka(dims=(32, 16))), dims=24)


@pytest.fixture
def matryoshka(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., LazyEmbedder]:
    """The tiny model, as if it was trained for shorter lengths too."""
    spec = registered(checkpoint("bert"), matryoshka=Matryoshka(dims=(16, 32)))
    return lambda **options: resolve(spec, cache_dir=tmp_path / "cache", **options)


@pytest.mark.parametrize("dims", [16, 32, 48])
def test_a_shorter_vector_is_the_start_of_the_full_one_brought_to_unit_length(
    matryoshka: Callable[..., LazyEmbedder], dims: int
) -> None:
    full = matryoshka(normalize=False).encode_query(TEXTS)
    start = full[:, :dims]
    short = matryoshka(dims=dims).encode_query(TEXTS)
    assert short.shape == (3, dims)
    np.testing.assert_allclose(short, start / np.linalg.norm(start, axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(matryoshka(dims=dims, normalize=False).encode_query(TEXTS), start)


def test_without_normalizing_vectors_keep_their_own_length(matryoshka: Callable[..., LazyEmbedder]) -> None:
    lengths = np.linalg.norm(matryoshka(normalize=False).encode_query(TEXTS), axis=1)
    assert np.abs(lengths - 1).min() > 0.1
    np.testing.assert_allclose(np.linalg.norm(matryoshka().encode_query(TEXTS), axis=1), 1, atol=1e-6)


def test_fewer_tokens_are_read_where_a_shorter_length_is_asked_for(matryoshka: Callable[..., LazyEmbedder]) -> None:
    long = "one two three four five six seven eight"
    short = matryoshka(max_seq_length=5)
    assert short.embed_query(long) == short.embed_query("one two three")
    assert short.embed_query(long) != matryoshka().embed_query(long)


def test_a_folder_is_one_object_however_it_is_written(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("bert")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    embedder = resolve(folder)
    assert embedder.spec.folder == str(folder)
    assert all(resolve(name) is embedder for name in (str(folder), "./model", Path("model"), "~/model"))


def test_a_folder_given_for_a_name_may_be_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("minilm", folder="files") is resolve("minilm", folder=tmp_path / "files")
    assert resolve("minilm", folder="files").spec.folder == str(tmp_path / "files")


def test_a_name_without_a_dot_is_never_a_folder(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("bert")
    monkeypatch.chdir(folder.parent.parent)
    for name in (folder.parent.name, f"{folder.parent.parent.name}/{folder.parent.name}/model"):
        monkeypatch.chdir(folder.parent.parent if "/" not in name else folder.parent.parent.parent)
        with pytest.raises(UnknownModelError, match=f"for the folder of that name write './{name}'"):
            resolve(name)
    monkeypatch.chdir(folder.parent.parent)
    name = f"{folder.parent.name}/model"
    with pytest.raises(DownloadError, match=f"for the folder of that name write './{name}'"):
        resolve(name)


@pytest.mark.parametrize("name", ["a b/c", "/x/../acme", "acme/", "a/b/c", ""])
def test_a_name_that_nothing_answers_to_is_an_unknown_model(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"no model is called|no folder"):
        resolve(name)


def test_offline_the_error_for_an_unknown_repository_says_that_the_network_was_not_asked() -> None:
    with pytest.raises(DownloadError, match=r"^acme/unknown is not in the cache .* because HF_HUB_OFFLINE"):
        resolve("acme/unknown")


CACHED = """
from embedry import FilesError, resolve
embedder = resolve("acme/tiny")
assert embedder is resolve("acme/tiny")
print(embedder.name, embedder.spec.repo, embedder.spec.revision, embedder.spec.folder, embedder.loaded)
try:
    print(embedder.embed_query("a text"))
except FilesError as error:
    print(error)
"""


def cached(fresh: Fresh, root: Path, files: dict[str, bytes]) -> list[str]:
    """What a process says that finds these files of acme/tiny in its Hugging Face cache."""
    hub_cache(root, "acme/tiny", files)
    return fresh(CACHED, env={"HF_HUB_CACHE": str(root)}).stdout.splitlines()


def test_a_repository_in_the_hugging_face_cache_is_used_offline_at_its_commit(
    checkpoint: Callable[..., Path], fresh: Fresh, tmp_path: Path
) -> None:
    folder = checkpoint("bert")
    known, vector = cached(fresh, tmp_path / "hub", contents(folder))
    assert known == f"acme/tiny acme/tiny {COMMIT} None False"
    assert vector == str(resolve(folder).embed_query("a text"))


def test_a_cached_repository_without_its_weights_is_known_and_says_what_is_missing(
    checkpoint: Callable[..., Path], fresh: Fresh, tmp_path: Path
) -> None:
    files = contents(checkpoint("bert"))
    del files["model.safetensors"]
    known, *error = cached(fresh, tmp_path / "hub", files)
    assert known == f"acme/tiny acme/tiny {COMMIT} None False"
    assert "acme/tiny" in error[0]
    assert "model.safetensors" in "\n".join(error)
    assert "embedry pull acme/tiny" in "\n".join(error)


def test_nothing_is_written_but_into_the_cache(checkpoint: Callable[..., Path], fresh: Fresh, tmp_path: Path) -> None:
    code = f"from embedry import resolve; print(resolve({str(checkpoint('bert'))!r}).embed_query('a text'))"
    for folder in ("home", "tmp", "work"):
        (tmp_path / folder).mkdir()
    environment = {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": "",
        "TMPDIR": str(tmp_path / "tmp"),
        "EMBEDRY_CACHE": str(tmp_path / "cache"),
    }
    fresh(code, env=environment)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "tmp", "work", "cache"}
    assert contents(tmp_path / "home") | contents(tmp_path / "tmp") == {}
