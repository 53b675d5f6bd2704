"""Writing a model pack: a package with one entry, which registers it when it is installed."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from embedry import ModelSpec
from embedry_cli import source
from embedry_cli.errors import InputError, OutputError

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")

_PROJECT = """\
[build-system]
requires = ["hatchling>=1.27,<2"]
build-backend = "hatchling.build"

[project]
name = {name}
version = "0.1.0"
description = {description}
requires-python = ">=3.11"
dependencies = ["embedry-core"]

[project.entry-points.embedry]
{package} = "{package}"

[tool.hatch.build.targets.wheel]
packages = ["src/{package}"]
"""

_HOOK = '''\
"""Models for embedry: one module of data each, collected here into the hook."""

from collections.abc import Iterable

from embedry import ModelSpec, hookimpl
from {package} import {module}


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of this pack."""
    return [{module}.SPEC]
'''


def check(name: str) -> None:
    """Whether a pack of this name can be written into the current folder.

    Raises:
        InputError: it is no name of a package, or something of that name is there or installed.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(_package(name)):
        raise InputError(
            f"a package cannot be called {name!r}; use letters, digits, '-', '_' and '.', and begin with a letter"
        )
    if Path(name).exists():
        raise InputError(f"{name} exists already and is not changed; choose another name, or remove it")
    if find_spec(_package(name)) is not None:
        raise InputError(
            f"the package {_package(name)!r} is installed already, and the new one would hide it; choose another name"
        )


def write(name: str, spec: ModelSpec) -> None:
    """Writes the pack into a new folder of this name, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    package, module = _package(name), _module(spec.name)
    description = f"{spec.name} for embedry: a registry entry, pure data"
    files = {
        "pyproject.toml": _PROJECT.format(
            name=source.text(name), description=source.text(description), package=package
        ),
        f"src/{package}/__init__.py": _HOOK.format(package=package, module=module),
        f"src/{package}/{module}.py": f'"""{spec.repo} at {spec.revision}."""\n\n{source.module(spec)}',
    }
    try:
        with TemporaryDirectory(prefix=f".{name}-", dir=Path()) as aside:
            folder = Path(aside) / name
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content, encoding="utf-8")
            folder.rename(name)
    except OSError as error:
        raise OutputError(f"the package {name} cannot be written into {Path.cwd()}: {error}") from error


def _package(name: str) -> str:
    """The importable name of a distribution."""
    return re.sub(r"[.-]", "_", name.lower())


def _module(model: str) -> str:
    """The name of a model's module."""
    name = re.sub(r"\W", "_", model.lower())
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"model_{name}"
