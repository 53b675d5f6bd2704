"""Unsupported features of sentence-transformers by name, with alternatives."""

from collections.abc import Mapping
from typing import Any

from embedry import OptionError, UnknownOptionError
from embedry.options import is_count

_SETTINGS = "leave it out; model.max_seq_length, model.prompts and model.truncate_dim can be set"
_TOKEN = "set HF_TOKEN in the environment, or run `hf auth login`"  # noqa: S105

_ARGUMENTS = {
    "modules": "save them as a model with sentence-transformers, and give its folder",
    "local_files_only": "set HF_HUB_OFFLINE=1 in the environment",
    "token": _TOKEN,
    "use_auth_token": _TOKEN,
    "processor_kwargs": _SETTINGS,
    "tokenizer_kwargs": _SETTINGS,
    "config_kwargs": _SETTINGS,
    "model_card_data": "leave it out, nothing is saved",
}
"""Arguments of the constructor. Values that request nothing, such as None, are accepted."""

_TRAINING = "embedry does not train; train with sentence-transformers, save, and give the folder to this class"
_SAVING = "a model that is not trained is as it was; its files are at model.embedder.spec.folder or .repo"
_TOKENS = 'model.embedder.tokenize(texts, role="unprompted") gives tokens, and model.embedder.count_tokens counts them'
_TENSORS = "the engine holds the weights; choose its device and dtype in the constructor"

_ATTRIBUTES = {
    **dict.fromkeys(("fit", "old_fit", "train", "parameters", "named_parameters", "state_dict"), _TRAINING),
    **dict.fromkeys(("save", "save_pretrained", "save_to_hub", "push_to_hub"), _SAVING),
    **dict.fromkeys(("tokenize", "tokenizer", "preprocess", "processor"), _TOKENS),
    **dict.fromkeys(("half", "bfloat16", "float", "compile", "forward", "transformers_model"), _TENSORS),
    "cpu": 'model.to("cpu")',
    "cuda": 'model.to("cuda")',
    "eval": "leave it out",
    "evaluate": "evaluator(model)",
    "encode_multi_process": "encode does the same",
}


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raises OptionError for an unsupported argument of the constructor, and UnknownOptionError for an unknown one."""
    for name, value in given.items():
        if name not in _ARGUMENTS:
            raise UnknownOptionError(f"SentenceTransformer has no argument {name!r}")
        if value:
            raise OptionError(f"{name}={value!r} is not supported; {_ARGUMENTS[name]}")


def absent(name: str) -> str:
    """The message of the AttributeError for an unsupported attribute."""
    instead = _ATTRIBUTES.get(name, "model.embedder is what embedry.resolve returned")
    return f"the SentenceTransformer of embedry_dropin has no attribute {name!r}; {instead}"


def check_positive(name: str, value: object) -> None:
    """Raises OptionError unless the value is a positive integer."""
    if not is_count(value) or value < 1:
        raise OptionError(f"{name} must be a positive integer, got {value!r}")
