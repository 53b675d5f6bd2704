"""A cache that several users share: what one made the other can use, and what others could have forged nobody does."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import CacheWarning, resolve
from embedry._files import cache, digests, trust
from entries import contents, fill
from other_users import DAEMON, STRANGER, acting_as, encode_as, folder_for_all, give, only_root

Encode = Callable[..., NDArray[np.float32]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes as POSIX has them")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that all users may look into, unlike those of pytest."""
    with folder_for_all() as folder:
        yield folder


@pytest.fixture
def model(checkpoint: Callable[..., Path], shared: Path) -> Path:
    """The tiny model, where all users can read it."""
    return fill(shared / "model", contents(checkpoint("bert")))


@pytest.fixture
def filled(encode: Encode, tmp_path: Path) -> Path:
    """A cache with the graph of the tiny model."""
    encode(tmp_path / "cache")
    return tmp_path / "cache"


def plant(cache_dir: Path) -> None:
    """Puts a graph that cannot even be loaded in the place of the right one, with the digests that fit."""
    (folder,) = (cache_dir / "graphs").iterdir()
    (folder / "model.onnx").write_text("planted")
    files = [file for file in folder.iterdir() if file.name != "digests.json"]
    listed = ", ".join(f'"{file.name}": "{digests.sha256(file)}"' for file in files)
    (folder / "digests.json").write_text(f"{{{listed}}}")


def opened(path: Path, more: int = 0o002) -> None:
    path.chmod(path.stat().st_mode & 0o7777 | more)


PLACES = ["", "graphs", "graphs/*", "graphs/*/model.onnx", "graphs/*/weights.bin", "graphs/*/digests.json"]


@pytest.mark.parametrize("place", PLACES)
def test_a_graph_that_others_could_have_written_is_not_run(
    encode: Encode, filled: Path, tmp_path: Path, place: str
) -> None:
    right = encode(tmp_path / "another cache")
    plant(filled)
    (path,) = filled.glob(place) if place else [filled]
    opened(path)
    before = contents(filled / "graphs")
    with pytest.warns(CacheWarning) as warned:
        found = [encode(filled) for _ in range(2)]
    assert np.array_equal(found, [right, right])
    assert len(warned) == 1
    said = str(warned[0].message)
    assert f"other users can write to {path} (mode {path.stat().st_mode & 0o7777:04o})" in said
    assert f"chmod -R go-w {path}" in said
    assert contents(filled / "graphs") == before


def test_a_damaged_graph_that_others_could_have_written_is_not_replaced(encode: Encode, filled: Path) -> None:
    (folder,) = (filled / "graphs").iterdir()
    for file in folder.iterdir():
        file.unlink()
    opened(folder)
    with pytest.warns(CacheWarning, match=f"other users can write to {folder}"):
        encode(filled)
    assert list(folder.iterdir()) == []


@only_root
@pytest.mark.parametrize("place", PLACES)
def test_a_graph_of_another_user_is_not_run(encode: Encode, filled: Path, tmp_path: Path, place: str) -> None:
    right = encode(tmp_path / "another cache")
    plant(filled)
    (path,) = filled.glob(place) if place else [filled]
    os.chown(path, STRANGER, -1)
    with pytest.warns(CacheWarning) as warned:
        assert np.array_equal(encode(filled), right)
    assert len(warned) == 1
    assert f"{path} belongs to another user (uid {STRANGER})" in str(warned[0].message)
    assert f"chown -R 0 {path}" in str(warned[0].message)


def test_after_what_the_warning_advises_the_graph_is_used(encode: Encode, filled: Path) -> None:
    sound = contents(filled / "graphs")
    for place in PLACES:
        for path in filled.glob(place) if place else [filled]:
            opened(path, 0o022)
    with pytest.warns(CacheWarning):
        encode(filled)
    for path in (filled, *filled.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(filled)
    assert contents(filled / "graphs") == sound


def test_no_graph_is_made_where_others_could_exchange_it(encode: Encode, filled: Path, tmp_path: Path) -> None:
    opened(filled / "staging")
    encode(filled)  # what is there already cannot be exchanged
    (folder,) = (filled / "graphs").iterdir()
    folder.rename(tmp_path / "away")
    with pytest.warns(CacheWarning, match=f"other users can write to {filled / 'staging'}"):
        encode(filled)
    assert contents(filled / "graphs") == {}


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A file whose digest is remembered wrongly, as somebody might who changes the file."""
    file, cache_dir = tmp_path / "file", tmp_path / "cache"
    file.write_bytes(b"one")
    digests.remembered_sha256(file, cache_dir)
    (written,) = (cache_dir / "verified").iterdir()
    written.write_text(f"{digests.state_of(file.stat())} {'0' * 64}")
    assert digests.remembered_sha256(file, cache_dir) == "0" * 64
    return written


@pytest.mark.parametrize("place", ["cache", "verified", "note"])
def test_a_digest_that_others_could_have_written_is_not_believed(note: Path, tmp_path: Path, place: str) -> None:
    opened({"cache": tmp_path / "cache", "verified": note.parent, "note": note}[place])
    (tmp_path / "second").write_bytes(b"two")
    with pytest.warns(CacheWarning, match="other users can write to") as warned:
        found = [digests.remembered_sha256(tmp_path / file, tmp_path / "cache") for file in ("file", "second", "file")]
    assert found[0] == digests.sha256(tmp_path / "file")
    assert found[1] == digests.sha256(tmp_path / "second")
    assert len(warned) == 1


@only_root
@pytest.mark.parametrize("place", ["cache", "verified", "note"])
def test_a_digest_of_another_user_is_not_believed(note: Path, tmp_path: Path, place: str) -> None:
    os.chown({"cache": tmp_path / "cache", "verified": note.parent, "note": note}[place], STRANGER, -1)
    with pytest.warns(CacheWarning, match=f"belongs to another user .uid {STRANGER}"):
        assert digests.remembered_sha256(tmp_path / "file", tmp_path / "cache") == digests.sha256(tmp_path / "file")


@only_root
def test_in_a_folder_with_the_sticky_bit_each_user_believes_what_is_his_own(encode: Encode, filled: Path) -> None:
    for folder in ("", "graphs", "verified", "staging"):
        (filled / folder).chmod(0o1777)
    sound = contents(filled / "graphs")
    encode(filled)
    assert contents(filled / "graphs") == sound
    (folder,) = (filled / "graphs").iterdir()
    give(folder, STRANGER)
    with pytest.warns(CacheWarning, match="belongs to another user"):
        encode(filled)
    assert contents(filled / "graphs") == sound


@only_root
def test_a_group_may_write_if_it_is_the_users_own_or_roots_own(shared: Path) -> None:
    import grp

    def believed(group: int) -> bool:
        os.chown(shared, -1, group)
        return trust.fault(shared) is None

    other = next(each.gr_gid for each in grp.getgrall() if each.gr_gid not in (0, DAEMON))
    unknown = max(each.gr_gid for each in grp.getgrall()) - 7
    shared.chmod(0o775)
    assert [believed(group) for group in (0, DAEMON, other, unknown)] == [True, False, False, False]
    with acting_as(DAEMON):
        assert trust.fault(shared) is not None
    for group, expected in ((0, True), (DAEMON, True), (other, False), (unknown, False)):
        os.chown(shared, DAEMON, group)
        with acting_as(DAEMON):
            assert (trust.fault(shared) is None) == expected
    shared.chmod(0o777)
    with acting_as(DAEMON):
        assert trust.fault(shared) is not None


@only_root
def test_a_group_with_other_members_is_nobodys_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import grp

    tmp_path.chmod(0o775)
    assert trust.fault(tmp_path) is None
    root = grp.getgrgid(0)
    members = [*root.gr_mem, "somebody"]
    monkeypatch.setattr(grp, "getgrgid", lambda group: grp.struct_group((root.gr_name, root.gr_passwd, 0, members)))
    assert trust.fault(tmp_path) is not None


def test_a_folder_above_the_cache_may_be_open_to_all(encode: Encode, tmp_path: Path) -> None:
    opened(tmp_path)
    for _ in range(2):
        encode(tmp_path / "cache")


@only_root
@pytest.mark.parametrize("user", [DAEMON, STRANGER])
def test_a_cache_made_by_root_is_used_by_another_user(model: Path, shared: Path, user: int) -> None:
    resolve(model, cache_dir=shared / "cache").load()
    before = contents(shared / "cache")
    assert encode_as(user, model, shared / "cache") == {"right": True, "compiled": 0, "warnings": []}
    assert contents(shared / "cache") == before


@only_root
@pytest.mark.parametrize("closed", ["", "graphs", "graphs/*", "graphs/*/*", "verified", "verified/*"])
def test_a_cache_that_may_not_be_read_counts_as_absent_with_one_warning(model: Path, shared: Path, closed: str) -> None:
    resolve(model, cache_dir=shared / "cache").load()
    for path in (shared / "cache").glob(closed) if closed else [shared / "cache"]:
        path.chmod(path.stat().st_mode & 0o700)
    found = encode_as(STRANGER, model, shared / "cache")
    assert found["right"]
    assert found["compiled"] == ("verified" not in closed)
    assert len(found["warnings"]) == 1
    assert found["warnings"][0].startswith(f"CacheWarning: the cache folder {shared / 'cache'} cannot be used")
    assert "Permission denied" in found["warnings"][0]


@only_root
def test_what_may_not_be_looked_at_is_not_there_to_be_discarded(shared: Path) -> None:
    (shared / "closed" / "models" / "tiny").mkdir(parents=True)
    (shared / "closed").chmod(0o700)
    with acting_as(STRANGER):
        cache.discard(shared / "closed" / "models" / "tiny", shared / "closed")
    assert (shared / "closed" / "models" / "tiny").exists()


@only_root
def test_a_cache_of_another_user_is_not_believed_by_root_or_by_a_third(model: Path, shared: Path) -> None:
    resolve(model, cache_dir=shared / "cache").load()
    plant(shared / "cache")
    give(shared / "cache", DAEMON)
    found = encode_as(STRANGER, model, shared / "cache")
    assert (found["right"], found["compiled"], len(found["warnings"])) == (True, 1, 1)
    assert "belongs to another user (uid 1)" in found["warnings"][0]
    with pytest.warns(CacheWarning, match="belongs to another user .uid 1"):
        resolve(model, cache_dir=shared / "cache", threads=1).load()


@only_root
def test_a_user_whose_private_group_may_write_by_the_umask_is_not_warned(model: Path, shared: Path) -> None:
    cache_dir = shared / "cache"
    cache_dir.mkdir()
    os.chown(cache_dir, DAEMON, DAEMON)
    cache_dir.chmod(0o775)  # as other programs make folders with this umask
    for compiled in (1, 0):
        found = encode_as(DAEMON, model, cache_dir, umask=0o002)
        assert found == {"right": True, "compiled": compiled, "warnings": []}


def test_weights_changed_in_place_are_read_again_though_size_and_time_are_as_before(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    before = file.stat()
    digests.remembered_sha256(file, tmp_path / "cache")
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system may be coarse
        file.write_bytes(b"two")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert digests.remembered_sha256(file, tmp_path / "cache") == digests.sha256(file)


def test_every_cache_folder_is_warned_of_once(tmp_path: Path) -> None:
    with pytest.warns(CacheWarning) as warned:
        _ = [cache.warn(tmp_path / name, PermissionError("closed")) for name in ("one", "two", "one")]  # type: ignore[func-returns-value]
    assert [name in str(each.message) for name, each in zip(("one", "two"), warned, strict=True)] == [True, True]
