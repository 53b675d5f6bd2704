"""Reads unregistered folders and repositories in the layout of sentence-transformers and related layouts.

modules.json lists the modules in order, each with its folder; a length file or tokenizer_config.json states the length,
config_sentence_transformers.json the prompts. Without modules.json, config.json may name a class that is a whole model. Classes are
compared by their full names. Unsupported settings and missing required settings raise an error.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from embedry import registry
from embedry._files import hub, hub_cache, parsing
from embedry._files.paths import inside
from embedry.chains import Kind
from embedry.errors import DownloadError, EmbedryWarning, UnknownModelError, WeightsNotFoundError
from embedry.spec import ModelSpec
from embedry_layouts import dense, forerunners, listed, multi_vectors, plain, rerankers, settings, sparse, static
from embedry_layouts.files import DESCRIPTION, SETTINGS, WEIGHTS, Files
from embedry_layouts.found import Found
from embedry_layouts.listed import Listed
from embedry_layouts.settings import Settings


def from_folder(folder: Path) -> ModelSpec | None:
    """The entry described by the files of a folder, or None. Its digests are unknown, so files cannot be verified.

    Args:
        folder: the folder; its name becomes the model's name.

    Raises:
        UnknownModelError: there is no such folder.
        WeightsNotFoundError: a file of the layout is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure, names a file outside the folder, or contradicts another file.
        UnsupportedModelError: a file has a setting that no engine supports.
    """
    if not folder.is_dir():
        raise UnknownModelError(
            f"no folder {folder}; a model on the hub is written organization/name, without a leading dot"
        )
    return _entry(Files(folder))


def from_hub(repo: str, cache_dir: Path) -> ModelSpec | None:
    """The entry described by a repository's files, pinned to their commit: the cached one, else that of main.

    Raises:
        UnknownModelError: the hub has no such repository.
        DownloadError: the hub cannot be reached, and the repository is not in the cache.
        Others: as `from_folder`.
    """
    known = (hub_cache.cached(repo, None, [file], cache_dir) for file in (listed.FILE, "config.json"))
    folder = next(filter(None, known), None)
    if folder is None:
        return _entry(Files(_described(repo, cache_dir)), repo)
    missing = [file for file in (listed.FILE, SETTINGS) if not (folder / file).is_file()]
    if missing:  # the repository has none, or another program fetched only a part of it
        try:
            folder = _downloaded(repo, folder.name, cache_dir)
        except (DownloadError, UnknownModelError) as error:  # it may have been deleted since
            none = "prompts" if missing == [SETTINGS] else "such file"
            warnings.warn(
                EmbedryWarning(
                    f"{' and '.join(missing)} of {repo} {'is' if len(missing) == 1 else 'are'} not in the Hugging Face cache and "
                    f"the hub cannot be asked, so {repo} is taken to have no {none} ({error})"
                ),
                stacklevel=9,  # the caller of resolve
            )
    try:
        return _entry(Files(folder, advice=False), repo)
    except WeightsNotFoundError as lacks:
        try:
            folder = _downloaded(repo, folder.name, cache_dir)
        except (DownloadError, UnknownModelError) as error:
            raise DownloadError(
                f"the cache has only a part of {repo} ({lacks}), and the hub cannot be asked for the rest: {error}"
            ) from None
    return _entry(Files(folder), repo)


def from_hub_at(repo: str, revision: str | None, cache_dir: Path) -> ModelSpec | None:
    """The entry described by a repository's files at a commit, branch or tag; None for main. Always queries the hub.

    Raises:
        As `from_hub`.
    """
    return _entry(Files(_described(repo, cache_dir, revision)), repo)


def _downloaded(repo: str, revision: str | None, cache_dir: Path) -> Path:
    folder = hub.download(repo, revision, DESCRIPTION, cache_dir)
    if _needs_weights(Files(folder)):
        folder = hub.download(repo, folder.name, [*DESCRIPTION, WEIGHTS], cache_dir)
    return folder


def _described(repo: str, cache_dir: Path, revision: str | None = None) -> Path:
    """Downloads the files that describe a repository; returns their folder."""
    hint = f"; for the folder of that name write './{repo}'" if Path(repo).is_dir() else ""
    try:
        return _downloaded(repo, revision, cache_dir)
    except UnknownModelError as error:
        text = f"{registry.installed().unknown(repo)}; as a repository: {error}{hint}"
        raise UnknownModelError(text) from None
    except DownloadError as error:
        raise DownloadError(f"{error}{hint}") from None


def _needs_weights(files: Files) -> bool:
    """Whether only the top-level weights state the length of the vectors."""
    if static.is_static(files):
        return True
    return plain.is_stanford(files) and forerunners.stanford(files).dim is None


def _entry(files: Files, repo: str | None = None) -> ModelSpec | None:
    folder = files.folder
    # Files that nothing else reads may also require remote code.
    for file in sorted((*folder.glob("*config.json"), *folder.glob("*/*config.json"))):
        parsing.refuse_code(folder, file.relative_to(folder).as_posix())
    found = _saved(files) if inside(folder, listed.FILE).exists() else plain.read(files)
    return found.entry(files, repo) if found is not None else None


def _saved(files: Files) -> Found:
    """Reads the files of a model with a modules.json."""
    stated = settings.read(files)
    of_pylate = {"pylate.models.Dense.Dense": "Dense"} if stated.kind == "multi_vector" else {}
    return _KINDS[stated.kind](files, stated, listed.read(files, of_pylate))


_KINDS: dict[Kind, Callable[[Files, Settings, Sequence[Listed]], Found]] = {
    "dense": dense.read,
    "reranker": rerankers.read,
    "sparse": sparse.read,
    "multi_vector": multi_vectors.read,
}
"""Who reads the modules of a model of each kind."""
