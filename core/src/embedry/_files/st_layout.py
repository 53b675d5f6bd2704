"""Reads the sentence-transformers layout: a folder or repository that no entry knows, described by its own files.

modules.json lists the modules in order, each with its folder; a length file or tokenizer_config.json states the length,
config_sentence_transformers.json the prompts. Paths are followed, classes compared by their whole names. What the files ask
for and embedry does not do is refused by name, and what they leave out is never guessed.
"""

import warnings
from pathlib import Path

from embedry import chains, registry
from embedry._files import hub, hub_cache, model_config, parsing, st_modules, static_files, tokenizer_files
from embedry._files.paths import inside
from embedry._files.st_files import (
    DESCRIPTION,
    INDEX,
    LARGEST_INDEX,
    LENGTHS,
    SETTINGS,
    WEIGHTS,
    Files,
    IndexFile,
    LengthFile,
    ModuleEntry,
    SettingsFile,
)
from embedry.errors import (
    DownloadError,
    EmbedryWarning,
    IntegrityError,
    UnknownModelError,
    UnsupportedModelError,
    WeightsNotFoundError,
)
from embedry.modules import LibraryModule, Module, StaticEmbedding
from embedry.spec import NO_LIMIT, ModelSpec, Similarity
from embedry.transformer import Transformer

_MOST_MODULES = 64
"""Models have three to six; each is looked for on disk, and becomes a part of a graph."""


def from_folder(folder: Path) -> ModelSpec:
    """The entry that the files of a folder describe. Its digests are unknown, so nothing can be verified.

    Args:
        folder: has modules.json; its own name is the model's.

    Raises:
        UnknownModelError: there is no such folder.
        WeightsNotFoundError: a file of the layout is missing.
        IntegrityError: a file is not JSON of the right form, names a file outside the folder, or contradicts another.
        UnsupportedModelError: a file asks for something that no engine does.
    """
    if not folder.is_dir():
        raise UnknownModelError(
            f"no folder {folder}; a model on the hub is written organisation/name, without a leading dot"
        )
    return _entry(Files(folder))


def from_hub(repo: str, cache_dir: Path) -> ModelSpec:
    """The entry that a repository's files describe, pinned to the commit they were read at: the cached one, else main's.

    Raises:
        UnknownModelError: the hub has no such repository.
        DownloadError: the hub cannot be asked, and the repository is not in the cache.
        Others: as `from_folder`.
    """
    folder = hub_cache.cached(repo, None, ["modules.json"], cache_dir)
    if folder is None:
        return _entry(Files(_described(repo, cache_dir)), repo)
    if not (folder / SETTINGS).is_file():  # the repository has none, or another program fetched only a part of it
        try:
            folder = _downloaded(repo, folder.name, cache_dir)
        except (DownloadError, UnknownModelError) as error:  # it may have been deleted since
            warnings.warn(
                EmbedryWarning(
                    f"{SETTINGS} of {repo} is not in the Hugging Face cache and the hub cannot be asked, so {repo} is taken "
                    f"to have no prompts ({error})"
                ),
                stacklevel=4,
            )
    try:
        return _entry(Files(folder, advice=False), repo)
    except WeightsNotFoundError as missing:
        try:
            folder = _downloaded(repo, folder.name, cache_dir)
        except (DownloadError, UnknownModelError) as error:
            raise DownloadError(
                f"the cache has only a part of {repo} ({missing}), and the hub cannot be asked for the rest: {error}"
            ) from None
    return _entry(Files(folder), repo)


def from_hub_at(repo: str, revision: str | None, cache_dir: Path) -> ModelSpec:
    """The entry that a repository's files describe at a commit, branch or tag, None for main. The hub is always asked.

    Raises:
        As `from_hub`.
    """
    return _entry(Files(_described(repo, cache_dir, revision)), repo)


def _downloaded(repo: str, revision: str | None, cache_dir: Path) -> Path:
    folder = hub.download(repo, revision, DESCRIPTION, cache_dir)
    if static_files.is_static(Files(folder)):  # which vectors it has stands nowhere but in its table
        folder = hub.download(repo, folder.name, [*DESCRIPTION, WEIGHTS], cache_dir)
    return folder


def _described(repo: str, cache_dir: Path, revision: str | None = None) -> Path:
    """The folder with the files that describe a repository, downloaded."""
    hint = f"; for the folder of that name write './{repo}'" if Path(repo).is_dir() else ""
    try:
        return _downloaded(repo, revision, cache_dir)
    except UnknownModelError as error:
        text = f"{registry.installed().unknown(repo)}; as a repository: {error}{hint}"
        raise UnknownModelError(text) from None
    except DownloadError as error:
        raise DownloadError(f"{error}{hint}") from None


def _entry(files: Files, repo: str | None = None) -> ModelSpec:
    folder = files.folder
    # Also those that nothing else reads may ask for code.
    for file in sorted((*folder.glob("*config.json"), *folder.glob("*/*config.json"))):
        parsing.refuse_code(folder, file.relative_to(folder).as_posix())
    if static_files.is_model2vec(files):
        return static_files.entry(files, repo)
    layout = _Layout(files)
    listed = layout.files()
    # The weights of a repository come when they are used.
    files.check_present([file for file in listed if repo is None or file not in layout.weights])
    return ModelSpec(
        name=repo or folder.resolve().name or "model",
        repo=repo,
        revision=folder.name if repo else None,
        folder=None if repo else str(folder),
        files=dict.fromkeys(listed),
        dims=layout.dims,
        max_seq_length=layout.max_seq_length,
        preferred_backend="onnxruntime" if layout.static is None else "static",
        architecture=layout.architecture,
        transformer=layout.transformer,
        chain=tuple(layout.chain),
        prompts=layout.prompts,
        similarity=layout.similarity,
        description=f"read from {repo or folder}",
    )


class _Layout:
    """What the files of a folder say, read in the order of modules.json."""

    def __init__(self, files: Files) -> None:
        self.folder = files.folder
        self._files = files
        self.transformer: Transformer | None = None
        self.architecture = ""
        self.max_seq_length = 0
        self.chain: list[Module] = []
        self.dims = 0
        self.prompts: dict[str, str] = {}
        self.similarity: Similarity = "cosine"
        self.weights: list[str] = []
        self._read_settings()
        for position, (kind, module) in enumerate(self._modules()):
            path = module.path.rstrip("/").removeprefix(".")
            if kind == "Transformer":
                self._add_transformer(path, position)
            elif kind != "Dropout":  # which does nothing when vectors are computed
                found, width = st_modules.read(self._files, module.type, path)
                self.chain.append(found)
                self.dims = width or self.dims
        if not self.chain:
            raise UnsupportedModelError(
                f"modules.json in {self.folder} lists nothing that makes one vector of a text's token vectors, such as Pooling"
            )
        self.static = next((module for module in self.chain if isinstance(module, StaticEmbedding)), None)
        if self.static is not None:
            self.architecture, self.max_seq_length = "static", NO_LIMIT
            self.weights = [self.static.weights]
        elif self.transformer is None:
            raise UnsupportedModelError(
                f"modules.json in {self.folder} starts with no Transformer, so its files do not state dims and length; "
                "write a ModelSpec for it, with transformer=None, and pass that to resolve"
            )

    def files(self) -> list[str]:
        """What engines read: the transformer's weights, configuration and tokenizer, and the weights of modules."""
        own = [self.transformer.file(name) for name in ("tokenizer.json", "config.json")] if self.transformer else []
        own += [self.static.tokenizer] if self.static else []
        chain = tuple(self.chain)
        names = [*self.weights, *own, *chains.weights(chain)]
        if any(isinstance(module, LibraryModule) for module in chain) or chains.leaves_out_prompt(chain):
            names += self._library_files()  # only the library itself reads such a model, with its own tokenizer
        return list(dict.fromkeys(names))

    def _read_settings(self) -> None:
        settings = self._files.read_or(SETTINGS, SettingsFile, SettingsFile())
        refused = {
            "model_type": settings.model_type if settings.model_type != "SentenceTransformer" else None,
            "truncate_dim": settings.truncate_dim,
        }
        for key, value in refused.items():
            if value is not None:
                raise UnsupportedModelError(
                    f"{self.folder / SETTINGS} sets {key} to {value!r}, which no engine of embedry honours"
                )
        self.prompts = {name: prompt or "" for name, prompt in (settings.prompts or {}).items()}
        # Roles have prompts of their own: the default one is for callers that name no role, as in the library.
        if settings.default_prompt_name not in (None, "query", "document", *self.prompts):
            raise IntegrityError(
                f"{self.folder / SETTINGS} names the default prompt {settings.default_prompt_name!r}, and has only "
                f"{', '.join(map(repr, self.prompts)) or 'none'}"
            )
        self.similarity = settings.similarity_fn_name or "cosine"

    def _modules(self) -> list[tuple[str, ModuleEntry]]:
        """The modules of modules.json, each with its kind."""
        listed = self._files.read("modules.json", list[ModuleEntry])
        if len(listed) > _MOST_MODULES:
            raise UnsupportedModelError(
                f"modules.json in {self.folder} lists {len(listed)} modules; embedry reads no more than {_MOST_MODULES}"
            )
        names = [module.name for module in listed if module.name is not None]
        for name in names:
            if names.count(name) > 1:  # of which the library would keep one
                raise IntegrityError(
                    f"modules.json in {self.folder} gives the name {name!r} to {names.count(name)} modules"
                )
        found = []
        for module in listed:
            inside(self.folder, module.path or ".")
            kind = st_modules.kind(module.type)
            if not kind:
                raise UnsupportedModelError(
                    f"modules.json in {self.folder} names the class {module.type!r}: the model needs code of its own, and "
                    "embedry never runs code that comes with a model"
                )
            found.append((kind, module))
        return found

    def _add_transformer(self, path: str, position: int) -> None:
        if position > 0:
            raise UnsupportedModelError(
                f"modules.json in {self.folder} lists a Transformer in place {position}, not first"
            )
        at = Transformer(path=path)
        if self._files.has(at.file("adapter_config.json")):
            raise UnsupportedModelError(
                f"{self.folder} has {at.file('adapter_config.json')}: an adapter over another model's weights, which no engine "
                "of embedry loads; merge it into the model and save that"
            )
        config = self._files.read(at.file("config.json"), model_config.Raw)
        self.architecture = config.architecture
        lengths = (self._files.read_or(at.file(name), LengthFile, LengthFile()) for name in LENGTHS)
        stated = next((length for length in lengths if length != LengthFile()), LengthFile())
        for key, value in stated.not_honoured().items():
            raise UnsupportedModelError(
                f"the options of the transformer in {self.folder / at.path} set {key} to {value!r}, which no engine of "
                "embedry honours"
            )
        tokenizer = tokenizer_files.read(self._files, at, self.architecture)
        self.transformer = Transformer(
            path=path,
            lower_case=bool(stated.do_lower_case),
            normalizer=tokenizer.normalizer,
            split_at_spaces=tokenizer.split_at_spaces,
            truncate_left=tokenizer.truncate_left,
        )
        self.max_seq_length = self._length(stated, tokenizer.model_max_length, at)
        self.weights = self._weight_files(at)

    def _length(self, stated: LengthFile, tokenizers: int | None, at: Transformer) -> int:
        if stated.max_seq_length is not None:  # whether the model has that many positions is seen when it is loaded
            return stated.max_seq_length
        longest = model_config.read(self.folder, at.file("config.json")).longest
        lengths = [length for length in (tokenizers, longest) if length is not None]
        if not lengths:
            raise WeightsNotFoundError(f"no file in {self.folder} states how many tokens the model reads")
        return max(1, min(lengths))

    def _weight_files(self, at: Transformer) -> list[str]:
        if not self._files.has(at.file(WEIGHTS)) and self._files.has(at.file(INDEX)):
            shards = self._files.read(at.file(INDEX), IndexFile, LARGEST_INDEX).weight_map.values()
            # Libraries that load the shards look for the index too.
            return [*(at.file(shard) for shard in dict.fromkeys(shards)), at.file(INDEX)]
        return [at.file(WEIGHTS)]

    def _library_files(self) -> list[str]:
        at = self.transformer.path if self.transformer else ""
        folders = [at, *(module.path for module in self.chain if isinstance(module, LibraryModule))]
        places = [inside(self.folder, path or ".") for path in dict.fromkeys(folders)]
        present = [file for place in places if place.is_dir() for file in sorted(place.iterdir())]
        read = [
            file for file in present if file.suffix in (".json", ".txt", ".model", ".safetensors") and file.is_file()
        ]
        return [file.relative_to(self.folder).as_posix() for file in read]
