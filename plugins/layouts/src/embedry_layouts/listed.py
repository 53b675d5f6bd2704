"""modules.json: the modules of a model, in order, each with its folder."""

from collections.abc import Mapping
from dataclasses import dataclass

from embedry._files.paths import inside
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry_layouts import modules
from embedry_layouts.files import Files, ModuleEntry

FILE = "modules.json"

_MOST_MODULES = 64
"""Models have three to six; each is looked for on disk, and becomes a part of a graph."""


@dataclass(frozen=True)
class Listed:
    """A module."""

    kind: str
    """The last part of its class's name."""
    class_name: str
    path: str
    """Its folder, empty for the top."""


def read(files: Files, others: Mapping[str, str] | None = None) -> list[Listed]:
    """Reads the modules of a model, without Dropout, which has no effect at inference.

    Args:
        files: the files of the model.
        others: equivalent classes of other libraries -> the name in this library.

    Raises:
        WeightsNotFoundError: there is no modules.json.
        IntegrityError: it is not valid JSON or has the wrong structure, has two modules with the same name, or a folder outside the model's.
        UnsupportedModelError: it has a class from outside the library, or too many modules.
    """
    listed = files.read(FILE, list[ModuleEntry])
    if len(listed) > _MOST_MODULES:
        raise UnsupportedModelError(
            f"{FILE} in {files.folder} lists {len(listed)} modules; embedry reads no more than {_MOST_MODULES}"
        )
    names = [module.name for module in listed if module.name is not None]
    for name in names:
        if names.count(name) > 1:  # of which the library would keep one
            raise IntegrityError(f"{FILE} in {files.folder} gives the name {name!r} to {names.count(name)} modules")
    found = [one(files, FILE, module.type, module.path, others or {}) for module in listed]
    for position, module in enumerate(found):
        if module.kind == "Transformer" and position > 0:
            raise UnsupportedModelError(f"{FILE} in {files.folder} lists a Transformer in place {position}, not first")
    return [module for module in found if module.kind != "Dropout"]


def one(files: Files, file: str, class_name: str, path: str, others: Mapping[str, str]) -> Listed:
    """Reads one listed module. Raises as `read`."""
    inside(files.folder, path or ".")
    kind = others.get(class_name) or modules.kind(class_name)
    if not kind:
        raise files.of_code(file, "class", class_name)
    return Listed(kind, class_name, path.rstrip("/").removeprefix("."))
