"""Request and response bodies. Unknown fields are ignored, and null counts as absent."""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from embedry.chains import Kind
from embedry_server.errors import ApiError

Input = Annotated[
    str | list[str | int | list[int]],
    Meta(
        description="A text, or a list of texts. Token ids are rejected, because they depend on the client's tokenizer.",
    ),
]
Dimensions = Annotated[
    Annotated[int, Meta(ge=1)] | None, Meta(description="A shorter length, if the model supports it.")
]
Normalized = Annotated[
    bool | None, Meta(description="Whether to normalize vectors to unit length; by default the model's setting.")
]
Truncate = Annotated[
    bool | Literal["NONE", "START", "END"] | None,
    Meta(
        description='true or "END", the default: longer texts are truncated at the end. false or "NONE": they are rejected.'
    ),
]
Direction = Annotated[Literal["Right", "Left", "right", "left"] | None, Meta(description="Only Right is supported.")]
OptionalModel = Annotated[
    str | None, Meta(description="A name from /v1/models; by default the first model that supports the route.")
]


class EmbeddingsRequest(Struct, kw_only=True):
    """An embeddings request in OpenAI's format, with the role of the texts."""

    input: Input
    model: Annotated[str, Meta(description="A name from /v1/models.")]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="Numbers, or little-endian float32 as base64.")
    ] = None
    dimensions: Dimensions = None
    normalize: Normalized = None
    input_type: Annotated[
        str | None,
        Meta(description="The role of the texts: query, document, unprompted, or a task of the model. Also accepts the "
                         "names of Cohere and NVIDIA: search_query, search_document, passage."),
    ] = None  # fmt: skip
    task: Annotated[str | None, Meta(description="The role in Jina's format, such as retrieval.query.")] = None
    prompt_name: Annotated[str | None, Meta(description="The role in the format of text-embeddings-inference.")] = None
    task_type: Annotated[str | None, Meta(description="The role in Google's format, such as RETRIEVAL_QUERY.")] = None
    truncate: Truncate = None


class TextsRequest(Struct, kw_only=True):
    """A request for terms or token vectors in the format of text-embeddings-inference."""

    inputs: Input
    model: OptionalModel = None
    prompt_name: Annotated[str | None, Meta(description="The role: query, document, or a task of the model.")] = None
    truncate: Truncate = None
    truncation_direction: Direction = None


class EmbedRequest(TextsRequest, kw_only=True):
    """A request for vectors in the format of text-embeddings-inference."""

    normalize: Normalized = None
    dimensions: Dimensions = None


class TokenizeRequest(Struct, kw_only=True):
    """A request for the tokens of texts."""

    inputs: Input
    model: OptionalModel = None
    prompt_name: Annotated[str | None, Meta(description="The role; its prompt is added to each text.")] = None


class Embedding(Struct, kw_only=True):
    """The vector of an input."""

    object: Literal["embedding"]
    index: Annotated[int, Meta(description="The position of the input.")]
    embedding: Annotated[list[float] | str, Meta(description="The vector; base64 if requested.")]


class Usage(Struct, kw_only=True):
    """The number of tokens, by the model's tokenizer."""

    prompt_tokens: int
    total_tokens: int


class Term(Struct, kw_only=True):
    """A term of a text."""

    index: Annotated[int, Meta(description="Its index in the model's vocabulary.")]
    value: Annotated[float, Meta(description="Its weight, above 0.")]


class EmbeddingsAnswer(Struct, kw_only=True):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(Struct, kw_only=True):
    """A name of a model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: Annotated[str, Meta(description="The model itself.")]
    kind: Annotated[Kind, Meta(description="The kind of results, which determines the supported routes.")]
    role: Annotated[str | None, Meta(description="The role of this name; null if the request states it.")]
    roles: list[str]
    dims: Annotated[
        int, Meta(description="The length of a vector; for a sparse model the number of terms, for a reranker 1.")
    ]
    dimensions: Annotated[list[int], Meta(description="The supported lengths of vectors.")]
    max_input_tokens: int
    space: Annotated[
        str,
        Meta(
            description="The fingerprint of the vector space: only vectors of one space can be compared. Of a reranker, of its "
            "scores."
        ),
    ]


class ModelList(Struct, kw_only=True):
    """All names of models."""

    object: Literal["list"]
    data: list[ModelCard]


class TokenOut(Struct, kw_only=True):
    """A token of a text."""

    id: int
    text: str
    special: bool
    start: Annotated[int | None, Meta(description="In characters of the prompt and the text together.")]
    stop: int | None


class ErrorBody(Struct, kw_only=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct, kw_only=True):
    """An error in OpenAI's format."""

    error: ErrorBody


class TeiError(Struct, kw_only=True):
    """An error in the format of text-embeddings-inference."""

    error: str
    error_type: str


T = TypeVar("T", bound=Struct)


def decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Parses a request body. Raises ApiError that names the invalid field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message = str(error)
        _, _, path = message.partition("`$.")
        raise ApiError(400, message, param=path.rstrip("`").split("[")[0].split(".")[0] or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested too deep
        raise ApiError(400, f"the body is not valid JSON: {error}") from None
