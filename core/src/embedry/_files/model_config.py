"""What a model's JSON files ask a library to run, and refusing what embedry never runs: code that comes with a model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedry.errors import IntegrityError, UnsupportedModelError

_CLASSES = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor")
"""Classes of the transformers library that a text encoder is loaded with; `auto_map` may put code of its own in their place."""

_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Settings that may name a repository of native code (a kernel) instead of an implementation."""


def refuse_code(name: str, folder: Path) -> None:
    """Checks that no file of a model names code to run, whichever engine is going to read it.

    Raises:
        UnsupportedModelError: one does; the message names the file and the setting.
        IntegrityError: a file is not a JSON object.
    """
    for path in sorted((*folder.glob("*config.json"), *folder.glob("*/*config.json"))):
        for setting in _code(_read(path)):
            raise UnsupportedModelError(
                f"{path.relative_to(folder)} of {name!r} sets {setting}: the model needs code of its own, "
                "and embedry never runs code that comes with a model"
            )


def _code(settings: Any) -> Iterator[str]:
    """The settings that name code, at any depth, as they would stand in the file."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key == "auto_map" and isinstance(value, dict):
                yield from (f"auto_map.{cls} to {value[cls]!r}" for cls in _CLASSES if cls in value)
            elif (key in _KERNELS and "/" in str(value)) or (key == "trust_remote_code" and value):
                yield f"{key} to {value!r}"
            else:
                yield from _code(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _code(value)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not valid JSON: {error}") from error
