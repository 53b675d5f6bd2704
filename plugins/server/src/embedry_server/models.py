"""The models of a server: under which names they are asked for, and which embedder answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Unpack

from embedry import LazyEmbedder, OptionError, Options, resolve
from embedry_server import roles
from embedry_server.errors import ApiError
from embedry_server.settings import UnnamedRole


class Listed(NamedTuple):
    """A name under which vectors can be asked for."""

    id: str
    model: "ServedModel"
    role: str | None
    """The role that the name stands for; None if the request says it."""


class ServedModel:
    """A model under the name that the server gives it."""

    def __init__(self, name: str | None, model: str, options: Options) -> None:
        self._model = model
        self._options = options
        self.embedder = resolve(model, **options)
        self.name = name or self.embedder.name
        self._spaces = {self.embedder: self.embedder.fingerprint}
        self.aliases = {
            self.name,
            model,
            *self.embedder.spec.aliases,
            self.embedder.spec.name,
            self.embedder.spec.repo or self.name,
        }
        self.needs_role = self.embedder.spec.prompt("query") != self.embedder.spec.prompt("document")
        self._views: dict[tuple[int | None, bool | None], LazyEmbedder] = {(None, None): self.embedder}

    @property
    def space(self) -> str:
        """The fingerprint of the space of its full vectors."""
        return self._spaces[self.embedder]

    @property
    def lengths(self) -> list[int]:
        """The dims that vectors can have, the full ones first."""
        spec = self.embedder.spec
        return [spec.dims, *spec.matryoshka.dims]

    def space_of(self, view: LazyEmbedder) -> str:
        """The fingerprint of the space of one of its views."""
        return self._spaces[view]

    def view(self, dimensions: int | None = None, normalize: bool | None = None) -> LazyEmbedder:
        """The embedder for these options, over the same weights.

        Raises:
            ApiError: the model was not trained for that length.
        """
        view = self._views.get((dimensions, normalize))
        if view is None:
            options: Options = {**self._options, "dims": dimensions, "normalize": normalize}
            try:
                view = resolve(self._model, **options)
            except OptionError as error:
                raise ApiError(400, str(error), param="dimensions") from None
            self._spaces[view] = view.fingerprint
            self._views[dimensions, normalize] = view  # never many: one for each length that the model has
        return view


class Models:
    """The models of a server, by name.

    Args:
        models: NAME=MODEL or just MODEL, each what `resolve` takes.
        unnamed_role: the role of a request that states none, for models whose roles differ; None refuses it.
        options: those of `resolve`, for all models.

    Raises:
        OptionError: two models have one name.
        EmbedryError: a model is not known, or cannot be used.
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
                raise OptionError(f"two models are called {served.name!r}; give one another name: NAME={model}")
            self._served[served.name] = served
        if not self._served:
            raise OptionError("a server needs at least one model")
        self._names = self._all_names()

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def listed(self) -> list[Listed]:
        """All names: of a model whose roles differ one for each, because many clients can send nothing but a name."""
        return [
            self._names[model.name + suffix]
            for model in self
            for suffix in (("-query", "-passage", "-unprompted") if model.needs_role else ("",))
        ]

    def find(self, name: str | None) -> Listed:
        """The model of a name, its own or with a role at its end; the first model without a name.

        Raises:
            ApiError: there is none, status 404.
        """
        found = self._names.get(name if name is not None else next(iter(self._served)))
        if found is not None:
            return found
        known = ", ".join(listed.id for listed in self.listed())
        raise ApiError(
            404, f"there is no model {name!r} here; there is: {known}", param="model", code="model_not_found"
        )

    def _all_names(self) -> dict[str, Listed]:
        """Every name that is understood. Of equal ones a model's own comes before an alias of another, and that before a role."""
        aliases = {alias: model for model in reversed(list(self)) for alias in model.aliases} | self._served
        with_roles = {
            f"{alias}-{suffix}": Listed(f"{alias}-{suffix}", model, role)
            for alias, model in aliases.items()
            for suffix, role in roles.suffixes(model.embedder.spec).items()
        }
        return with_roles | {alias: Listed(alias, model, None) for alias, model in aliases.items()}

    def role(self, listed: Listed, fields: Mapping[str, str | None]) -> str:
        """The role of a request's texts.

        Raises:
            ApiError: the request states none and the model needs one, or it states a wrong one, or two.
        """
        model = listed.model
        role = roles.stated(model.embedder.spec, fields, listed.role)
        if role is not None:
            return role
        if not model.needs_role:
            return "document"
        if self._unnamed_role is not None:
            return self._unnamed_role
        field = next(iter(fields))
        raise ApiError(
            400,
            f"{model.name!r} has different prompts for queries and for documents, and the request does not say which its texts "
            f"are. Send {field}: \"query\" or \"document\"; or, from a client without that field, name the model "
            f"{model.name}-query, {model.name}-passage, or {model.name}-unprompted if the texts have their prompts already; or "
            "start the server with --unnamed-role",
            param=field,
        )  # fmt: skip
