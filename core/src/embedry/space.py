"""The vector space of an embedder, as whatever stores vectors keeps it: to open again, and to refuse another's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Unpack

from embedry.errors import SpaceError
from embedry.options import Options

if TYPE_CHECKING:
    from embedry.views import LazyEmbedder


@dataclass(frozen=True, kw_only=True)
class Space:
    """All that decides an embedder's vectors, and nothing of the machine they are computed on."""

    model: str
    """The name, or the folder, that `resolve` is given."""
    fingerprint: str
    """24 hex digits; two embedders may share a store if these are equal, and only then."""
    dims: int
    max_seq_length: int
    normalize: bool
    precision: str | None = None
    """ "int8", whose vectors are a space of their own; None for all others, which share one."""

    @classmethod
    def of(cls, embedder: "LazyEmbedder") -> "Space":
        """The space that an embedder of `resolve` writes into. Loads nothing; may look for the model's files.

        Raises:
            WeightsNotFoundError: the entry has no digests, and the files that would tell them are not there.
        """
        config, spec = embedder.config, embedder.spec
        return cls(
            model=spec.name
            if spec.repo or spec.folder is None
            else spec.folder,  # that of a folder is known by its path
            fingerprint=embedder.fingerprint,
            dims=config.dims,
            max_seq_length=config.max_seq_length,
            normalize=config.normalize,
            precision="int8" if config.precision == "int8" else None,
        )

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Space":
        """What `as_dict` gave.

        Raises:
            SpaceError: it is something else.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(saved, Mapping) or set(saved) != names:
            raise SpaceError(f"this is not a saved space: {saved!r}; one has {', '.join(sorted(names))}")
        return cls(**saved)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and the like."""
        return asdict(self)

    def resolve(self, **options: Unpack[Options]) -> "LazyEmbedder":
        """An embedder that writes into this space.

        Args:
            **options: those of `resolve` that concern the machine: backend, device, threads, folder, cache_dir and so on.

        Raises:
            SpaceError: the model of that name makes other vectors today.
            UnknownModelError: there is no such model here.
        """
        from embedry.resolver import resolve

        own: Options = {"dims": self.dims, "max_seq_length": self.max_seq_length, "normalize": self.normalize}
        embedder = resolve(self.model, **(own | {"precision": self.precision} | options))
        self.check(embedder)
        return embedder

    def check(self, embedder: "LazyEmbedder") -> None:
        """Compares an embedder's space with this one.

        Raises:
            SpaceError: they differ; the message says who made this one, in what they differ, and what to do.
        """
        other = Space.of(embedder)
        if other.fingerprint == self.fingerprint:
            return
        differ = [
            f"{name} {there!r} instead of {here!r}"
            for name, here in self.as_dict().items()
            if name != "fingerprint" and here != (there := getattr(other, name))
        ]
        raise SpaceError(
            f"these vectors were made by {self.model!r} ({self.dims} dims, space {self.fingerprint}), and cannot be compared "
            f"with those of {other.model!r} ({other.dims} dims, space {other.fingerprint}): "
            f"{', '.join(differ) or 'other files, chain or prompts'}; use {self._call()}, or embed the texts again"
        )

    def _call(self) -> str:
        precision = f", precision={self.precision!r}" if self.precision else ""
        return (
            f"resolve({self.model!r}, dims={self.dims}, max_seq_length={self.max_seq_length}, "
            f"normalize={self.normalize}{precision})"
        )
