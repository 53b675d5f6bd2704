"""The request and response bodies of the rerank routes."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from embedry_server.schemas import Direction, OptionalModel, Truncate, Usage

Task = Annotated[
    str | None, Meta(description="The role of the query, for models with several: query, or a task of the model.")
]


class TextsToRank(Struct, kw_only=True):
    """A rerank request in the format of text-embeddings-inference."""

    query: str
    texts: list[str]
    raw_scores: Annotated[
        bool | None, Meta(description="Whether to return logits; by default the model's own scores.")
    ] = None  # fmt: skip
    return_text: Annotated[bool | None, Meta(description="Whether to return the texts.")] = None
    model: OptionalModel = None
    prompt_name: Task = None
    truncate: Truncate = None
    truncation_direction: Direction = None


class Rank(Struct, kw_only=True):
    """A ranked text."""

    index: Annotated[int, Meta(description="The position of the text in the request.")]
    score: float
    text: str | None = None


class Document(Struct, kw_only=True):
    """A document."""

    text: str


class RerankRequest(Struct, kw_only=True):
    """A rerank request in the format of Cohere, Jina and vLLM."""

    query: str
    documents: Annotated[list[str | Document], Meta(description="Texts, or objects with a text.")]
    model: OptionalModel = None
    top_n: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="The number of documents to return; by default all.")
    ] = None
    return_documents: Annotated[bool | None, Meta(description="Whether to return the documents.")] = None
    prompt_name: Task = None
    truncate: Truncate = None
    max_tokens_per_doc: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Longer documents are rejected; documents are only truncated if a pair exceeds the model's limit."),
    ] = None  # fmt: skip
    rank_fields: Annotated[list[str] | None, Meta(description='Only ["text"] is supported.')] = None
    max_chunks_per_doc: Annotated[Any, Meta(description="Not supported: documents are not split.")] = None
    relevant_spans: Annotated[Any, Meta(description="Not possible.")] = None
    instruction: Annotated[Any, Meta(description="Not supported; see prompt_name.")] = None
    truncate_prompt_tokens: Annotated[Any, Meta(description="Not supported; see truncate.")] = None
    max_tokens_per_query: Annotated[Any, Meta(description="Not supported; see truncate.")] = None
    truncation_side: Annotated[Literal["right", "left"] | None, Meta(description="Only right is supported.")] = None


class RerankResult(Struct, kw_only=True):
    """A ranked document."""

    index: Annotated[int, Meta(description="The position of the document in the request.")]
    relevance_score: Annotated[float, Meta(description="The model's score; from 0 to 1 for most models.")]
    document: Document | None = None


class ApiVersion(Struct, kw_only=True):
    """The version of Cohere's API."""

    version: str


class BilledUnits(Struct, kw_only=True):
    """Cohere's billed units."""

    search_units: Annotated[int, Meta(description="One per hundred documents, rounded up.")]


class InputTokens(Struct, kw_only=True):
    """The number of tokens, by the model's tokenizer."""

    input_tokens: int


class RerankMeta(Struct, kw_only=True):
    """Metadata that Cohere's clients read."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: InputTokens


class RerankAnswer(Struct, kw_only=True):
    """The ranked documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: RerankMeta
