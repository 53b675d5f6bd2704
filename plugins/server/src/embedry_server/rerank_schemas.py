"""The bodies of requests for the order of documents, and of their answers."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from embedry_server.schemas import Direction, OptionalModel, Truncate, Usage

Task = Annotated[
    str | None, Meta(description="The role of the query, for models with several: query, or a task of the model.")
]


class TextsToRank(Struct, kw_only=True):
    """A request for the order of texts, as text-embeddings-inference has it."""

    query: str
    texts: list[str]
    raw_scores: Annotated[
        bool | None, Meta(description="Whether scores are the model's logits; by default they are as the model shows them.")
    ] = None  # fmt: skip
    return_text: Annotated[bool | None, Meta(description="Whether the texts are repeated.")] = None
    model: OptionalModel = None
    prompt_name: Task = None
    truncate: Truncate = None
    truncation_direction: Direction = None


class Rank(Struct, kw_only=True):
    """A text in the order in which they answer the query."""

    index: Annotated[int, Meta(description="The position of the text in the request.")]
    score: float
    text: str | None = None


class Document(Struct, kw_only=True):
    """A document."""

    text: str


class RerankRequest(Struct, kw_only=True):
    """A request for the order of documents, as Cohere, Jina and vLLM have it."""

    query: str
    documents: Annotated[list[str | Document], Meta(description="Texts, or objects with a text.")]
    model: OptionalModel = None
    top_n: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="How many documents to return; by default all.")
    ] = None
    return_documents: Annotated[bool | None, Meta(description="Whether the documents are repeated.")] = None
    prompt_name: Task = None
    truncate: Truncate = None
    max_tokens_per_doc: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Longer documents are refused: they are cut only where a pair is longer than the model reads."),
    ] = None  # fmt: skip
    rank_fields: Annotated[list[str] | None, Meta(description='Only ["text"] is possible.')] = None
    max_chunks_per_doc: Annotated[Any, Meta(description="Not possible: documents are not split.")] = None
    relevant_spans: Annotated[Any, Meta(description="Not possible.")] = None
    instruction: Annotated[Any, Meta(description="Not possible; see prompt_name.")] = None
    truncate_prompt_tokens: Annotated[Any, Meta(description="Not possible; see truncate.")] = None
    max_tokens_per_query: Annotated[Any, Meta(description="Not possible; see truncate.")] = None
    truncation_side: Annotated[Literal["right", "left"] | None, Meta(description="Only right is possible.")] = None


class RerankResult(Struct, kw_only=True):
    """A document in the order in which they answer the query."""

    index: Annotated[int, Meta(description="The position of the document in the request.")]
    relevance_score: Annotated[float, Meta(description="The score as the model shows it; for most from 0 to 1.")]
    document: Document | None = None


class ApiVersion(Struct, kw_only=True):
    """The version of Cohere's API."""

    version: str


class BilledUnits(Struct, kw_only=True):
    """What Cohere bills."""

    search_units: Annotated[int, Meta(description="One for each hundred documents, or a part of them.")]


class InputTokens(Struct, kw_only=True):
    """What was computed, in the model's own tokens."""

    input_tokens: int


class RerankMeta(Struct, kw_only=True):
    """What Cohere's clients look for."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: InputTokens


class RerankAnswer(Struct, kw_only=True):
    """The documents, the best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: RerankMeta
