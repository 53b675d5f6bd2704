"""The transformer of a model: its length limit, tokenizer and files."""

from collections.abc import Collection
from dataclasses import dataclass

from embedry._files import model_config
from embedry.errors import UnsupportedModelError, WeightsNotFoundError
from embedry.transformer import Transformer
from embedry_layouts import tokenizer_files
from embedry_layouts.files import INDEX, LARGEST_INDEX, LENGTHS, WEIGHTS, Files, IndexFile, LengthFile
from embedry_layouts.tokenizer_files import TokenizerSettings


@dataclass(frozen=True, kw_only=True)
class Body:
    """A transformer as described by its files."""

    transformer: Transformer
    architecture: str
    max_seq_length: int
    weights: tuple[str, ...]
    """The files with its weights."""
    task: str
    """What it is loaded for, one of `TASKS`."""
    stated: LengthFile
    """What is stated beside its config.json."""
    tokenizer: TokenizerSettings

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return self.transformer.file(name)

    @property
    def files(self) -> list[str]:
        """The files that engines read."""
        return [*self.weights, self.file("tokenizer.json"), self.file("config.json")]


def stated(files: Files, at: Transformer) -> LengthFile:
    """The settings of a transformer outside its config.json: the first file with any setting applies."""
    lengths = (files.read_or(at.file(name), LengthFile, LengthFile()) for name in LENGTHS)
    return next((length for length in lengths if length != LengthFile()), LengthFile())


def read(
    files: Files,
    path: str,
    options: LengthFile,
    *,
    tasks: Collection[str] = ("feature-extraction",),
    honored: Collection[str] = (),
) -> Body:
    """Reads the transformer in a folder of a model.

    Args:
        files: the files of the model.
        path: the folder, empty for the top level.
        options: the settings outside config.json; empty if the library does not read them.
        tasks: the tasks that it may be loaded for; the first one is the default.
        honored: options that the caller handles.

    Raises:
        WeightsNotFoundError: a file is missing, or no file states the length limit.
        IntegrityError: a file is not valid JSON or has the wrong structure.
        UnsupportedModelError: a file has an unsupported setting; names the key and the value.
    """
    at = Transformer(path=path)
    if files.has(at.file("adapter_config.json")):
        raise UnsupportedModelError(
            f"{files.folder} has {at.file('adapter_config.json')}: an adapter over another model's weights, which no engine "
            "of embedry loads; merge it into the model and save that"
        )
    architecture = files.read(at.file("config.json"), model_config.Raw).architecture
    task = options.transformer_task or next(iter(tasks))
    refused = {"transformer_task": task} if task not in tasks else options.not_honored(task, honored)
    for key, value in refused.items():
        raise UnsupportedModelError(
            f"the options of the transformer in {files.folder / at.path} set {key} to {value!r}, which no engine of "
            "embedry honors"
        )
    tokenizer = tokenizer_files.read(files, at, architecture)
    return Body(
        transformer=Transformer(
            path=path,
            lower_case=bool(options.do_lower_case),
            normalizer=tokenizer.normalizer,
            split_at_spaces=tokenizer.split_at_spaces,
            truncate_left=tokenizer.truncate_left,
        ),
        architecture=architecture,
        max_seq_length=_length(files, options, tokenizer.model_max_length, at),
        weights=tuple(_weight_files(files, at)),
        task=task,
        stated=options,
        tokenizer=tokenizer,
    )


def _length(files: Files, options: LengthFile, tokenizers: int | None, at: Transformer) -> int:
    if options.max_seq_length is not None:  # loading checks whether the model has that many positions
        return options.max_seq_length
    longest = model_config.read(files.folder, at.file("config.json")).longest
    lengths = [length for length in (tokenizers, longest) if length is not None]
    if not lengths:
        raise WeightsNotFoundError(f"no file in {files.folder} states how many tokens the model reads")
    return max(1, min(lengths))


def _weight_files(files: Files, at: Transformer) -> list[str]:
    if not files.has(at.file(WEIGHTS)) and files.has(at.file(INDEX)):
        shards = files.read(at.file(INDEX), IndexFile, LARGEST_INDEX).weight_map.values()
        # Libraries that load the shards look for the index too.
        return [*(at.file(shard) for shard in dict.fromkeys(shards)), at.file(INDEX)]
    return [at.file(WEIGHTS)]
