"""Files that come with the package that registers a model, such as a calibration: verified before they are used."""

from pathlib import Path

from embedry._files import digests
from embedry.errors import IntegrityError, SpecError
from embedry.spec import Resource


def resource_file(resource: Resource, cache_dir: Path) -> Path:
    """The path of a resource, verified.

    Raises:
        SpecError: it is not there.
        IntegrityError: it is not the file that the entry names.
    """
    path = resource.locate()
    if not path.is_file():
        raise SpecError(f"there is no file {path}, which the model's entry names")
    actual = digests.remembered_sha256(path, cache_dir)
    if actual != resource.sha256:
        raise IntegrityError(
            f"{path} is not the file that the model's entry names: its sha256 is {actual}, expected {resource.sha256}; "
            f"install {resource.package or 'it'} again"
        )
    return path
