"""The one hook that a plugin implements to add models, and the marker to implement it with."""

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

    Called once a process, when a model is first listed or resolved. Import nothing heavy here: an entry is data, and
    names its backend by a string.
    """
