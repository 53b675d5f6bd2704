"""Writes packages from the templates in this distribution into a new folder, atomically."""

import keyword
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Literal

from embedry import ModelSpec, __version__
from embedry_cli import source
from embedry_cli.errors import InputError, OutputError

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")

_SUFFIX = ".template"
"""The suffix of files with placeholders; other files are copied."""

Files = Mapping[str, bytes]
"""Maps paths in the package's folder to contents."""


def check(name: str) -> None:
    """Checks that a package of this name can be created in the current folder.

    Raises:
        InputError: the name is invalid, or already exists in the folder or among the installed packages.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(importable(name)):
        raise InputError(
            f"a package cannot be called {name!r}; use letters, digits, '-', '_' and '.', and begin with a letter"
        )
    if Path(name).exists():
        raise InputError(f"{name} exists already and is not changed; choose another name, or remove it")
    if find_spec(importable(name)) is not None:
        raise InputError(
            f"the package {importable(name)!r} is installed already, and the new one would hide it; choose another name"
        )


def importable(name: str) -> str:
    """The import name of a distribution."""
    return re.sub(r"[.-]", "_", name.lower())


def example(kind: Literal["pack", "backend"], name: str, model: str) -> Files:
    """The files of a working package with a tiny model.

    Args:
        kind: the kind of the package.
        name: the name of the distribution.
        model: the name of the model.
    """
    return _filled(kind, name, model, "example")


def pack_of(spec: ModelSpec, name: str) -> Files:
    """The files of a pack with this entry.

    Args:
        spec: the entry.
        name: the name of the distribution.
    """
    module = _module(spec.name)
    files = {
        path: content
        for path, content in _filled("pack", name, spec.name, module).items()
        if "/model_files/" not in path
    }
    written = f'"""{spec.repo} at {spec.revision}."""\n\n{source.module(spec)}'
    return files | {f"src/{importable(name)}/{module}.py": written.encode()}


def write(name: str, files: Files) -> None:
    """Writes files into a new folder of this name, atomically.

    Raises:
        OutputError: the files cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=f".{name}-", dir=Path()) as aside:
            folder = Path(aside) / name
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            folder.rename(name)
    except OSError as error:
        raise OutputError(f"the package {name} cannot be written into {Path.cwd()}: {error}") from error


def next_steps(name: str) -> list[tuple[str, str]]:
    """The next steps for a new package."""
    return [
        ("package", name),
        ("install it", f"pip install -e './{name}[test]'"),
        ("test it", f"python -m pytest {name}/tests"),
        ("read on", f"{name}/README.md"),
    ]


def _filled(kind: str, name: str, model: str, module: str) -> Files:
    """The files of a template with the names filled in."""
    package = importable(name)
    names = {"name": name, "package": package, "model": model, "module": module, "version": __version__}
    found: dict[str, bytes] = {}

    def add(folder: Traversable, place: str) -> None:
        for each in folder.iterdir():
            path = place + {"package": package, f"module.py{_SUFFIX}": f"{module}.py"}.get(each.name, each.name)
            if each.is_dir():
                add(each, f"{path}/")
            elif each.name.endswith(_SUFFIX):
                found[path.removesuffix(_SUFFIX)] = Template(each.read_text("utf-8")).substitute(names).encode()
            else:
                found[path] = each.read_bytes()

    add(resources.files("embedry_cli") / "templates" / kind, "")
    return found


def _module(model: str) -> str:
    """The name of a model's module."""
    name = re.sub(r"\W", "_", model.lower())
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"model_{name}"
