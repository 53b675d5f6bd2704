"""Files that come with the package that registers a model, such as a calibration: verified before they are used."""

from pathlib import Path

from embedry import lock
from embedry._files import digests
from embedry.errors import IntegrityError, LockError, SpecError
from embedry.resources import Resource


def resource_file(resource: Resource, cache_dir: Path) -> Path:
    """The path of a resource, verified.

    Raises:
        SpecError: it is not there.
        IntegrityError: it is not the file that the entry names.
        LockError: the lock file in use names another one, as when the package was upgraded since.
    """
    path = resource.locate()
    if not path.is_file():
        raise SpecError(f"there is no file {path}, which the model's entry names")
    actual = digests.remembered_sha256(path, cache_dir)
    if actual != resource.sha256:
        held = lock.in_use()
        user = held.user_of(resource) if held is not None else None
        if held is not None and user is not None:
            raise LockError(
                f"{path} is not the file that the lock file {held.path} names: its sha256 is {actual}, expected "
                f"{resource.sha256}; install the version of {resource.package or 'its package'} that was locked, or take this one: "
                f"{lock.command('lock', '--upgrade', user, '--file', held.path)}"
            )
        raise IntegrityError(
            f"{path} is not the file that the model's entry names: its sha256 is {actual}, expected {resource.sha256}; "
            f"install {resource.package or 'it'} again"
        )
    return path
