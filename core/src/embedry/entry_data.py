"""Converts entries to plain data, as in lock files, and back. Fields with default values are left out."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from embedry import modules
from embedry.errors import SpecError
from embedry.modules import Chain, Matryoshka, Module

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Entry = TypeVar("Entry", bound="DataclassInstance")

_NO_TRANSFORMER = "none"
"""Stands for None, which TOML does not have, where None is not the default."""


def to_dict(spec: "DataclassInstance") -> dict[str, Any]:
    """The entry as dicts, lists, strings, numbers and None (for a file without a digest)."""
    found = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if value != default:
            found[field.name] = _NO_TRANSFORMER if value is None else _plain(value)
    return found


def from_dict(kind: type[Entry], data: Mapping[str, Any]) -> Entry:
    """Creates an entry of type `kind` from such data.

    Raises:
        SpecError: a key is unknown or missing, or a value has a wrong type, with the name of the key; or the entry
            contradicts itself.
    """
    name = f"model entry {data.get('name')!r}"
    values = dict(data)
    if values.get("transformer") == _NO_TRANSFORMER:
        values["transformer"] = None
    readers = {"chain": _chain, "query_chain": _chain, "other_chains": _chains, "matryoshka": _matryoshka}
    for key in readers.keys() & values:
        values[key] = readers[key](values[key], f"{name}: {key}")
    hints = get_type_hints(kind)
    _check_keys(values, kind, name)
    for field in fields(kind):
        if field.name in values and field.name not in readers:
            values[field.name] = _record(values[field.name], hints[field.name], f"{name}: {field.name}")
    try:
        return kind(**values)
    except TypeError as error:  # a field without a default is missing
        raise SpecError(f"{name}: {str(error).partition(' ')[2]}") from None


def _plain(value: Any) -> Any:
    if modules.is_module(value):
        return {key: _plain(each) for key, each in modules.as_dict(value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(each) for key, each in modules.stated(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _chain(value: Any, place: str) -> Chain:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{place} must be a list of modules, got {value!r}")
    return tuple(_module(each, f"{place}[{at}]") for at, each in enumerate(value))


def _chains(value: Any, place: str) -> tuple[Chain, ...]:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{place} must be a list of chains, got {value!r}")
    return tuple(_chain(each, f"{place}[{at}]") for at, each in enumerate(value))


def _module(value: Any, place: str) -> Module:
    named = value.get("type") if isinstance(value, Mapping) else None
    kind = modules.type_named(named) if isinstance(named, str) else None
    if kind is None:
        raise SpecError(f"{place} is not a module that this version knows: {value!r}")
    module: Module = _record({key: each for key, each in value.items() if key != "type"}, kind, place)
    return module


def _matryoshka(value: Any, place: str) -> Matryoshka:
    if not isinstance(value, Mapping):
        raise SpecError(f"{place} must be a table, got {value!r}")
    _check_keys(value, Matryoshka, place)
    dims = _record(value.get("dims", []), tuple[int, ...], f"{place}.dims")
    return Matryoshka(dims=dims, before=_chain(value.get("before", []), f"{place}.before"))


def _record(value: Any, kind: Any, place: str) -> Any:
    """Converts a value to this type, strictly."""
    for each in getattr(kind, "__args__", (kind,)):
        if is_dataclass(each) and isinstance(value, Mapping):
            _check_keys(value, each, place)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SpecError(f"{place}: {error}") from None


def _check_keys(value: Mapping[str, Any], kind: Any, place: str) -> None:
    known = {field.name: field for field in fields(kind)}
    for key, each in value.items():
        if key not in known:
            raise SpecError(f"{place} has the key {key!r}, which this version does not know")
        inner = get_type_hints(kind)[key]
        for part in getattr(inner, "__args__", (inner,)):
            if is_dataclass(part) and isinstance(each, Mapping):
                _check_keys(each, part, f"{place}.{key}")
