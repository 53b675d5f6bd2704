"""From the name on the command line to the registry entry."""

from embedry import ModelSpec, lock, resolve
from embedry.registry import installed


def entry(model: str) -> ModelSpec:
    """The entry of a model, even one whose backend is not installed here; the locked one where a lock file is in use.

    Raises:
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins register it.
        LockError: a lock file is in use, and the model is not in it.
    """
    if lock.in_use() is not None:
        return resolve(model).spec
    return installed().find(model) or resolve(model).spec
