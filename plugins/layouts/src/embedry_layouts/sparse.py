"""Sparse embedders as saved by SparseEncoder: a masked language model, a table of terms, or one for documents and the
other for queries.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from embedry._files import model_config
from embedry._files.weights import tensors
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.heads import MaskedLM, SpladePooling, TermTable
from embedry.spec import NO_LIMIT
from embedry.transformer import Transformer
from embedry_layouts import body, listed, tokenizer_files, vocabulary
from embedry_layouts.body import Body
from embedry_layouts.files import Files
from embedry_layouts.found import Found
from embedry_layouts.listed import FILE, Listed
from embedry_layouts.modules import config
from embedry_layouts.settings import Settings

_ROUTES = "router_config.json"


class SpladeFile(Struct):
    """config.json of a SpladePooling."""

    pooling_strategy: Literal["max", "sum"] = "max"
    activation_function: Literal["relu", "log1p_relu"] = "relu"


class TableFile(Struct):
    """config.json of a SparseStaticEmbedding."""

    path: str | None = None
    """Of a JSON file with the weights; in safetensors they are beside this file."""


class Parameters(Struct, frozen=True):
    """The routing settings of a Router."""

    route_mappings: dict[str, str] | None = None


class RouterFile(Struct):
    """router_config.json: the folders and classes of modules, and their routes for queries and documents."""

    types: dict[str, str]
    structure: dict[str, list[str]]
    parameters: Parameters = Parameters()


def read(files: Files, settings: Settings, modules: Sequence[Listed]) -> Found:
    """Reads the files of a sparse embedder.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure, or two contradict each other.
        UnsupportedModelError: a file has an unsupported setting; names the key and the value.
    """
    kinds = [module.kind for module in modules]
    if kinds == ["SparseStaticEmbedding"]:
        table, length = _table(files, modules[0].path)
        return Found(
            chain=(table,),
            dims=table.outputs,
            body=None,
            max_seq_length=length or NO_LIMIT,
            prompts=settings.prompts,
            similarity=settings.similarity,
        )
    if kinds == ["Router"]:
        query, documents = _routes(files, modules[0].path)
        return _splade(files, settings, FILE, documents, query.path)
    return _splade(files, settings, FILE, modules)


def _routes(files: Files, path: str) -> tuple[Listed, list[Listed]]:
    """The table for queries, and the modules for documents."""
    file = f"{path}/{_ROUTES}" if path else _ROUTES
    stated = files.read(file, RouterFile)
    if stated.parameters.route_mappings:
        raise files.refused(file, "route_mappings", stated.parameters.route_mappings)
    unknown = [place for places in stated.structure.values() for place in places if place not in stated.types]
    if unknown:
        raise IntegrityError(f"{files.folder / file} states no type of {unknown[0]!r}")
    routes = {
        route: [
            listed.one(files, file, stated.types[place], f"{path}/{place}" if path else place, {}) for place in places
        ]
        for route, places in stated.structure.items()
    }
    query = routes.get("query", [])
    if set(routes) != {"query", "document"} or [module.kind for module in query] != ["SparseStaticEmbedding"]:
        shown = {route: [module.kind for module in modules] for route, modules in routes.items()}
        raise files.refused(file, "structure", shown)
    return query[0], routes["document"]


def _splade(files: Files, settings: Settings, file: str, modules: Sequence[Listed], table: str | None = None) -> Found:
    """A masked language model and its SpladePooling, with a table for queries if its folder is given."""
    kinds = [module.kind for module in modules]
    if kinds not in (["Transformer", "SpladePooling"], ["MLMTransformer", "SpladePooling"]):
        raise UnsupportedModelError(
            f"{file} in {files.folder} lists {', '.join(kinds)} for documents; of sparse embedders embedry computes a masked "
            "language model with SpladePooling, and a table of terms"
        )
    first, second = modules
    options = body.stated(files, Transformer(path=first.path))
    if options.transformer_task is None and first.kind == "Transformer":  # which would give vectors
        raise files.refused(file, "type", first.class_name)
    found = body.read(files, first.path, options, tasks=("fill-mask",))
    pooling = files.read_or(config(second.path), SpladeFile, SpladeFile())
    terms = model_config.read(files.folder, found.file("config.json")).vocab_size
    if terms is None:
        raise IntegrityError(f"{files.folder / found.file('config.json')} does not state vocab_size")
    return Found(
        chain=(
            MaskedLM(),
            SpladePooling(strategy=pooling.pooling_strategy, activation=pooling.activation_function),
        ),
        dims=terms,
        body=found,
        query_chain=() if table is None else (_table_beside(files, table, found, terms),),
        prompts=settings.prompts,
        similarity=settings.similarity,
    )


def _table_beside(files: Files, path: str, documents: Body, terms: int) -> TermTable:
    """The table for queries, which must have the same terms and length limit as the model for documents."""
    table, length = _table(files, path)
    if table.outputs != terms:
        raise IntegrityError(
            f"{files.folder / table.weights} has weights of {table.outputs} terms, and the model for documents has {terms}"
        )
    if length != documents.max_seq_length:
        raise files.refused(f"{path}/tokenizer_config.json", "model_max_length", length)
    return table


def _table(files: Files, path: str) -> tuple[TermTable, int | None]:
    """A table of terms, and its length limit for texts; None for no limit."""
    tokenizer = tokenizer_files.read(files, Transformer(path=path), "")
    for key, value in (
        ("normalizer", tokenizer.normalizer),
        ("split_at_spaces", tokenizer.split_at_spaces),
        ("truncation_side", "left" if tokenizer.truncate_left else None),
    ):
        if value:
            raise files.refused(f"{path}/tokenizer_config.json" if path else "tokenizer_config.json", key, value)
    stated = files.read_or(config(path), TableFile, TableFile())
    if stated.path is not None and stated.path.endswith(".json"):
        return _json_table(files, path, stated.path), tokenizer.model_max_length
    table = TermTable(path=path, outputs=1)
    files.check_present([table.weights])
    stored = tensors(files.folder / table.weights)
    if "weight" not in stored or len(stored["weight"].shape) != 1:
        raise IntegrityError(
            f"{files.folder / table.weights} has no table 'weight' (terms,); it has {', '.join(sorted(stored)) or 'nothing'}"
        )
    return TermTable(path=path, outputs=stored["weight"].shape[0]), tokenizer.model_max_length


def _json_table(files: Files, path: str, stated: str) -> TermTable:
    name = stated.rpartition("/")[2]
    table = TermTable(path=path, outputs=1, table=name)
    if not files.has(table.weights):  # entries have it beside its tokenizer
        raise UnsupportedModelError(
            f"{files.folder / config(path)} sets path to {stated!r}, and embedry reads a table of terms from the folder of "
            f"its tokenizer alone: copy it to {table.weights}"
        )
    return TermTable(path=path, outputs=len(vocabulary.read(files, table.tokenizer).ids), table=name)
