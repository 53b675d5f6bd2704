"""What is put into the cache is whole or not there; where it cannot be written, the work is done elsewhere and reported."""

import errno
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import CacheError, CacheWarning
from embedry._files import cache, makers
from embedry_graphs.graph import Graph
from entries import contents

Encode = Callable[..., NDArray[np.float32]]

posix = pytest.mark.skipif(os.name != "posix", reason="modes and process ids as POSIX has them")


@pytest.fixture
def right(encode: Encode, tmp_path: Path) -> NDArray[np.float32]:
    """The vectors of the texts, by a cache that works."""
    return encode(tmp_path / "another cache")


def graph(cache_dir: Path) -> dict[str, bytes]:
    """The compiled graphs in a cache."""
    return contents(cache_dir / "graphs")


def test_the_default_folder_is_the_users_or_the_one_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EMBEDRY_CACHE", "relative/folder")
    assert cache.default_folder() == tmp_path / "relative" / "folder"
    monkeypatch.setenv("EMBEDRY_CACHE", "~/embeddings")
    assert cache.default_folder() == tmp_path / "home" / "embeddings"
    monkeypatch.setenv("EMBEDRY_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_folder().name == "embedry"
    assert cache.default_folder().is_relative_to(tmp_path)


def test_a_second_start_uses_the_compiled_graph_as_it_is(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / "cache")
    monkeypatch.setattr(Graph, "__init__", None)
    assert np.array_equal(encode(tmp_path / "cache"), right)


def test_a_cache_folder_that_cannot_be_made_is_warned_of_and_the_vectors_are_right(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("where a folder would have to be")
    impossible = tmp_path / "file" / "cache"
    with pytest.warns(CacheWarning) as warned:
        assert np.array_equal(encode(impossible), right)
    assert len(warned) == 1
    assert f"the cache folder {impossible} cannot be used" in str(warned[0].message)
    assert "set EMBEDRY_CACHE to use another folder" in str(warned[0].message)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_read_only_cache_is_warned_of_and_the_vectors_are_right(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for module, name in ((Path, "mkdir"), (tempfile, "mkdtemp"), (tempfile, "mkstemp")):
        monkeypatch.setattr(module, name, refusing_below(tmp_path / "cache", getattr(module, name), code))
    with pytest.warns(CacheWarning, match=os.strerror(code)):
        assert np.array_equal(encode(tmp_path / "cache"), right)
    assert not (tmp_path / "cache").exists()


def refusing_below(folder: Path, function: Callable[..., Any], code: int) -> Callable[..., Any]:
    """The function, except for an OSError where its folder is this one or below."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        places = [Path(value) for value in (*arguments, *options.values()) if isinstance(value, str | Path)]
        if any(place.is_relative_to(folder) for place in places):
            raise OSError(code, os.strerror(code))
        return function(*arguments, **options)

    return refuse


def test_a_disk_that_fills_up_while_compiling_leaves_nothing_half_written(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = Graph.weight

    def fills_up(graph: Graph, values: NDArray[np.float32]) -> str:
        if Path(graph._weights.name).is_relative_to(tmp_path / "cache") and len(graph._initializers) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return weight(graph, values)

    with monkeypatch.context() as patch:
        patch.setattr(Graph, "weight", fills_up)
        with pytest.warns(CacheWarning, match="No space left on device"):
            assert np.array_equal(encode(tmp_path / "cache"), right)
    assert graph(tmp_path / "cache") == {}
    assert list((tmp_path / "cache" / "staging").iterdir()) == []
    assert np.array_equal(encode(tmp_path / "cache"), right)
    assert graph(tmp_path / "cache") == graph(tmp_path / "another cache")


def test_with_room_nowhere_the_error_names_both_places_and_the_cure(
    checkpoint: Callable[..., Path], fresh: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    code = f"""
import resource, tempfile
from embedry import CacheError, resolve
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    resolve({str(checkpoint("bert"))!r}, cache_dir="cache").embed_query("a text")
except CacheError as error:
    print(error)
"""
    (tmp_path / "tmp").mkdir()
    result = fresh(code, env={"TMPDIR": str(tmp_path / "tmp")})
    assert f"written neither to the cache folder {tmp_path / 'cache'} (" in result.stdout
    assert f"nor to {tmp_path / 'tmp'}" in result.stdout
    assert os.strerror(errno.EFBIG) in result.stdout
    assert "set EMBEDRY_CACHE" in result.stdout
    assert result.stderr == ""
    assert graph(tmp_path / "cache") == contents(tmp_path / "cache" / "staging") == {}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert issubclass(CacheError, OSError)


@pytest.mark.parametrize("moment", ["graph.Graph.save", "artifacts.digests.sha256", "artifacts.cache.publish"])
def test_what_a_killed_compile_leaves_is_never_used(
    checkpoint: Callable[..., Path],
    fresh: Callable[..., subprocess.CompletedProcess[str]],
    encode: Encode,
    right: NDArray[np.float32],
    tmp_path: Path,
    moment: str,
) -> None:
    code = f"""
import os, signal
from embedry import resolve
from embedry._files import artifacts
from embedry_graphs import graph
real = {moment}
def kill(*arguments):
    if "cache/staging" in "".join(map(str, arguments)) or isinstance(arguments[0], graph.Graph):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
{moment} = kill
resolve({str(checkpoint("bert"))!r}, cache_dir="cache").embed_query("a text")
"""
    assert fresh(code, check=False).returncode == -signal.SIGKILL
    assert any(file.endswith("weights.bin") for file in contents(tmp_path / "cache" / "staging"))
    assert graph(tmp_path / "cache") == {}
    assert np.array_equal(encode(tmp_path / "cache"), right)
    assert graph(tmp_path / "cache") == graph(tmp_path / "another cache")
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


@pytest.mark.parametrize("file", ["weights.bin", "model.onnx", "digests.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_graph_is_made_again(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path, file: str, damage: str
) -> None:
    encode(tmp_path / "cache")
    sound = graph(tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "graphs").glob(f"*/{file}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert graph(tmp_path / "cache") != sound
    assert np.array_equal(encode(tmp_path / "cache"), right)
    assert graph(tmp_path / "cache") == sound
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


@pytest.mark.parametrize(
    "digests",
    [
        *("{}", "[]", "null", "1", '"text"', "{", "", "[" * 100_000, '{"a":' * 100_000, "1" * 10_000),
        *('{"model.onnx": "0"}', '{"model.onnx": 1, "weights.bin": [1]}', '{"model.onnx": {}, "weights.bin": null}'),
        '{"../x": "0", "weights.bin": "0"}',
    ],
)
def test_digests_that_do_not_fit_the_files_are_damage(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path, digests: str
) -> None:
    encode(tmp_path / "cache")
    sound = graph(tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "graphs").glob("*/digests.json")
    path.write_text(digests)
    assert np.array_equal(encode(tmp_path / "cache"), right)
    assert graph(tmp_path / "cache") == sound


@pytest.mark.parametrize("change", [lambda files: files.popitem(), lambda files: files.update(more="0")])
def test_every_file_of_a_graph_has_a_digest_and_every_digest_a_file(
    encode: Encode, tmp_path: Path, change: Callable[[dict[str, str]], object]
) -> None:
    encode(tmp_path / "cache")
    sound = graph(tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "graphs").glob("*/digests.json")
    files = json.loads(path.read_text())
    change(files)
    path.write_text(json.dumps(files))
    encode(tmp_path / "cache")
    assert graph(tmp_path / "cache") == sound


@pytest.mark.parametrize("more", [Path.touch, Path.mkdir])
def test_a_graph_with_a_file_more_is_made_again(encode: Encode, tmp_path: Path, more: Callable[[Path], None]) -> None:
    encode(tmp_path / "cache")
    sound = graph(tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "graphs").iterdir()
    more(folder / "more")
    encode(tmp_path / "cache")
    assert graph(tmp_path / "cache") == sound
    assert not (folder / "more").exists()


@pytest.fixture
def with_umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask until the test ends."""
    before = os.umask(0o022)
    yield lambda umask: os.umask(umask) and None
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_what_is_published_is_as_open_as_the_umask_says(
    with_umask: Callable[[int], None], tmp_path: Path, umask: int
) -> None:
    with_umask(umask)
    with cache.staging(tmp_path / "cache") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("text")
        assert mode(folder.parent) == 0o700  # while it is being filled nobody else looks in
        cache.publish(folder, tmp_path / "cache" / "models" / "tiny")
    published = tmp_path / "cache" / "models" / "tiny"
    assert [mode(published), mode(published / "sub")] == [0o777 & ~umask] * 2
    assert mode(published / "sub" / "file") == 0o666 & ~umask


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_what_is_believed_is_as_readable_as_the_umask_says_and_only_its_owner_can_write_it(
    encode: Encode, with_umask: Callable[[int], None], tmp_path: Path, umask: int
) -> None:
    with_umask(umask)
    for _ in range(2):  # the second time it is believed
        encode(tmp_path / "cache")
    paths = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
    assert {mode(path) for path in paths if path.is_dir()} == {0o755 & ~umask}
    assert {mode(path) for path in paths if path.is_file()} == {0o644 & ~umask}
    assert {path.parent.name for path in paths} > {"graphs", "verified"}


def test_staging_is_taken_away_unless_it_is_published(tmp_path: Path) -> None:
    with cache.staging(tmp_path) as folder:
        (folder / "file").write_text("half")
    assert contents(tmp_path) == {}
    with cache.staging(tmp_path) as folder:
        (folder / "file").write_text("whole")
        cache.publish(folder, tmp_path / "models" / "tiny")
    assert contents(tmp_path) == {"models/tiny/file": b"whole"}
    assert list((tmp_path / "staging").iterdir()) == []


def test_staging_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with cache.staging(tmp_path) as folder:
            (folder / "file").write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        work()
    assert contents(tmp_path) == {}


def test_what_was_published_first_stays_and_the_second_is_dropped(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with cache.staging(tmp_path) as folder:
            (folder / "file").write_text(content)
            cache.publish(folder, tmp_path / "final")
    assert contents(tmp_path) == {"final/file": b"first"}
    assert list((tmp_path / "staging").iterdir()) == []


def test_what_is_discarded_is_gone_at_once_for_all_but_its_readers(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "file").write_text("old")
    with open(tmp_path / "final" / "file") as reader:
        cache.discard(tmp_path / "final", tmp_path)
        assert contents(tmp_path) == {}
        assert reader.read() == "old"
    cache.discard(tmp_path / "final", tmp_path)


def test_a_place_that_cannot_be_taken_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "final").write_text("a file")
    with pytest.raises(OSError, match="final"), cache.staging(tmp_path) as folder:
        cache.publish(folder, tmp_path / "final")
    assert contents(tmp_path) == {"final": b"a file"}


DAY = 24 * 3600

NOBODYS = 999_999_999
"""A process id above the highest that systems give."""


@pytest.fixture
def leftover(tmp_path: Path) -> Callable[..., Path]:
    """Makes what a process left in staging; without a name, as one on this machine leaves it."""

    numbers = itertools.count()

    def make(name: str | None = None, *, process: int = 0, age: float = 0) -> Path:
        folder = tmp_path / "staging" / (name or f"{makers.place()}-{process}-{next(numbers):08x}")
        (folder / "new").mkdir(parents=True)
        (folder / "new" / "file").write_text("half")
        os.utime(folder, (time.time() - age,) * 2)
        return folder

    return make


def sweep(cache_dir: Path) -> None:
    with cache.staging(cache_dir):
        pass


@posix
def test_what_a_dead_process_left_is_removed_at_once_and_what_a_living_one_uses_is_not(
    leftover: Callable[..., Path], tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        used = leftover(process=process.pid, age=DAY - 60)
        sweep(tmp_path)
        assert (used / "new" / "file").exists()
        process.communicate()
    sweep(tmp_path)
    assert not used.exists()


@posix
def test_what_an_earlier_process_with_the_id_of_this_one_left_is_removed(
    leftover: Callable[..., Path], tmp_path: Path
) -> None:
    """As in a container, where each start has the same id."""
    left = leftover(process=os.getpid())
    with cache.staging(tmp_path) as used:
        sweep(tmp_path)
        assert used.exists()
    assert not left.exists()


@posix
def test_an_id_that_was_given_to_another_process_protects_nothing_for_longer_than_a_day(
    leftover: Callable[..., Path], tmp_path: Path
) -> None:
    left = leftover(process=os.getppid(), age=DAY + 60)
    sweep(tmp_path)
    assert not left.exists()


def test_what_was_left_on_another_machine_is_removed_after_a_day_and_not_before(
    leftover: Callable[..., Path], tmp_path: Path
) -> None:
    young, old = leftover("00000000-999999999-00000001", age=DAY - 60), leftover("00000000-1-00000002", age=DAY + 60)
    sweep(tmp_path)
    assert (young / "new" / "file").exists()
    assert not old.exists()


@pytest.mark.parametrize(
    "name", ["tmpabcd1234", "photos", "00000000-1", "00000000-x-00000002", "00000000-1-00000002.old"]
)
def test_what_embedry_did_not_make_is_never_removed(leftover: Callable[..., Path], tmp_path: Path, name: str) -> None:
    foreign = leftover(name, age=30 * DAY)
    sweep(tmp_path)
    assert (foreign / "new" / "file").exists()


def test_nothing_is_removed_or_written_through_a_link(leftover: Callable[..., Path], tmp_path: Path) -> None:
    old = leftover(process=NOBODYS, age=30 * DAY)
    target = tmp_path / "elsewhere"
    old.rename(target)
    old.symlink_to(target, target_is_directory=True)
    os.utime(old, (0, 0), follow_symlinks=False)
    sweep(tmp_path)
    assert (target / "new" / "file").exists()

    other_cache = tmp_path / "other"
    other_cache.mkdir()
    old.unlink()
    target.rename(old)
    os.utime(old, (0, 0))
    (other_cache / "staging").symlink_to(tmp_path / "staging", target_is_directory=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotADirectoryError, match="a link; embedry does not write or remove files through links"):
        sweep(other_cache)
    assert sorted(tmp_path.rglob("*")) == before


def test_with_a_link_in_place_of_staging_the_graph_is_made_elsewhere_with_a_warning(
    encode: Encode, right: NDArray[np.float32], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / "staging").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(CacheWarning, match="a link; embedry does not write or remove files through links") as warned:
        assert np.array_equal(encode(tmp_path / "cache"), right)
    assert len(warned) == 1
    assert contents(tmp_path / "cache") == contents(tmp_path / "elsewhere") == {}


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    note = cache.subfolder(tmp_path, "notes") / "one"
    cache.write_text(note, "old", tmp_path)
    with pytest.raises(UnicodeEncodeError):
        cache.write_text(note, "new \ud800", tmp_path)
    assert contents(tmp_path) == {"notes/one": b"old"}
    cache.write_text(note, "new", tmp_path)
    assert contents(tmp_path) == {"notes/one": b"new"}


@pytest.mark.parametrize("changed", ["packing.level", "onnxruntime.__version__"])
def test_a_graph_packed_for_another_processor_or_runtime_is_not_used(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    import onnxruntime

    from embedry_onnxruntime import packing

    encode(tmp_path / "cache")
    values = {
        "packing.level": (packing, "level", lambda precision: "another"),
        "onnxruntime.__version__": (onnxruntime, "__version__", "0"),
    }
    monkeypatch.setattr(*values[changed])
    encode(tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 2


def test_sessions_map_the_packed_weights_instead_of_copying_them(encode: Encode, tmp_path: Path) -> None:
    """The weights file holds each matrix twice: as it is, and as the runtime multiplies with it."""
    encode(tmp_path / "cache")
    (packed,) = (tmp_path / "cache" / "graphs").glob("*/model.onnx")
    assert packed.read_bytes().count(b"prepacked") >= 3 * 6  # of three layers with six products
