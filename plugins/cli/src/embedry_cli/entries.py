"""From the name on the command line to the registry entry."""

from embedry import ModelSpec, resolve
from embedry.registry import installed


def entry(model: str) -> ModelSpec:
    """The entry of a model, even one whose backend is not installed here.

    Raises:
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins register it.
    """
    return installed().find(model) or resolve(model).spec
