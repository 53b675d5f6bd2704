"""The files of the sentence-transformers layout: names, schemas and reading."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct

from embedry._files import parsing
from embedry._files.paths import inside
from embedry.errors import UnsupportedModelError, WeightsNotFoundError, some

T = TypeVar("T")

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SETTINGS = "config_sentence_transformers.json"
LENGTHS = (
    "sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
    "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)  # fmt: skip
"""Where a transformer's length may be stated; the first one that says anything holds, as in sentence-transformers."""

CHAT_TEMPLATE = "chat_template.jinja"

STANFORD = "artifact.metadata"
"""What the code of ColBERT's authors writes its settings to."""

DESCRIPTION = (
    "modules.json", SETTINGS, "*config.json", "*/*config.json", "*index.json", "*/*index.json", "tokenizer.json",
    "*/tokenizer.json", "*special_tokens_map.json", f"*{CHAT_TEMPLATE}", STANFORD, "*idf.json", "*/model.safetensors",
)  # fmt: skip
"""Patterns of the files that describe a model, and of the small weights of its modules."""

POOLING_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "last",
}
"""The switches that sentence-transformers wrote before version 6 -> poolings, in the order of concatenation."""

TASKS = {
    "feature-extraction": ("token_embeddings", "last_hidden_state"),
    "sequence-classification": ("scores", "logits"),
    "text-generation": ("causal_logits", "logits"),
    "fill-mask": ("token_embeddings", "logits"),
}
"""What a transformer may be loaded for -> the name of what it gives, and what its class in the transformers library calls that."""

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ModuleEntry(Struct):
    """One module of modules.json."""

    type: str
    path: str = ""
    name: str | None = None


class LengthFile(Struct):
    """Settings of the transformer outside its config.json."""

    max_seq_length: Count | None = None
    do_lower_case: bool | None = None
    transformer_task: str | None = None
    module_output_name: str | None = None
    modality_config: dict[str, dict[str, Any]] | None = None
    tokenizer_name_or_path: str | None = None
    query_length: Count | None = None
    document_length: Count | None = None
    query_expansion: Any = UNSET
    """None is no expansion, whatever else says that there is one."""
    processing_kwargs: dict[str, Any] | None = None
    model_args: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] | None = None
    tokenizer_args: dict[str, Any] | None = None
    processor_kwargs: dict[str, Any] | None = None
    config_args: dict[str, Any] | None = None
    config_kwargs: dict[str, Any] | None = None

    def not_honored(self, task: str, honored: Collection[str] = ()) -> dict[str, Any]:
        """Settings that change results and are not supported.

        Args:
            task: the task of the transformer, one of `TASKS`.
            honored: settings that the caller handles itself; "message" is that of `modality_config`.
        """
        names = (
            "tokenizer_name_or_path", "query_length", "document_length", "query_expansion", "processing_kwargs",
            "model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs",
        )  # fmt: skip
        found = {name: getattr(self, name) for name in names if name not in honored and getattr(self, name)}
        output, of_method = TASKS[task]
        text = (self.modality_config or {}).get("text", {})
        chats = "message" in (self.modality_config or {}) and "message" not in honored
        if chats or (text and text != {"method": "forward", "method_output_name": of_method}):
            found["modality_config"] = self.modality_config
        if self.module_output_name not in (None, output):
            found["module_output_name"] = self.module_output_name
        return found


class PoolingFile(Struct):
    """config.json of a Pooling module."""

    embedding_dimension: Count | None = None
    word_embedding_dimension: Count | None = None
    pooling_mode: str | list[str] | None = None
    include_prompt: bool | None = None
    pooling_mode_cls_token: bool | None = None
    pooling_mode_max_tokens: bool | None = None
    pooling_mode_mean_tokens: bool | None = None
    pooling_mode_mean_sqrt_len_tokens: bool | None = None
    pooling_mode_weightedmean_tokens: bool | None = None
    pooling_mode_lasttoken: bool | None = None


class NamesFile(Struct):
    """The inputs and outputs of a module: a text's vector ("sentence_embedding"), its tokens', or scores."""

    module_input_name: str | None = None
    module_output_name: str | None = None

    def differing(self, reads: str, writes: str, default: str) -> dict[str, str]:
        """The two names if they differ from these; `default` is the first name if the file does not state it."""
        stated = self.module_input_name or default
        found = {"module_input_name": stated, "module_output_name": self.module_output_name or stated}
        wanted = {"module_input_name": reads, "module_output_name": writes}
        return {key: name for key, name in found.items() if name != wanted[key]}


class DenseFile(NamesFile, kw_only=True):
    """config.json of a Dense module."""

    in_features: Count
    out_features: Count
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False


LARGEST_INDEX = 16 * 2**20
"""Bytes of an index. One of 91,991 tensors has 9 MB."""


class IndexFile(Struct):
    """The file of each tensor of sharded weights."""

    weight_map: dict[str, str]


class Files:
    """The files of a model's folder. `advice` is added to errors about missing files."""

    def __init__(self, folder: Path, *, advice: bool = True) -> None:
        self.folder = folder
        self._advice = advice

    def has(self, file: str) -> bool:
        """Whether the file exists.

        Raises:
            IntegrityError: its path is outside the folder.
        """
        return inside(self.folder, file).is_file()

    def read(self, file: str, schema: type[T], largest: int = parsing.LARGEST) -> T:
        """Reads a required file of limited size.

        Raises:
            WeightsNotFoundError: the file does not exist.
            IntegrityError: it is not valid JSON or has the wrong structure.
        """
        try:
            return parsing.read(self.folder, file, schema, largest)
        except FileNotFoundError:
            text = ": it does not follow the sentence-transformers layout; write a ModelSpec for it and pass that to resolve"
            raise WeightsNotFoundError(f"{self.folder} has no {file}{text if self._advice else ''}") from None

    def read_or(self, file: str, schema: type[T], default: T) -> T:
        """Reads an optional file."""
        return self.read(file, schema) if self.has(file) else default

    def check_present(self, files: Sequence[str]) -> None:
        """Raises WeightsNotFoundError for the first missing file, with alternatives and advice."""
        for file in files:
            if self.has(file):
                continue
            parent = (self.folder / file).parent
            present = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
            text = f"{self.folder} has no {file}"
            if not self._advice:
                pass
            elif any(name.startswith("pytorch_model") for name in present):
                text += (
                    "; it has pytorch_model.bin, a pickle, which can run code and is never loaded; save the model again with "
                    "safetensors: SentenceTransformer(folder).save(another_folder)"
                )
            elif file.endswith("tokenizer.json"):
                text += "; make one with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            elif present:
                text += f"; it has {some(present, 12)}"
            raise WeightsNotFoundError(text)

    def refused(self, file: str, key: str, value: object) -> UnsupportedModelError:
        """The error for an unsupported setting; names the file, the key and the value."""
        return UnsupportedModelError(f"{self.folder / file} sets {key} to {value!r}, which no engine of embedry honors")

    def of_code(self, file: str, what: str, name: str) -> UnsupportedModelError:
        """The error for a file that requires remote code; names the kind and the class."""
        return UnsupportedModelError(
            f"{file} in {self.folder} names the {what} {name!r}: the model needs code of its own, and embedry never runs code "
            "that comes with a model"
        )
