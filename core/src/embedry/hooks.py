"""The hook that plugins implement to add models, and the marker `hookimpl`."""

from collections.abc import Iterable

import pluggy

from embedry.spec import ModelSpec

GROUP = "embedry"
"""The entry-point group, and the name of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def embedry_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]  # a specification has no body
    """The models that this plugin registers.

    Called once per process, when a model is first listed or resolved. Do not import heavy libraries here: entries are plain
    data, with the name of the backend as a string.
    """
