"""Sources of an entry's files other than the hub, and files in the package that registers the entry."""

from dataclasses import dataclass
from pathlib import Path

from embedry.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class WheelSource:
    """A package on the Python package index that contains a model's files.

    Files are verified with the entry's digests, as from every other source.
    """

    package: str
    version: str
    folder: str
    """The folder inside the package that the entry's paths are relative to."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A file in the package that registers a model, verified on use."""

    path: str
    """Relative to the package, with `/`; without a package, a path on this machine. In a lock file, the path of a calibration
    without a package is relative to the lock file."""
    sha256: str
    """The file's sha256, 64 lowercase hex digits."""
    package: str | None = None
    """The importable package that contains the file; it is not imported."""

    def locate(self) -> Path:
        """The path of the file on this machine, without checking that it exists or matches its digest.

        Raises:
            SpecError: the package is not installed.
        """
        if self.package is None:
            return Path(self.path)
        from importlib.util import find_spec

        try:
            found = find_spec(self.package)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.submodule_search_locations:
            raise SpecError(f"the package {self.package!r} with the resource {self.path!r} is not installed")
        return Path(found.submodule_search_locations[0], self.path)


@dataclass(frozen=True, kw_only=True)
class Int8:
    """A model's calibration for precision="int8", and the accuracy with it."""

    calibration: Resource
    """A safetensors file with the minimum and maximum, over many texts, of each input channel of a matrix product."""
    cosine: float
    """Lower bound of the mean cosine between int8 and fp32 vectors of texts; the conformance kit checks it."""
