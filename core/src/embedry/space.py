"""The vector space of an embedder. Vector stores save it to reopen the model and to reject vectors of other models."""

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
    """Everything that determines an embedder's vectors, independent of the machine."""

    model: str
    """The name or folder to pass to `resolve`."""
    fingerprint: str
    """24 hex digits; two embedders can share a store if and only if they are equal."""
    dims: int
    max_seq_length: int
    normalize: bool
    precision: str | None = None
    """ "int8", which has a separate space; None for all other precisions, which share one."""
    kind: Kind = "dense"
    """The kind of the model."""

    @classmethod
    def of(cls, embedder: "LazyModel[Any, Any]") -> "Space":
        """The space of a resolved model of any kind. Does not load the model; may search for its files.

        Raises:
            WeightsNotFoundError: the entry has no digests, and the files are not on this machine.
        """
        config, spec = embedder.config, embedder.spec
        return cls(
            model=spec.name
            if spec.repo or spec.folder is None
            else spec.folder,  # a model from a folder is identified by its path
            fingerprint=embedder.fingerprint,
            dims=config.dims,
            max_seq_length=config.max_seq_length,
            normalize=config.normalize,
            precision="int8" if config.precision == "int8" else None,
            kind=spec.kind,
        )

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Space":
        """Creates a space from the output of `as_dict`.

        Raises:
            SpaceError: `saved` is not such an output.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(saved, Mapping) or not names - {"kind"} <= set(saved) <= names:
            raise SpaceError(f"this is not a saved space: {saved!r}; it must have {', '.join(sorted(names))}")
        return cls(**saved)

    def as_dict(self) -> dict[str, Any]:
        """The space as plain values, for formats such as JSON. The kind is omitted for dense vectors."""
        return {key: value for key, value in asdict(self).items() if (key, value) != ("kind", "dense")}

    def resolve(self, **options: Unpack[Options]) -> "LazyEmbedder":
        """An embedder for this space. For spaces of other kinds than dense vectors, use `resolve_model`.

        Args:
            **options: options of `resolve` for the machine, such as backend, device, threads, folder and cache_dir.

        Raises:
            SpaceError: the model now has a different space, or its vectors are not dense.
            UnknownModelError: the model is not known.
        """
        from embedry.views import LazyEmbedder

        embedder = self.resolve_model(**options)
        if not isinstance(embedder, LazyEmbedder):
            raise SpaceError(f"this space of {self.model!r} is that of a {self.kind} model; use resolve_model()")
        return embedder

    def resolve_model(self, **options: Unpack[Options]) -> "LazyModel[Any, Any]":
        """The model of this space, for spaces of any kind.

        Raises:
            Those of `resolve`.
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
            SpaceError: the spaces differ; the message names both models, the differences, and what to do.
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
