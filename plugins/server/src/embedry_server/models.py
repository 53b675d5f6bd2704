"""The models of a server, their names and their routes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, Unpack, cast

from embedry import LazyReranker, OptionError, Options, resolve
from embedry._files import cache
from embedry.chains import KINDS, NAMES, OF_TEXTS, Kind
from embedry.resolver import find, resolve_kind
from embedry.views import LazyTextModel
from embedry_server import kinds, roles
from embedry_server.errors import ApiError
from embedry_server.settings import UnnamedRole

AnyModel: TypeAlias = LazyTextModel[Any] | LazyReranker


class Listed(NamedTuple):
    """A name of a model."""

    id: str
    model: "ServedModel"
    role: str | None
    """The role that the name stands for; None if the request says it."""


class ServedModel:
    """A model and its name on the server.

    Args:
        name: the name; None for the name of the model.
        model: what `resolve` accepts; append `:KIND` for a model with several kinds of results.
        options: options of `resolve`.

    Raises:
        OptionError: the model does not support that kind, or returns several scores per pair, for which there is no route.
        EmbedryError: the model is unknown or not supported.
    """

    def __init__(self, name: str | None, model: str, options: Options) -> None:
        self._model, stated = kinds.split(model)
        self._options = options
        cache_dir = options.get("cache_dir")
        spec = find(self._model, Path(cache_dir) if cache_dir else cache.default_folder())
        self.kind: Kind = stated or spec.kind
        if self.kind not in spec.kinds:
            raise OptionError(f"{spec.name!r} does not support the kind {self.kind}, only {', '.join(spec.kinds)}")
        self.embedder = cast("AnyModel", resolve_kind(self.kind, self._model, **options))
        if self.kind == "reranker" and self.embedder.dims != 1:
            raise OptionError(
                f"{spec.name!r} gives {self.embedder.dims} scores per pair, so it cannot rank, and no route serves it"
            )
        self.name = name or (f"{spec.name}:{stated}" if stated else spec.name)
        self._spaces = {self.embedder: self.embedder.fingerprint}
        self.aliases = {self.name, self._model, *spec.aliases, spec.name, spec.repo or self.name}
        self.needs_role = kinds.needs_role(self.embedder.spec)
        self._views: dict[tuple[int | None, bool | None], AnyModel] = {(None, None): self.embedder}

    @property
    def space(self) -> str:
        """The fingerprint of the space of the full vectors."""
        return self._spaces[self.embedder]

    @property
    def lengths(self) -> list[int]:
        """The supported dims, the full ones first."""
        spec = self.embedder.spec
        return [spec.dims, *spec.matryoshka.dims]

    def space_of(self, view: AnyModel) -> str:
        """The fingerprint of the space of a view."""
        return self._spaces[view]

    def view(self, dimensions: int | None = None, normalize: bool | None = None) -> AnyModel:
        """The dense model with these options; it shares the weights.

        Raises:
            ApiError: the model does not support these dims.
        """
        view = self._views.get((dimensions, normalize))
        if view is None:
            options: Options = {**self._options, "dims": dimensions, "normalize": normalize}
            try:
                view = resolve(self._model, **options)
            except OptionError as error:
                raise ApiError(400, str(error), param="dimensions") from None
            self._spaces[view] = view.fingerprint
            self._views[dimensions, normalize] = view  # small: one for each supported number of dims
        return view

    def load(self) -> None:
        """Loads the model. Raises EmbedryError if it cannot be loaded."""
        self.embedder.load()
        if self.embedder.spec.query_chain:
            self.embedder.prepare([], role="query")  # these have their own engine

    def probe(self, seconds: float) -> None:
        """Encodes a word within the given seconds. Raises EmbedryError if that fails."""
        model = self.embedder
        if isinstance(model, LazyReranker):
            model.score([("ready", "ready")], timeout=seconds)
            return
        for role in ("query", "document") if model.spec.query_chain else ("unprompted",):
            model.encode(["ready"], role=role, timeout=seconds)


class Models:
    """The models of a server, by name.

    Args:
        models: each MODEL or NAME=MODEL, see `ServedModel`.
        unnamed_role: the role of a request that does not state one, for models whose roles differ; None rejects the request.
        options: options of `resolve`, for all models.

    Raises:
        OptionError: two models have the same name.
        EmbedryError: a model is unknown or not supported.
    """

    def __init__(
        self, models: Sequence[str], *, unnamed_role: UnnamedRole | None = None, **options: Unpack[Options]
    ) -> None:
        self._unnamed_role = unnamed_role
        self._served: dict[str, ServedModel] = {}
        for given in models:
            name, _, model = given.rpartition("=")
            served = ServedModel(name or None, model, options)
            if served.name in self._served:
                raise OptionError(f"two models are named {served.name!r}; give one another name: NAME={model}")
            self._served[served.name] = served
        if not self._served:
            raise OptionError("a server needs at least one model")
        groups = (KINDS, OF_TEXTS, *((kind,) for kind in KINDS))
        self._names = {group: self._all_names(group) for group in groups}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def listed(self) -> list[Listed]:
        """All names. A model whose roles differ has a name per role, because many clients can only send a name."""
        return [
            self._names[KINDS][model.name + suffix]
            for model in self
            for suffix in (("-query", "-passage", "-unprompted") if model.needs_role else ("",))
        ]

    def find(self, name: str | None, among: tuple[Kind, ...] = KINDS) -> Listed:
        """The model with this name, which may end with a role; without a name, the first model.

        Args:
            name: the name in the request.
            among: the kinds of models that the route supports.

        Raises:
            ApiError: there is no such model, status 404; or it is of another kind, status 400.
        """
        names = self._names[among]
        found = next(iter(names.values()), None) if name is None else names.get(name)
        if found is not None:
            return found
        other = self._names[KINDS].get(name) if name is not None else None
        if other is not None:
            kind = other.model.kind
            raise ApiError(
                400,
                f"{name!r} is {NAMES[kind]}; send this request to {kinds.ROUTES[kind]}",
                param="model",
                code="wrong_route",
            )
        wanted = " or ".join(NAMES[kind] for kind in among)
        missing = f"no model {name!r} here" if name is not None else f"no model here that is {wanted}"
        known = [listed.id for listed in self.listed() if listed.model.kind in among] or [
            f"{listed.id} ({NAMES[listed.model.kind]})" for listed in self.listed()
        ]
        raise ApiError(404, f"there is {missing}; there is: {', '.join(known)}", param="model", code="model_not_found")

    def _all_names(self, among: tuple[Kind, ...]) -> dict[str, Listed]:
        """All names of models of these kinds, those of the first model first.

        Of equal names, a model's own name precedes an alias of another model, and an alias precedes a role.
        """
        models = [model for model in self if model.kind in among]
        aliases = {alias: model for model in reversed(models) for alias in model.aliases}
        own = {model.name: Listed(model.name, model, None) for model in models}
        names = own | {alias: Listed(alias, model, None) for alias, model in aliases.items() if alias not in own}
        with_roles = {
            f"{alias}-{suffix}": Listed(f"{alias}-{suffix}", listed.model, role)
            for alias, listed in names.items()
            for suffix, role in roles.suffixes(listed.model.embedder.spec).items()
        }
        return names | {name: listed for name, listed in with_roles.items() if name not in names}

    def role(self, listed: Listed, fields: Mapping[str, str | None]) -> str:
        """The role of a request's texts, or of the query of its pairs.

        Raises:
            ApiError: the request states no role and the model needs one, or the role is unknown, or two roles differ.
        """
        model = listed.model
        role = roles.stated(model.embedder.spec, fields, listed.role)
        if role is not None:
            return role
        if not model.needs_role:
            return "query" if model.kind == "reranker" else "document"
        if self._unnamed_role is not None:
            return self._unnamed_role
        field = next(iter(fields))
        raise ApiError(
            400,
            f"{model.name!r} reads queries and documents differently, and the request does not say which its texts are. "
            f"Send {field}: \"query\" or \"document\"; or, from a client without that field, name the model "
            f"{model.name}-query, {model.name}-passage, or {model.name}-unprompted if the texts have their prompts already; or "
            "start the server with --unnamed-role",
            param=field,
        )  # fmt: skip
