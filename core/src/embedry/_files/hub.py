"""Downloads from the Hugging Face hub with its own client and all of its environment variables."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from embedry._files import cache, hub_errors, stated
from embedry._files.hub_cache import own_cache
from embedry.errors import DownloadError, IntegrityError, UnknownModelError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

PATIENCE = 2.5
"""Seconds to wait for the hub's first answer; `HF_HUB_ETAG_TIMEOUT` changes it."""

AWAY_FOR = 60.0
"""Seconds for which a hub that did not answer is not asked again."""

_away: dict[str, tuple[float, str]] = {}
"""Endpoint -> until when it is not asked again, by the monotonic clock, and why."""


@dataclass(frozen=True)
class Card:
    """What the hub states of a repository for people, from its model card."""

    license: str
    """As the card names it, such as "apache-2.0"; empty where it says nothing."""
    languages: tuple[str, ...]


def card(repo: str, revision: str) -> Card:
    """What a repository's model card states.

    Raises:
        As `download`.
    """
    about = _existing(repo, revision)
    stated_license, language = (getattr(about.card_data, name, None) for name in ("license", "language"))
    languages = language if isinstance(language, list) else [language]
    return Card(
        license=stated_license if isinstance(stated_license, str) else "",
        languages=tuple(each for each in languages if isinstance(each, str)),
    )


@dataclass(frozen=True)
class FileOnHub:
    """What the hub states of one file."""

    sha256: str | None
    """None for a small file, of which the hub keeps another digest."""
    size: int
    """Bytes; 0 where the hub does not say it."""


def files(repo: str, revision: str) -> dict[str, FileOnHub]:
    """The files of a repository at a commit, by their paths. Nothing is downloaded.

    Raises:
        As `download`.
    """
    siblings = _existing(repo, revision).siblings or ()
    return {file.rfilename: FileOnHub(file.lfs.sha256 if file.lfs else None, file.size or 0) for file in siblings}


def download(
    repo: str,
    revision: str | None,
    patterns: Collection[str],
    cache_dir: Path,
    *,
    force: bool = False,
    or_main: bool = False,
) -> Path:
    """Downloads the files of a repository that match the patterns, and returns the snapshot folder, named by its commit.

    Files that are there already are not downloaded again. All are compared with what the hub states of them, and a wrong one is
    removed.

    Args:
        repo: the repository.
        revision: a commit, branch or tag; None for main.
        patterns: names of files, in which `*` stands for any characters.
        cache_dir: embedry's cache folder.
        force: download even what is there, and ask a hub that did not answer a moment ago.
        or_main: take main if the hub does not have the revision.

    Raises:
        UnknownModelError: the hub has no such repository.
        DownloadError: the hub cannot be reached or refuses, or `HF_HUB_OFFLINE` is set.
        IntegrityError: what came is not what the hub states.
        CacheError: the cache folder cannot be written.
    """
    endpoint = _prepare(repo)
    for found in (revision, None) if or_main else (revision,):
        about = _about(repo, found, endpoint, force=force)
        if about is not None:
            break
    else:
        raise hub_errors.missing_revision(repo, revision, endpoint)
    from huggingface_hub import snapshot_download

    try:
        cache.subfolder(cache_dir, own_cache(cache_dir).name)  # the client would make it with another mode
        folder = snapshot_download(
            repo,
            revision=found,
            cache_dir=own_cache(cache_dir),
            allow_patterns=list(patterns),
            force_download=force,
        )
    except Exception as error:  # the client lets through what its HTTP library raises
        raise hub_errors.explain(error, repo, found, endpoint) from None
    if Path(folder).name != about.sha:  # the branch has moved in between
        about = _about(repo, Path(folder).name, endpoint, force=force) or about
    try:
        wrong = stated.compare(Path(folder), stated.digests_of(about.siblings or ()), cache_dir)
    except OSError as error:
        raise hub_errors.explain(error, repo, found, endpoint) from None
    for each in wrong:
        raise IntegrityError(
            f"{each.file} of {repo} at {about.sha} does not match the digest that the hub ({endpoint}) states.\n"
            f"  {each.kind:<8}  {each.found}\n"
            f"  expected  {each.expected}\n"
            f"It was removed, and nothing was loaded; fetch it again: embedry pull {repo}"
        )
    return Path(folder)


def _prepare(repo: str) -> str:
    """The address of the hub, after what needs no network was checked."""
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ValueError as error:  # it reads numbers from the environment
        raise hub_errors.wrong_setting(error) from None
    try:
        validate_repo_id(repo)
    except ValueError as error:
        raise UnknownModelError(f"{repo!r} is not the name of a repository: {error}") from None
    if constants.HF_HUB_OFFLINE:
        raise DownloadError(
            f"{repo} is not in the cache and was not downloaded, because HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set"
        )
    return constants.ENDPOINT


def _existing(repo: str, revision: str) -> "ModelInfo":
    """What the hub says of a revision that it must have. Raises as `download`."""
    endpoint = _prepare(repo)
    about = _about(repo, revision, endpoint, force=False)
    if about is None:
        raise hub_errors.missing_revision(repo, revision, endpoint)
    return about


def _about(repo: str, revision: str | None, endpoint: str, *, force: bool) -> "ModelInfo | None":
    """What the hub says of a revision, None if there is none: asked once, briefly, and not for a while if nothing answers.

    The client's own requests retry for tens of seconds, which is right only for a hub that is there.

    Raises:
        As `download`.
    """
    until, reason = _away.get(endpoint, (0.0, ""))
    if time.monotonic() < until and not force:
        raise DownloadError(
            f"{reason}; for {AWAY_FOR:.0f} s after that embedry does not contact the hub again, except with embedry pull --force"
        )
    answer = _ask(repo, revision)
    _away.pop(endpoint, None)
    if not isinstance(answer, Exception):
        return answer
    error = answer
    if hub_errors.is_missing_revision(error):
        return None
    explained = hub_errors.explain_first(error, repo, revision, endpoint)
    if hub_errors.is_unreachable(error):
        _away[endpoint] = time.monotonic() + AWAY_FOR, str(explained)
    raise explained from None


def _ask(repo: str, revision: str | None) -> "ModelInfo | Exception":
    """What the hub says of a revision and its files, or what the client raises, within the time that it has."""
    from huggingface_hub import HfApi, constants

    seconds = constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else PATIENCE
    answer: SimpleQueue[ModelInfo | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(HfApi().model_info(repo, revision=revision, timeout=2 * seconds, files_metadata=True))
        except Exception as error:  # it is explained where it is read
            answer.put(error)

    # A request's own timeout counts again for each address of the host, and not at all for the look-up of its name.
    Thread(target=ask, daemon=True, name="embedry-hub").start()
    try:
        return answer.get(timeout=max(seconds, 0))
    except Empty:
        return TimeoutError(
            f"no answer within {seconds:g} s; on a slow network set HF_HUB_ETAG_TIMEOUT to more seconds"
        )
