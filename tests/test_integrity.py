"""A file is the right one or nothing is loaded; what was found right is not read again until it changes."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from embedry import IntegrityError, OptionError, UnsupportedModelError, _layouts, resolve
from embedry._files import digests, sources
from embedry.views import LazyEmbedder
from entries import contents, fill, registered

Tensors = dict[str, NDArray[np.float32]]

QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read for their digest, in order."""
    files: list[Path] = []
    sha256 = digests.sha256

    def counting(path: Path) -> str:
        files.append(path)
        return sha256(path)

    monkeypatch.setattr(digests, "sha256", counting)
    return files


@pytest.fixture
def model(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint, to be damaged."""
    return fill(tmp_path / "model", contents(checkpoint("bert")))


@pytest.fixture
def empty_cache(tmp_path: Path) -> Iterator[Path]:
    """A cache in which nothing may be left but notes."""
    cache = tmp_path / "cache"
    yield cache
    assert {Path(file).parts[0] for file in contents(cache)} <= {"verified"}
    assert list(cache.glob("staging/*")) == []


def flip(file: Path, place: int) -> None:
    """Changes one byte and, as every writing does, the modification time."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert digests.sha256(tmp_path / "file") == digest
    assert digests.remembered_sha256(tmp_path / "file", tmp_path / "cache") == digest


def test_a_file_is_read_again_only_when_its_size_or_time_changes(tmp_path: Path, read: list[Path]) -> None:
    file, cache = tmp_path / "file", tmp_path / "cache"

    def digest() -> str:
        return digests.remembered_sha256(file, cache)

    file.write_bytes(b"one")
    os.utime(file, ns=(0, 1))
    assert [digest() for _ in range(3)] == [hashlib.sha256(b"one").hexdigest()] * 3
    assert len(read) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 2))
    assert [digest() for _ in range(2)] == [hashlib.sha256(b"two").hexdigest()] * 2
    assert len(read) == 2
    file.write_bytes(b"three")
    os.utime(file, ns=(0, 2))
    assert digest() == hashlib.sha256(b"three").hexdigest()
    assert len(read) == 3


def test_a_file_is_remembered_by_where_it_really_is(tmp_path: Path, read: list[Path]) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    for file in ("one", "two"):
        os.utime(tmp_path / file, ns=(0, 1))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    found = [digests.remembered_sha256(tmp_path / file, tmp_path / "cache") for file in ("one", "link", "two")]
    assert found[0] == found[1] != found[2]
    assert len(read) == 2
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert digests.remembered_sha256(link, tmp_path / "cache") == found[2]


@pytest.mark.parametrize("note", ["", "garbage", "3 1"])
def test_a_damaged_note_is_not_believed(tmp_path: Path, note: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    right = digests.remembered_sha256(file, tmp_path / "cache")
    (written,) = (tmp_path / "cache" / "verified").iterdir()
    written.write_text(note)
    assert digests.remembered_sha256(file, tmp_path / "cache") == right


def test_without_a_cache_that_can_be_written_the_file_is_read_each_time(tmp_path: Path, read: list[Path]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    impossible = file / "cache"
    assert [digests.remembered_sha256(file, impossible) for _ in range(2)] == [hashlib.sha256(b"one").hexdigest()] * 2
    assert len(read) == 2


def test_verified_files_are_not_read_again_by_the_next_load(model: Path, tmp_path: Path, read: list[Path]) -> None:
    spec = registered(model)
    read.clear()
    for _ in range(2):
        sources.ensure_local(spec, tmp_path / "cache")
    assert sorted(read) == sorted(model / file for file in spec.files)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_one_flipped_byte_in_a_file_of_an_entry_is_refused_even_after_it_was_verified(
    model: Path, empty_cache: Path, file: str
) -> None:
    spec = registered(model)
    sources.ensure_local(spec, empty_cache)
    flip(model / file, -9)
    with pytest.raises(IntegrityError) as error:
        resolve(spec, cache_dir=empty_cache).embed_query("a text")
    facts = [file, "'model'", str(model), spec.files[file], digests.sha256(model / file), "Nothing was loaded"]
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_weights_of_an_entry_that_were_cut_short_are_refused(model: Path, empty_cache: Path) -> None:
    spec = registered(model)
    os.truncate(model / "model.safetensors", 3_000_000)
    with pytest.raises(IntegrityError, match=r"model\.safetensors of 'model' is not the file that the entry names"):
        resolve(spec, cache_dir=empty_cache).embed_query("a text")


@pytest.mark.parametrize("size", [0, 7, 1_000, 3_000_000])
def test_weights_without_a_digest_that_were_cut_short_are_refused(model: Path, empty_cache: Path, size: int) -> None:
    os.truncate(model / "model.safetensors", size)
    with pytest.raises(IntegrityError) as error:
        resolve(model, cache_dir=empty_cache).embed_query("a text")
    assert f"{model / 'model.safetensors'} cannot be read as safetensors, it is damaged or cut short" in str(
        error.value
    )


def zeroed(tensors: Tensors) -> None:
    tensors[QUERY] = np.zeros_like(tensors[QUERY])


def not_a_number(tensors: Tensors) -> None:
    tensors[QUERY][3, 5] = np.nan


def infinite(tensors: Tensors) -> None:
    tensors[QUERY][3, 5] = np.inf


def missing(tensors: Tensors) -> None:
    del tensors[QUERY]


def left_over(tensors: Tensors) -> None:
    tensors["encoder.layer.3.output.dense.weight"] = np.ones((2, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (zeroed, f"tensor '{QUERY}' of .*model.safetensors is all zeros"),
        (not_a_number, f"tensor '{QUERY}' of .*model.safetensors has values that are not finite"),
        (infinite, f"tensor '{QUERY}' of .*model.safetensors has values that are not finite"),
        (missing, f"model.safetensors has no tensor '{QUERY}'"),
        (left_over, r"model.safetensors has tensors that config.json does not account for: encoder\.layer\.3\."),
    ],
)
def test_damaged_weights_without_a_digest_are_refused_by_the_tensors_name(
    model: Path, empty_cache: Path, damage: Callable[[Tensors], None], text: str
) -> None:
    tensors = load_file(model / "model.safetensors")
    damage(tensors)
    save_file(tensors, model / "model.safetensors")
    with pytest.raises(IntegrityError, match=text):
        resolve(model, cache_dir=empty_cache).embed_query("a text")


def test_a_config_of_another_model_is_refused(model: Path, empty_cache: Path) -> None:
    config = model / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 48', '"hidden_size": 96'))
    with pytest.raises(IntegrityError, match="gives vectors of 96 after pooling, and 48 are expected"):
        resolve(model, cache_dir=empty_cache).embed_query("a text")


def test_a_tokenizer_that_was_cut_short_is_refused(model: Path, tmp_path: Path) -> None:
    os.truncate(model / "tokenizer.json", 1_000)
    with pytest.raises(IntegrityError, match=r"tokenizer\.json is not valid JSON, it is damaged or cut short"):
        resolve(model, cache_dir=tmp_path / "cache").embed_query("a text")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"architecture": "mpnet"}, IntegrityError, "is of a 'bert', the entry says 'mpnet'"),
        ({"max_seq_length": 513}, IntegrityError, "positions for 512 tokens, and max_seq_length=513 asks for more"),
        ({"dims": 47}, IntegrityError, "gives vectors of 48 after pooling, and 47 are expected"),
    ],
)
def test_an_entry_that_contradicts_its_files_is_refused_whether_or_not_the_graph_is_compiled(
    model: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], text: str
) -> None:
    wrong = replace(_layouts.from_folder(model), **changes)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(error, match=text):
            resolve(wrong, cache_dir=tmp_path / "cache").embed_query("a text")
        resolve(model, cache_dir=tmp_path / "cache").embed_query("compiles the graph")


@pytest.mark.parametrize(
    ("setting", "other", "fault"),
    [
        ('"hidden_act": "gelu"', '"hidden_act": "mish"', "asks for the activation 'mish'; try backend="),
        ('"is_decoder": false', '"is_decoder": true', "asks for attention that only looks back; try backend="),
        (
            '"hidden_act"',
            '"position_embedding_type": "relative_key", "hidden_act"',
            "to 'relative_key', which no engine",
        ),
    ],
)
def test_a_config_that_asks_for_what_the_graph_does_not_do_is_refused(
    model: Path, empty_cache: Path, setting: str, other: str, fault: str
) -> None:
    config = model / "config.json"
    assert setting in config.read_text()
    config.write_text(config.read_text().replace(setting, other))
    with pytest.raises(UnsupportedModelError) as error:
        resolve(model, cache_dir=empty_cache).embed_query("a text")
    assert fault in str(error.value)


def test_a_refused_model_is_used_as_soon_as_the_right_file_is_there(model: Path, tmp_path: Path) -> None:
    spec = registered(model)
    flip(model / "model.safetensors", -9)
    embedder: LazyEmbedder = resolve(spec, cache_dir=tmp_path / "cache")
    with pytest.raises(IntegrityError):
        embedder.embed_query("a text")
    assert not embedder.loaded
    flip(model / "model.safetensors", -9)
    assert len(embedder.embed_query("a text")) == 48


def test_a_wrong_role_is_found_before_the_files_are_read(model: Path, tmp_path: Path, read: list[Path]) -> None:
    with pytest.raises(OptionError, match="no role 'passage'"):
        resolve(model, cache_dir=tmp_path / "cache").encode(["a text"], role="passage")
    assert read == []
