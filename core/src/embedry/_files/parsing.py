"""Reads a model's JSON files against a schema. The files are untrusted."""

import reprlib
import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from embedry._files.architectures import known_code
from embedry._files.paths import inside
from embedry.errors import IntegrityError, UnsupportedModelError

LARGEST = 4 * 2**20
"""Bytes. A description of a model is some kilobytes, with a name for each of thousands of tokens one megabyte; a larger one
is not read."""

_CLASSES = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor")
"""Classes of the transformers library that a text encoder is loaded with; `auto_map` may put code of its own in their place."""

_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Settings that may name a repository of native code (a kernel) instead of an implementation."""

_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that are no JSON, or that are nested too deep to read."""

T = TypeVar("T")


def read(folder: Path, file: str, schema: type[T], largest: int = LARGEST) -> T:
    """A JSON file of a model as a value of `schema`, a type that msgspec can decode; keys that it does not name are ignored.

    Args:
        folder: the model's folder.
        file: the file's path inside it, with `/`.
        schema: the type of the result.
        largest: bytes that the file may have.

    Raises:
        IntegrityError: the file is not JSON of this type; the message names it, the place in it, and what stands there.
            Also if it is too large or no regular file; it is not read then.
        FileNotFoundError: there is no such file.
    """
    path = inside(folder, file)
    content = _content(path, largest)
    try:
        return msgspec.json.decode(content, type=schema)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{path}: {_described(content, str(error))}") from error
    except _NOT_JSON as error:
        raise IntegrityError(f"{path} is not valid JSON, it is damaged or cut short: {error}") from error


def _content(path: Path, largest: int) -> bytes:
    try:
        status = path.stat()
    except NotADirectoryError as error:  # a part of its path is a file
        raise FileNotFoundError(*error.args) from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for its writer
        raise IntegrityError(f"{path} is not a regular file")
    if status.st_size > largest:
        raise IntegrityError(f"{path} has {status.st_size} bytes; the maximum for this kind of file is {largest}")
    return path.read_bytes()


def refuse_code(folder: Path, file: str) -> None:
    """Checks that a JSON file of a model names no code and no kernel to fetch and run, at any depth.

    Code of an architecture that embedry computes itself is no reason to refuse a model. It is not run either.

    Raises:
        UnsupportedModelError: it does; the message names the file, the key and the value.
        IntegrityError: it is not JSON.
    """
    waiting = [read(folder, file, Any)]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting.extend(found)
        if not isinstance(found, dict):
            continue
        mapped = found.get("auto_map")
        named = (
            [
                f"auto_map.{cls} to {mapped[cls]!r}"
                for cls in _CLASSES
                if cls in mapped and known_code(mapped[cls]) is None
            ]
            if isinstance(mapped, dict)
            else []
        )
        named += [f"{key} to {found[key]!r}" for key in _KERNELS if "/" in str(found.get(key))]
        named += [f"trust_remote_code to {found['trust_remote_code']!r}"] if found.get("trust_remote_code") else []
        if named:
            raise UnsupportedModelError(
                f"{folder / file} sets {named[0]}: the model needs code of its own, and embedry never runs code that comes "
                "with a model"
            )
        waiting.extend(found.values())


def _described(content: bytes, fault: str) -> str:
    """A validation error with the value at its place: msgspec gives both as "Expected `int`, got `str` - at `$.a[0]`"."""
    problem, _, place = fault.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    text = f"{problem[0].lower()}{problem[1:]} at {place or 'the top'}"
    try:
        value = msgspec.json.decode(content)
    except (msgspec.MsgspecError, *_NOT_JSON):  # the file has another fault, further on
        return text
    for step in place.replace("[...]", "").replace("[", ".").replace("]", "").split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
    shown = reprlib.repr(value)  # of large and deep values only a part
    return f"{text}: {shown[:80]}{'...' * (len(shown) > 80)}"
