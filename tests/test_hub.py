"""Models are downloaded from the hub, and every bad day of the hub ends in one sentence that says what to do."""

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from command_line import run
from embedry import IntegrityError, ModelSpec, UnknownModelError, _layouts, register
from embedry._files import hub, hub_errors, sources, stated
from embedry._files.hub_cache import cached
from embedry.errors import CacheError, DownloadError
from entries import COMMIT, contents, entry, fill, hub_cache
from small_hub import Fault, SmallHub, gated, login_page, refused, too_many_requests

Fresh = Callable[..., subprocess.CompletedProcess[str]]

FILES = {"model.safetensors": save({"table": np.arange(256.0)}), "tokenizer.json": b"tokens", "config.json": b"{}"}

GONE = "f" * 40

NOT_AGAIN = "for 60 s after that embedry does not contact the hub again, except with embedry pull --force"

REFUSED = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"


def spec_of(revision: str, files: dict[str, bytes] = FILES) -> ModelSpec:
    """An entry with the digests of these files."""
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    return entry(repo="acme/tiny", revision=revision, files=digests)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client retries at once."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache folder of embedry."""
    return tmp_path / "cache"


def reason(spec: ModelSpec, cache: Path, kind: type[Exception] = DownloadError) -> str:
    """The first line of the error that the user sees; it has no chain of causes."""
    with pytest.raises(kind) as error:
        sources.ensure_local(spec, cache)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    first, _, ways = str(error.value).partition("\n")
    assert "embedry pull tiny" in ways
    assert "resolve('tiny', folder=...)" in ways
    return first


def test_a_first_download_goes_into_our_cache_and_is_found_there(
    small_hub: SmallHub, cache: Path, tmp_path: Path
) -> None:
    commit = small_hub.commit("acme/tiny", FILES | {"README.md": b"not of the entry"})
    folder = sources.ensure_local(spec_of(commit), cache)
    assert folder == cache / "hub" / "models--acme--tiny" / "snapshots" / commit
    assert contents(folder) == FILES
    assert not (tmp_path / "hugging-face").exists()
    asked = len(small_hub.requests)
    assert sources.find_local(spec_of(commit), cache) == sources.Location(folder, "embedry's cache")
    assert sources.ensure_local(spec_of(commit), cache) == folder
    assert len(small_hub.requests) == asked


def test_a_branch_is_known_by_its_commit(small_hub: SmallHub, cache: Path) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    folder = hub.download("acme/tiny", None, ["tok*.json"], cache)
    assert folder.name == commit
    assert contents(folder) == {"tokenizer.json": b"tokens"}
    assert cached("acme/tiny", None, ["tokenizer.json"], cache) == folder
    assert cached("acme/tiny", commit, ["tokenizer.json"], cache) == folder
    assert cached("acme/tiny", None, ["tokenizer.json", "model.safetensors"], cache) is None


def test_what_the_hugging_face_cache_has_is_used_there(small_hub: SmallHub, cache: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "hugging-face", "acme/tiny", FILES)
    assert sources.ensure_local(spec_of(COMMIT), cache) == snapshot
    assert small_hub.requests == []
    assert not (cache / "hub").exists()


def test_blobs_that_repositories_share_are_inside(small_hub: SmallHub, cache: Path, tmp_path: Path) -> None:
    """Version 2 of the client keeps large files in one `blobs` folder of the cache, with links to it in each repository."""
    snapshot = hub_cache(tmp_path / "hugging-face", "acme/tiny", FILES)
    blob = (snapshot / "model.safetensors").resolve()
    shared = tmp_path / "hugging-face" / "blobs" / "ab" / "abcd"
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert sources.ensure_local(spec_of(COMMIT), cache) == snapshot


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(
    small_hub: SmallHub, cache: Path, no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # what came is kept in pieces of this size
    commit = small_hub.commit("acme/tiny", FILES)
    small_hub.faults = [Fault(path=f"{commit}/model.safetensors", methods=("GET",), times=1, cut_after=1000)]
    try:
        folder = sources.ensure_local(spec_of(commit), cache)
    except DownloadError:  # the first versions of the client go on in the next call only
        folder = sources.ensure_local(spec_of(commit), cache)
    assert contents(folder) == FILES
    downloads = [each for each in small_hub.asked(f"{commit}/model.safetensors") if each.method == "GET"]
    assert [each.headers.get("range") for each in downloads] == [None, "bytes=1000-"]


def test_a_download_that_is_always_cut_off_is_one_error_and_the_next_call_completes_it(
    small_hub: SmallHub, cache: Path, no_waiting: None
) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    cut = Fault(path=f"{commit}/model.safetensors", methods=("GET",), cut_after=0)
    small_hub.faults = [cut]
    first = reason(spec_of(commit), cache)
    assert first.startswith(f"the connection to the hub ({small_hub.url}) failed: peer closed connection")
    small_hub.faults = []
    before = len(small_hub.asked("tokenizer.json"))
    assert contents(sources.ensure_local(spec_of(commit), cache)) == FILES
    assert len(small_hub.asked("tokenizer.json")) == before


def test_where_the_revision_is_gone_main_is_taken_if_its_digests_are_right(small_hub: SmallHub, cache: Path) -> None:
    old = small_hub.commit("acme/tiny", FILES)
    new = small_hub.commit("acme/tiny", FILES | {"README.md": b"a new text"})
    small_hub.forget("acme/tiny", old)
    folder = sources.ensure_local(spec_of(old), cache)
    assert folder.name == new
    assert contents(folder) == FILES
    asked = len(small_hub.requests)
    assert sources.ensure_local(spec_of(old), cache) == folder
    assert len(small_hub.requests) == asked


def test_where_the_revision_is_gone_and_main_differs_nothing_is_loaded(small_hub: SmallHub, cache: Path) -> None:
    new = small_hub.commit("acme/tiny", FILES | {"tokenizer.json": b"other tokens"})
    for _ in range(2):  # what was downloaded does not pass for the entry's files later either
        assert reason(spec_of(GONE), cache) == (
            f"the hub no longer has acme/tiny at {GONE}, and in its main ({new}) these files are not the ones that the "
            "entry names: tokenizer.json; nothing was loaded"
        )
    assert sources.find_local(spec_of(GONE), cache) is None


def test_without_digests_main_is_never_taken_for_a_revision_that_is_gone(small_hub: SmallHub, cache: Path) -> None:
    small_hub.commit("acme/tiny", FILES)
    bare = replace(spec_of(GONE), files=dict.fromkeys(FILES))
    assert reason(bare, cache) == (
        f"the hub ({small_hub.url}) has no revision {GONE} of acme/tiny; its author may have removed it"
    )
    assert small_hub.asked("/resolve/") == []


def test_a_file_that_the_repository_lacks_is_named(small_hub: SmallHub, cache: Path) -> None:
    commit = small_hub.commit("acme/tiny", {"tokenizer.json": b"tokens"})
    said = reason(spec_of(commit), cache, FileNotFoundError)
    assert said == f"acme/tiny at {commit} is missing model.safetensors, config.json"


def test_wrong_bytes_are_refused_and_a_forced_pull_replaces_them(small_hub: SmallHub, cache: Path) -> None:
    small_hub.states_digests = False  # then the entry's digests are all that there is
    commit = small_hub.commit("acme/tiny", FILES)
    wrong = bytes(reversed(FILES["model.safetensors"]))
    small_hub.faults = [Fault(path=f"{commit}/model.safetensors", body=wrong)]
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"model\.safetensors of 'tiny' is not the file") as error:
            sources.ensure_local(spec_of(commit), cache)
        assert hashlib.sha256(wrong).hexdigest() in str(error.value)
        assert "embedry pull tiny --force" in str(error.value)
    small_hub.faults = []
    sources.pull(spec_of(commit), cache, force=True)
    assert contents(sources.ensure_local(spec_of(commit), cache)) == FILES


def bare(revision: str) -> ModelSpec:
    """An entry that is pinned by its revision alone."""
    return entry(repo="acme/tiny", revision=revision)


CHANGES = [
    ("model.safetensors", "sha256  ", lambda content: hashlib.sha256(content).hexdigest()),
    ("config.json", "git blob", lambda content: hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()),
]


@pytest.mark.parametrize(("file", "kind", "digest"), CHANGES)
def test_a_file_that_changes_on_its_way_is_refused_and_downloaded_again_next_time(
    small_hub: SmallHub, cache: Path, file: str, kind: str, digest: Callable[[bytes], str]
) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    changed = FILES[file][:-1] + bytes([FILES[file][-1] ^ 1])
    small_hub.faults = [Fault(path=f"{commit}/{file}", body=changed)]
    for spec in (bare(commit), spec_of(commit)):
        with pytest.raises(IntegrityError) as error:
            sources.ensure_local(spec, cache)
        assert str(error.value) == (
            f"{file} of acme/tiny at {commit} does not match the digest that the hub ({small_hub.url}) states.\n"
            f"  {kind}  {digest(changed)}\n"
            f"  expected  {digest(FILES[file])}\n"
            "It was removed, and nothing was loaded; fetch it again: embedry pull acme/tiny"
        )
        assert sources.find_local(spec, cache) is None
        assert changed not in contents(cache / "hub").values()
    small_hub.faults = []
    assert contents(sources.ensure_local(bare(commit), cache)) == FILES
    found = sources.find_local(bare(commit), cache)
    assert found is not None
    assert set(sources.stated(bare(commit), found, cache)) == set(FILES)


def test_the_files_that_describe_a_repository_are_compared_before_they_are_read(
    small_hub: SmallHub, cache: Path
) -> None:
    commit = small_hub.commit("acme/tiny", {"modules.json": b"[]"})
    small_hub.faults = [Fault(path=f"{commit}/modules.json", body=b"{}")]
    with pytest.raises(
        IntegrityError, match=r"^modules\.json of acme/tiny at [0-9a-f]{40} does not match the digest that the hub"
    ):
        _layouts.from_hub("acme/tiny", cache)
    assert cached("acme/tiny", None, ["modules.json"], cache) is None


def test_a_branch_that_moves_during_a_download_is_compared_with_what_came(small_hub: SmallHub, cache: Path) -> None:
    old = small_hub.commit("acme/tiny", {"config.json": b"old"})
    answer = b'{"id": "acme/tiny", "sha": "%s", "siblings": [{"rfilename": "config.json", "blobId": "%s"}]}'
    small_hub.faults = [Fault(path="/api/models/", body=answer % (old.encode(), b"0" * 40), times=1)]
    new = small_hub.commit("acme/tiny", {"config.json": b"new"})
    folder = hub.download("acme/tiny", None, ["*"], cache)
    assert (folder.name, contents(folder)) == (new, {"config.json": b"new"})


def test_from_a_hub_that_states_no_digests_the_files_are_taken_as_they_come(small_hub: SmallHub, cache: Path) -> None:
    small_hub.states_digests = False
    commit = small_hub.commit("acme/tiny", FILES)
    small_hub.faults = [Fault(path=f"{commit}/config.json", body=b"[]")]
    found = sources.pull(bare(commit), cache)
    assert contents(found.folder) == FILES | {"config.json": b"[]"}
    assert sources.stated(bare(commit), found, cache) == []


def test_a_file_that_changes_after_it_was_compared_counts_as_not_compared(small_hub: SmallHub, cache: Path) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    found = sources.pull(bare(commit), cache)
    (found.folder / "config.json").resolve().write_bytes(b"[ ]")
    assert sorted(sources.stated(bare(commit), found, cache)) == ["model.safetensors", "tokenizer.json"]


def test_what_a_hub_states_of_files_elsewhere_touches_none(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "snapshot" / "a.json").write_text("{}")
    foreign = {"../mine.txt": "0" * 40, str(tmp_path / "mine.txt"): "0" * 40, "a.json": "0" * 40}
    (different,) = stated.compare(tmp_path / "snapshot", foreign, tmp_path / "cache")
    assert (different.file, different.expected) == ("a.json", "0" * 40)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize("value", [None, "", "abc", "F" * 40, "0" * 32])
def test_what_is_no_digest_is_not_compared(value: str | None) -> None:
    from huggingface_hub.hf_api import RepoSibling

    siblings = [RepoSibling("a.json", blob_id=value), RepoSibling("b.json", blob_id="0" * 40)]
    assert stated.digests_of(siblings) == {"b.json": "0" * 40}


@pytest.mark.parametrize(
    ("digested", "states_digests", "said"),
    [
        (FILES, True, ["3 files verified by the entry's digests"]),
        ([], True, ["3 files verified by the digests that the hub states"]),
        (
            ["config.json"],
            True,
            ["1 file verified by the entry's digests", "2 files verified by the digests that the hub states"],
        ),
        ([], False, ["3 files not verified: the entry has no digest, and no hub stated one when they came"]),
    ],
)
def test_pull_says_by_which_digests_the_files_were_verified(
    small_hub: SmallHub,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    digested: Collection[str],
    states_digests: bool,
    said: list[str],
) -> None:
    small_hub.states_digests = states_digests
    full = spec_of(small_hub.commit("acme/tiny", FILES))
    register(replace(full, files={file: full.files[file] if file in digested else None for file in FILES}))
    monkeypatch.setenv("EMBEDRY_CACHE", str(cache))
    for _ in range(2):  # the second time nothing is downloaded
        result = run("pull", "tiny")
        assert result.code == 0
        lines = [
            line.split(None, 1)[-1].strip() if line.startswith("digests") else line.strip()
            for line in result.out.splitlines()
        ]
        assert [line for line in lines if "verified" in line] == said


@pytest.mark.parametrize("token", [None, "a token"], ids=["401", "404"])
def test_a_repository_that_does_not_exist_is_an_unknown_model(
    small_hub: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UnknownModelError) as error:
        hub.download("acme/tinny", None, ["*.json"], cache)
    sentence = f"the hub ({small_hub.url}) has no public repository acme/tinny; if it is private, set HF_TOKEN"
    assert str(error.value) == sentence
    with pytest.raises(UnknownModelError) as error:
        _layouts.from_hub("acme/tinny", cache)
    assert "no model is called 'acme/tinny'" in str(error.value)
    assert sentence in str(error.value)


def test_a_name_that_no_repository_can_have_is_an_unknown_model_without_a_request(
    small_hub: SmallHub, cache: Path
) -> None:
    with pytest.raises(UnknownModelError, match="'a b/c' is not the name of a repository"):
        hub.download("a b/c", None, ["*.json"], cache)
    assert small_hub.requests == []


def test_a_known_model_whose_repository_is_gone_is_not_an_unknown_model(small_hub: SmallHub, cache: Path) -> None:
    assert "has no public repository acme/tiny" in reason(spec_of(GONE), cache)


REFUSALS = {
    "gated, no token": (
        gated(),
        "acme/tiny is gated and the hub does not let you download it (401 Access to model acme/tiny is restricted); accept "
        "the conditions on the model's page, HUB/acme/tiny, and set HF_TOKEN to a token of yours",
    ),
    "gated, not accepted": (gated(403), "acme/tiny is gated and the hub does not let you download it (403"),
    "wrong token": (
        refused(401, message="Invalid credentials in Authorization header"),
        "the hub (HUB) does not let you download acme/tiny (401 Invalid credentials in Authorization header); set HF_TOKEN",
    ),
    "forbidden": (refused(403), "the hub (HUB) does not let you download acme/tiny (403 Forbidden); set HF_TOKEN"),
    "too many requests": (
        too_many_requests(seconds=37),
        "the hub (HUB) has had too many requests (429 Too Many Requests); try again in 37 seconds",
    ),
    "the hub's own limit": (
        Fault(status=429, headers={"RateLimit": '"api";r=0;t=55'}, body=b"{}"),
        "the hub (HUB) has had too many requests (429 Too Many Requests); try again in 55 seconds",
    ),
    "a limit with a date": (
        Fault(status=429, headers={"Retry-After": "Wed, 21 Oct 2037 07:28:00 GMT"}, body=b"{}"),
        "the hub (HUB) has had too many requests (429 Too Many Requests); try again after Wed, 21 Oct 2037 07:28:00 GMT",
    ),
    "out of order": (refused(503), "the hub (HUB) answered 503 Service Unavailable; try again later"),
    "login page": (
        login_page(),
        "a web page answered in place of the hub (HUB): something between this machine and the hub, such as the login page of "
        "a network or a proxy, or HF_ENDPOINT is wrong; open HUB in a browser to see it",
    ),
    "login page with a status": (login_page(status=403), "a web page answered in place of the hub (HUB)"),
    "login page, later": (login_page("/resolve/"), "a web page answered in place of the hub (HUB)"),
    "login page for the list of files": (login_page("/tree/"), "a web page answered in place of the hub (HUB)"),
    "JSON, but not the hub's": (Fault(path="/api/", body=b"[]"), "a web page answered in place of the hub (HUB)"),
    "no JSON": (Fault(path="/api/", body=b"\xff\xfe"), "a web page answered in place of the hub (HUB)"),
}


@pytest.mark.parametrize(("fault", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_what_the_hub_refuses_is_said_with_its_reason_first(
    small_hub: SmallHub, cache: Path, no_waiting: None, fault: Fault, sentence: str
) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    small_hub.faults = [replace(fault)]
    assert reason(spec_of(commit), cache).startswith(sentence.replace("HUB", small_hub.url))
    small_hub.faults = []
    assert contents(sources.ensure_local(spec_of(commit), cache)) == FILES


def test_offline_nothing_is_asked(small_hub: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    commit = small_hub.commit("acme/tiny", FILES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert reason(spec_of(commit), cache) == (
        "acme/tiny is not in the cache and was not downloaded, because HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set"
    )
    assert small_hub.requests == []


@pytest.fixture
def absent(small_hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Nothing listens where the hub should be; returns the revisions that the client was made to ask for."""
    from huggingface_hub import HfApi, constants

    asked: list[str | None] = []
    model_info = HfApi.model_info

    def counted(self: HfApi, *names: str, **options: Any) -> object:
        asked.append(options["revision"])
        return model_info(self, *names, **options)

    monkeypatch.setattr(HfApi, "model_info", counted)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return asked


def test_a_hub_that_cannot_be_reached_is_asked_once_and_remembered_for_a_while(
    absent: list[str | None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(hub.time, "monotonic", lambda: now[0])
    sentence = f"the connection to the hub (http://127.0.0.1:9) failed: {REFUSED}"
    assert reason(spec_of(COMMIT), cache) == sentence
    assert absent == [COMMIT]
    for _ in range(3):
        assert reason(spec_of(COMMIT), cache) == f"{sentence}; {NOT_AGAIN}"
    with pytest.raises(DownloadError, match=NOT_AGAIN):  # the memory is of the hub, not of the repository
        hub.download("acme/other", None, ["*"], cache)
    assert absent == [COMMIT]
    with pytest.raises(DownloadError, match="Connection refused"):
        sources.pull(spec_of(COMMIT), cache, force=True)
    assert len(absent) == 2
    now[0] += 61
    assert reason(spec_of(COMMIT), cache) == sentence
    assert len(absent) == 3


def test_another_hub_is_asked_although_one_is_away(
    absent: list[str | None], small_hub: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = small_hub.commit("acme/tiny", FILES)
    reason(spec_of(commit), cache)
    monkeypatch.setattr(constants, "ENDPOINT", small_hub.url)
    assert contents(sources.ensure_local(spec_of(commit), cache)) == FILES


def test_a_hub_that_does_not_answer_is_given_up_after_a_moment(
    small_hub: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = small_hub.commit("acme/tiny", FILES)
    small_hub.faults = [Fault(silent=True)]
    monkeypatch.setattr(hub, "PATIENCE", 0.25)
    sentence = (
        f"the connection to the hub ({small_hub.url}) failed: no answer within 0.25 s; on a slow network set "
        "HF_HUB_ETAG_TIMEOUT to more seconds"
    )
    assert reason(spec_of(commit), cache).startswith(sentence)
    assert reason(spec_of(commit), cache).endswith(NOT_AGAIN)
    assert len(small_hub.requests) == 1
    small_hub.faults = []
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "60")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 60)
    sources.pull(spec_of(commit), cache, force=True)
    assert contents(sources.ensure_local(spec_of(commit), cache)) == FILES


def test_without_a_network_the_first_answer_takes_less_than_three_seconds() -> None:
    assert hub.PATIENCE < 3  # it bounds the one request that is made; see the test above


def test_a_cache_folder_that_cannot_be_written_is_named(small_hub: SmallHub, tmp_path: Path) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    (tmp_path / "file").write_text("where a folder would have to be")
    with pytest.raises(
        CacheError, match=r"acme/tiny could not be put into the cache: .*; set EMBEDRY_CACHE to a folder"
    ):
        sources.ensure_local(spec_of(commit), tmp_path / "file" / "cache")


ASK = """
from pathlib import Path
from embedry import EmbedryError
from embedry._files import hub
hub.PATIENCE = 60
try:
    print(hub.download("acme/tiny", None, ["*.json"], Path("cache")).name)
except EmbedryError as error:
    print(type(error).__name__, error)
"""


def asked(fresh: Fresh, **environment: str) -> list[str]:
    """What a fresh process prints that downloads from the hub with these variables set."""
    defaults = {"HF_HUB_OFFLINE": "0", "HF_HOME": "home", "HF_TOKEN": "", "NO_PROXY": "", "no_proxy": ""}
    result = fresh(ASK, env=defaults | environment)
    assert "Traceback" not in result.stderr
    return result.stdout.splitlines()


def test_the_clients_environment_variables_hold(small_hub: SmallHub, fresh: Fresh, tmp_path: Path) -> None:
    commit = small_hub.commit("acme/tiny", FILES)
    assert asked(fresh, HF_ENDPOINT=small_hub.url, HF_TOKEN="a token") == [commit]
    assert {each.headers.get("authorization") for each in small_hub.asked("acme/tiny")} == {"Bearer a token"}
    shutil.rmtree(tmp_path / "cache")
    assert asked(fresh, HF_ENDPOINT="http://hub.example", HTTP_PROXY=small_hub.url) == [commit]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"ANOTHER": "abc", "HF_HUB_DOWNLOAD_TIMEOUT": "abc"},
            "DownloadError the environment variable HF_HUB_DOWNLOAD_TIMEOUT has a value that the hub's client does not accept; "
            "correct or unset it (invalid literal for int() with base 10: 'abc')",
        ),
        (
            {"SSL_CERT_FILE": "/nowhere/certificates.pem"},
            "DownloadError the certificates that SSL_CERT_FILE names cannot be loaded: /nowhere/certificates.pem, which does "
            "not exist; correct or unset SSL_CERT_FILE",
        ),
        (
            {"HTTP_PROXY": "http://user:secret@127.0.0.1:9"},
            "DownloadError the connection to the hub (http://127.0.0.1:9) failed: "
            f"{REFUSED} (the "
            "proxy is set by HTTP_PROXY)",
        ),
        (
            {"HF_HUB_OFFLINE": "1"},
            "DownloadError acme/tiny is not in the cache and was not downloaded, because HF_HUB_",
        ),
        (
            {"HF_ENDPOINT": "hub.example"},
            "DownloadError the connection to the hub (hub.example) failed: Request URL is missing",
        ),
    ],
    ids=lambda value: list(value)[-1] if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_one_sentence_that_names_the_variable(
    fresh: Fresh, environment: dict[str, str], sentence: str
) -> None:
    (line,) = asked(fresh, **{"HF_ENDPOINT": "http://127.0.0.1:9"} | environment)
    assert line.startswith(sentence)
    assert "secret" not in line


LOAD = """
from dataclasses import replace
from pathlib import Path
from embedry import resolve
from entries import registered
spec = registered(Path({model!r}), name="tiny", repo="acme/tiny", revision={commit!r})
print(resolve(replace(spec, folder=None)).embed_query("a text"))
"""

LOAD_BY_NAME = """
from embedry import resolve
embedder = resolve("acme/tiny")
print(embedder.spec.revision, embedder.embed_query("a text"))
"""


def test_a_cache_that_is_carried_to_another_machine_works_there_without_a_network(
    small_hub: SmallHub, checkpoint: Callable[..., Path], fresh: Fresh, tmp_path: Path
) -> None:
    model = checkpoint("bert")
    commit = small_hub.commit("acme/tiny", contents(model))
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": small_hub.url, "HF_HUB_ETAG_TIMEOUT": "60", "NO_PROXY": "127.0.0.1"}
    here = {"EMBEDRY_CACHE": str(tmp_path / "here"), "HF_HOME": str(tmp_path / "home")}
    there = {"HF_HUB_OFFLINE": "1", "EMBEDRY_CACHE": str(tmp_path / "there"), "HF_HOME": str(tmp_path / "nothing")}
    programs = (LOAD_BY_NAME, LOAD.format(model=str(model), commit=commit))
    first = [fresh(code, env=online | here, path=Path(__file__).parent).stdout for code in programs]
    assert first[0] == f"{commit} {first[1]}"
    assert not (tmp_path / "home" / "hub").exists()
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert [fresh(code, env=there, path=Path(__file__).parent).stdout for code in programs] == first


def test_a_repository_of_which_the_cache_has_only_a_part_is_completed_or_called_incomplete(
    small_hub: SmallHub,
    checkpoint: Callable[..., Path],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    files = contents(checkpoint("bert"))
    small_hub.commit("acme/tiny", files, commit=COMMIT)
    part = {file: files[file] for file in ("modules.json", "config_sentence_transformers.json")}
    snapshot = hub_cache(tmp_path / "hugging-face", "acme/tiny", part)
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(DownloadError) as error:
            _layouts.from_hub("acme/tiny", cache)
    assert str(error.value).startswith(f"the cache has only a part of acme/tiny ({snapshot} has no ")
    assert "HF_HUB_OFFLINE" in str(error.value)
    assert _layouts.from_hub("acme/tiny", cache).revision == COMMIT


UNREADABLE = """
import logging, os, warnings  # logging here, where everything may still be read
from pathlib import Path
from dataclasses import replace
from embedry import ModelSpec
from embedry._files import hub_cache, sources
from embedry._files import weights  # noqa: F401, while the interpreter may still read its own files
from entries import entry

import numpy
place = Path({place!r})
if os.getuid() == 0:  # whom nothing is closed to
    os.setuid(65534)
spec = entry(repo="acme/tiny", revision="f" * 40)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        assert hub_cache.cached("acme/tiny", None, ["tokenizer.json"], place / "closed") is None
        assert sources.find_local(spec, place / "closed") is None
        assert sources.find_local(replace(spec, name="other"), place / "closed") is None
        assert sources.find_local(spec, place / "private") is None
        assert sources.ensure_local(replace(spec, folder=str(place / "given")), place / "closed") == place / "given"
for warning in caught:
    if "is not readable by this user" in str(warning.message):  # the cache of digests has a warning of its own
        print(warning.category.__name__, warning.message)
try:
    sources.find_local(replace(spec, folder=str(place / "closed" / "given")), place / "cache")
except FileNotFoundError as error:
    print(error)
"""


def test_caches_that_may_not_be_read_count_as_empty_with_one_warning_for_each(fresh: Fresh) -> None:
    place = Path(tempfile.mkdtemp())  # not below the tests' own folder, which only its owner may read
    files = {"model.safetensors": EMPTY_TENSORS, "tokenizer.json": b"{}", "config.json": b"{}"}
    try:
        place.chmod(0o755)
        private = f"private/models/tiny@{GONE[:12]}"
        for name in ("closed/given", "given", private):
            fill(place / name, files)
        (place / private / "config.json").chmod(0)
        for name in ("closed", "hugging-face"):
            (place / name).mkdir(exist_ok=True)
            (place / name).chmod(0)
        told = fresh(
            UNREADABLE.format(place=str(place)),
            env={"HF_HUB_CACHE": str(place / "hugging-face")},
            path=Path(__file__).parent,
        ).stdout.splitlines()
    finally:
        for name in ("closed", "hugging-face"):
            (place / name).chmod(0o755)
        shutil.rmtree(place)
    *warned, given = told
    assert [line.split(" is not readable")[0] for line in sorted(warned)] == [
        f"CacheWarning {place}/closed",
        f"CacheWarning {place}/hugging-face",
        f"CacheWarning {place}/{private}/config.json",
    ]
    assert all("set EMBEDRY_CACHE or HF_HUB_CACHE to a folder that you can read" in line for line in warned)
    assert given.startswith(f"the folder {place}/closed/given of 'tiny' is not readable by this user")


EMPTY_TENSORS = (2).to_bytes(8, "little") + b"{}"


def test_an_error_of_an_unknown_kind_keeps_its_first_line() -> None:
    class StrangeError(Exception):
        pass

    told = hub_errors.explain(StrangeError("Odd.\nand more"), "acme/tiny", None, "https://hub.example")
    assert isinstance(told, DownloadError)
    assert str(told) == "acme/tiny at main could not be downloaded from https://hub.example: Odd."
