"""Where the files of an entry come from besides the hub, and the files that come with the package that registers it."""

from dataclasses import dataclass
from pathlib import Path

from embedry.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class WheelSource:
    """A package on the Python index that carries a model's files.

    It is a source, not an authority: the entry's digests decide whether a file is the right one.
    """

    package: str
    version: str
    folder: str
    """The folder inside the package under which the entry's paths are found."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A file that comes with the package that registers a model, verified when it is used."""

    path: str
    """Relative to the package, with `/`; without a package, where the file lies on this machine. The calibration of a locked model
    may lie beside the lock file: its path is relative to that."""
    sha256: str
    """Of its bytes, 64 lower-case hex digits."""
    package: str | None = None
    """The importable package that holds it; it is not imported."""

    def locate(self) -> Path:
        """Where the file is on this machine; whether it is there, and the right one, is not looked at.

        Raises:
            SpecError: there is no such package.
        """
        if self.package is None:
            return Path(self.path)
        from importlib.util import find_spec

        try:
            found = find_spec(self.package)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.submodule_search_locations:
            raise SpecError(f"the package {self.package!r}, which has the resource {self.path!r}, is not installed")
        return Path(found.submodule_search_locations[0], self.path)


@dataclass(frozen=True, kw_only=True)
class Int8:
    """What precision="int8" needs to know of a model, and what it costs."""

    calibration: Resource
    """A safetensors file: the least and the greatest value of each channel that enters a product, over many texts."""
    cosine: float
    """The mean cosine between the int8 and the fp32 vectors of texts is at least this; the conformance kit checks it."""
