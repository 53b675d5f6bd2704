"""The registry of models from plugins and from the running program.

A broken plugin is skipped with a warning. Resolving a name that two plugins register raises an error that names both.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING

import pluggy

from embedry import discovery, hooks
from embedry.errors import AmbiguousModelError, PluginWarning, SpecError, UnknownModelError
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

APPLICATION = "application"


@dataclass(frozen=True)
class Registration:
    """A model and the plugin that registers it."""

    spec: ModelSpec
    plugin: str


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be used, and why."""

    plugin: str
    reason: str


class Registry:
    """Models by name, alias and repository id; case is ignored."""

    def __init__(self) -> None:
        self.broken: list[BrokenPlugin] = []
        self._registrations: list[Registration] = []
        self._by_name: dict[str, list[Registration]] = {}

    def add(self, specs: Iterable[ModelSpec], plugin: str) -> None:
        """Adds the models of one plugin.

        Raises:
            SpecError: the plugin uses one name for two of its models, or yields something that is not a `ModelSpec`.
        """
        fresh: dict[str, Registration] = {}
        for spec in specs:
            if not isinstance(spec, ModelSpec):
                raise SpecError(f"embedry_models must yield ModelSpec, got {type(spec).__name__}: {spec!r}")
            registration = Registration(spec, plugin)
            for name in _keys(spec):
                if name in fresh:
                    raise SpecError(f"{fresh[name].spec.name!r} and {spec.name!r} share the name {name!r}")
                fresh[name] = registration
        self._registrations.extend(dict.fromkeys(fresh.values()))
        for name, registration in fresh.items():
            self._by_name.setdefault(name, []).append(registration)

    def registrations(self, name: str) -> tuple[Registration, ...]:
        """All registrations of this name, alias or repository id."""
        return tuple(self._by_name.get(name.lower(), ()))

    def find(self, name: str) -> ModelSpec | None:
        """The model with this name, alias or repository id; None if there is none.

        Raises:
            AmbiguousModelError: several plugins register the name.
        """
        registrations = self.registrations(name)
        if len(registrations) > 1:
            owners = " and ".join(f"{each.plugin} (as {each.spec.name!r})" for each in registrations)
            raise AmbiguousModelError(
                f"the name {name!r} is registered by {owners}; uninstall one of them or use a name that only one of them has"
            )
        return registrations[0].spec if registrations else None

    def models(self) -> tuple[ModelSpec, ...]:
        """All models that can be resolved by name, sorted by name."""
        specs = (each.spec for each in self._registrations if len(self.registrations(each.spec.name)) == 1)
        return tuple(sorted(specs, key=lambda spec: spec.name.lower()))

    def conflicts(self) -> dict[str, tuple[Registration, ...]]:
        """Names that several plugins register."""
        return {name: tuple(registrations) for name, registrations in self._by_name.items() if len(registrations) > 1}

    def unknown(self, name: str) -> UnknownModelError:
        """The error for an unknown name, with similar names and the plugins that could not be used."""
        known = [key for each in self._registrations for key in (each.spec.name, *each.spec.aliases)]
        count = len(self.models())
        text = f"no model is called {name!r}; {discovery.nearest(name, known)}`embedry models` lists all {count}"
        if not known:
            text = f"no model is called {name!r}, and no plugin registers any; try: pip install embedry-models"
        for broken in self.broken:
            text += f"; note that the plugin {broken.plugin} could not be used: {broken.reason}"
        return UnknownModelError(text)


def collect(points: "Iterable[EntryPoint]") -> Registry:
    """Builds a registry from these plugins. A plugin that fails is skipped with a warning and recorded in `broken`."""
    registry = Registry()
    for point in points:
        plugin = discovery.origin(point)
        try:
            registry.add(_models_of(point), plugin)
        except Exception as error:  # a plugin may fail in any way, and must not affect the others
            registry.broken.append(BrokenPlugin(plugin, f"{type(error).__name__}: {error}"))
            warnings.warn(
                PluginWarning(
                    f"the plugin {plugin} could not be used ({type(error).__name__}: {error}); its models are missing"
                ),
                stacklevel=2,
            )
    return registry


def _models_of(point: "EntryPoint") -> list[ModelSpec]:
    manager = pluggy.PluginManager(hooks.GROUP)
    manager.add_hookspecs(hooks)
    plugin = point.load()
    manager.register(plugin, name=point.name)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise SpecError(f"{point.value!r} implements no hook; mark its embedry_models with @embedry.hookimpl")
    return [spec for specs in manager.hook.embedry_models() for spec in specs]


@cache
def _collected() -> Registry:
    return collect(discovery.entry_points(hooks.GROUP))


_lock = RLock()  # reentrant: a plugin that asks for the registry while it is collected must not wait for itself
if hasattr(os, "register_at_fork"):  # a child must not inherit the lock from a thread that it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def installed() -> Registry:
    """The registry of this process: the models of all installed plugins and those that the program registered."""
    with _lock:  # functools.cache alone would collect once per thread that comes first
        return _collected()


def list_models() -> tuple[ModelSpec, ...]:
    """All registered models, sorted by name. Loads nothing and imports no heavy libraries."""
    return installed().models()


def register(spec: ModelSpec) -> None:
    """Registers a model for this process. Registering the same entry twice is not an error.

    To make a model available to other programs, write a plugin with an entry point.

    Raises:
        SpecError: another model already has one of the entry's names.
    """
    registry = installed()
    with _lock:
        taken = [registration for name in _keys(spec) for registration in registry.registrations(name)]
        if any(each.spec == spec for each in taken):
            return
        if taken:
            raise SpecError(
                f"cannot register {spec.name!r}: {taken[0].plugin} already registers {taken[0].spec.name!r} under one of its names"
            )
        registry.add([spec], APPLICATION)


def _keys(spec: ModelSpec) -> list[str]:
    names = (spec.name, *spec.aliases, *([spec.repo] if spec.repo else []))
    return list(dict.fromkeys(name.lower() for name in names))
