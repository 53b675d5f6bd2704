"""The vector space of an embedder, as whatever stores vectors keeps it: to open again, and to refuse another's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Unpack

from embedry.chains import DOORS, Kind
from embedry.errors import SpaceError
from embedry.options import Options

if TYPE_CHECKING:
    from embedry.lazy import LazyModel
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
    kind: Kind = "dense"
    """What kind of vectors they are; of a reranker, which gives none, a name for its scores."""

    @classmethod
    def of(cls, embedder: "LazyModel[Any, Any]") -> "Space":
        """The space that a model of `resolve`, or of its like for another kind, writes into. Loads nothing; may look for the model's files.

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
            kind=spec.kind,
        )

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Space":
        """What `as_dict` gave.

        Raises:
            SpaceError: it is something else.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(saved, Mapping) or not names - {"kind"} <= set(saved) <= names:
            raise SpaceError(f"this is not a saved space: {saved!r}; one has {', '.join(sorted(names))}")
        return cls(**saved)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and the like. A space of dense vectors does not state its kind."""
        return {key: value for key, value in asdict(self).items() if (key, value) != ("kind", "dense")}

    def resolve(self, **options: Unpack[Options]) -> "LazyEmbedder":
        """An embedder that writes into this space, which must be one of dense vectors; for others see `resolve_model`.

        Args:
            **options: those of `resolve` that concern the machine: backend, device, threads, folder, cache_dir and so on.

        Raises:
            SpaceError: the model of that name makes other vectors today.
            UnknownModelError: there is no such model here.
        """
        from embedry.views import LazyEmbedder

        embedder = self.resolve_model(**options)
        if not isinstance(embedder, LazyEmbedder):
            raise SpaceError(f"{self.model!r} made this space as a {self.kind} model; open it with resolve_model()")
        return embedder

    def resolve_model(self, **options: Unpack[Options]) -> "LazyModel[Any, Any]":
        """The model that writes into this space, of whatever kind.

        Raises:
            As `resolve`.
        """
        from embedry.resolver import resolve_kind

        own: Options = {"dims": self.dims, "max_seq_length": self.max_seq_length, "precision": self.precision}
        if self.kind in ("dense", "multi_vector"):
            own["normalize"] = self.normalize
        embedder = resolve_kind(self.kind, self.model, **(own | options))
        self.check(embedder)
        return embedder

    def check(self, embedder: "LazyModel[Any, Any]") -> None:
        """Compares an embedder's space with this one.

        Raises:
            SpaceError: they differ; the message says who made this one, in what they differ, and what to do.
        """
        other = Space.of(embedder)
        if other.fingerprint == self.fingerprint:
            return
        differ = [
            f"{name} {there!r} instead of {here!r}"
            for name, here in asdict(self).items()
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
            f"{DOORS[self.kind]}({self.model!r}, dims={self.dims}, max_seq_length={self.max_seq_length}, "
            f"normalize={self.normalize}{precision})"
        )
