"""Implements `embedry doctor`: checks the installation and reports problems."""

import platform
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

import typer

from embedry import EmbedryError, LockError, PluginWarning, discovery, hooks, lock
from embedry import _backends as backends
from embedry import _layouts as layouts
from embedry.registry import installed
from embedry_cli import commands, folders, terminal
from embedry_cli.options import AsJson

_MISSING = "missing"


def doctor(as_json: AsJson = False) -> None:
    """Check the installation: packages, plugins, backends, caches.

    Exits with code 1 if there are problems.

    Examples:
        embedry doctor
    """
    problems: list[str] = []
    report: dict[str, dict[str, Any]] = {
        "python": {"version": platform.python_version(), "platform": platform.platform()},
        "packages": _packages(problems),
        "models": _models(problems),
        "backends": _backends(problems),
        "commands": _commands(problems),
        "lock file": _lock(problems),
        "folders": folders.describe(problems),
    }
    if as_json:
        terminal.show_json(report | {"problems": problems})
    else:
        report["folders"] = {name: folders.in_words(facts) for name, facts in report["folders"].items()}
        for section, facts in report.items():
            if facts:
                terminal.show_section(section, facts)
        terminal.show("\n".join(f"problem: {problem}" for problem in problems) or "all is well")
    raise typer.Exit(1 if problems else 0)


def _packages(problems: list[str]) -> dict[str, str]:
    """Our distributions and plugins, and their dependencies."""
    groups = (hooks.GROUP, backends.GROUP, layouts.GROUP, commands.GROUP)
    plugins = {point.dist.name for group in groups for point in discovery.entry_points(group) if point.dist}
    versions: dict[str, str] = {}
    for name in sorted({"embedry-core", "embedry-cli"} | plugins):
        versions[name] = metadata.version(name)
        for needed in _needed(name):
            versions[needed] = _version(needed)
            if versions[needed] == _MISSING:
                problems.append(f"{name} needs {needed}, which is not installed; try: pip install {name}")
    return versions


def _needed(name: str) -> Iterator[str]:
    for requirement in metadata.requires(name) or ():
        found = re.match(r"[\w.-]+", requirement)
        if found and ";" not in requirement:  # dependencies of extras or other platforms have a marker
            yield found.group()


def _models(problems: list[str]) -> dict[str, str]:
    """The models that each plugin registers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # reported below
        registry = installed()
    broken = {plugin.plugin: plugin.reason for plugin in registry.broken}
    problems += [f"the plugin {plugin} cannot be used: {reason}" for plugin, reason in broken.items()]
    for name, owners in registry.conflicts().items():
        packages = " and ".join(each.plugin for each in owners)
        problems.append(f"the model name {name!r} is registered by {packages}; uninstall one of them")
    origins = [discovery.origin(point) for point in discovery.entry_points(hooks.GROUP)]
    return {origin: "broken" if origin in broken else _names(origin) for origin in origins}


def _names(plugin: str) -> str:
    registry = installed()
    specs = registry.models()
    return (
        ", ".join(spec.name for spec in specs if registry.registrations(spec.name)[0].plugin == plugin) or "no models"
    )


def _backends(problems: list[str]) -> dict[str, str]:
    """The devices, the kinds of models and the versions of dependencies of each backend."""
    if not backends.names():
        problems.append("no backend is installed; try: pip install embedry-onnxruntime")
    found: dict[str, str] = {}
    for point in discovery.entry_points(backends.GROUP):
        try:
            backend = backends.find(point.name)
            runs, devices = ", ".join(backend.outputs), ", ".join(backend.devices)
            found[point.name] = f"on {devices}, for {runs} models, with {_versions(point)}"
        except EmbedryError as error:
            found[point.name] = "broken"
            problems.append(str(error))
    return found


def _versions(point: EntryPoint) -> str:
    needed = _needed(point.dist.name) if point.dist else ()
    return ", ".join(f"{name} {_version(name)}" for name in needed if not name.startswith("embedry")) or "nothing else"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _MISSING


def _lock(problems: list[str]) -> dict[str, str]:
    """The lock file that `EMBEDRY_LOCK` names, if any, and its models."""
    try:
        held = lock.in_use()
    except LockError as error:
        problems.append(f"{lock.VARIABLE}: {error}")
        return {}
    return {str(held.path): ", ".join(held.models) or "no models"} if held is not None else {}


def _commands(problems: list[str]) -> dict[str, str]:
    """The commands that plugins register. Imports each one to check that it works."""
    found: dict[str, str] = {}
    for command in commands.installed():
        if any(point.dist for point in command.points):
            found[command.called] = " and ".join(commands.origin(point) for point in command.points)
            try:
                command.load()
            except EmbedryError as error:
                problems.append(str(error))
    return found
