"""The bodies of requests and answers. Fields that are not listed are ignored, and null counts as absent."""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from embedry.chains import Kind
from embedry_server.errors import ApiError

Input = Annotated[
    str | list[str | int | list[int]],
    Meta(
        description="A text, or a list of texts. Token ids are refused: they depend on the tokenizer of the client.",
    ),
]
Dimensions = Annotated[
    Annotated[int, Meta(ge=1)] | None, Meta(description="A shorter length, where the model was trained for it.")
]
Normalized = Annotated[
    bool | None, Meta(description="Whether vectors have unit length; by default as the model has it.")
]
Truncate = Annotated[
    bool | Literal["NONE", "START", "END"] | None,
    Meta(
        description='true or "END", the default: longer texts are cut at their end. false or "NONE": they are refused.'
    ),
]
Direction = Annotated[Literal["Right", "Left", "right", "left"] | None, Meta(description="Only Right is possible.")]
OptionalModel = Annotated[
    str | None, Meta(description="A name from /v1/models; by default the first model that the route is for.")
]


class EmbeddingsRequest(Struct, kw_only=True):
    """A request for vectors, as OpenAI's API has it, with the role of the texts."""

    input: Input
    model: Annotated[str, Meta(description="A name from /v1/models.")]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="Numbers, or float32 in little-endian order as base64.")
    ] = None
    dimensions: Dimensions = None
    normalize: Normalized = None
    input_type: Annotated[
        str | None,
        Meta(description="The role of the texts: query, document, unprompted, or a task of the model. Cohere's and NVIDIA's "
                         "words are understood too: search_query, search_document, passage."),
    ] = None  # fmt: skip
    task: Annotated[str | None, Meta(description="The role in Jina's words, such as retrieval.query.")] = None
    prompt_name: Annotated[str | None, Meta(description="The role, as text-embeddings-inference names it.")] = None
    task_type: Annotated[str | None, Meta(description="The role in Google's words, such as RETRIEVAL_QUERY.")] = None
    truncate: Truncate = None


class TextsRequest(Struct, kw_only=True):
    """A request for the terms or the token vectors of texts, as text-embeddings-inference has it."""

    inputs: Input
    model: OptionalModel = None
    prompt_name: Annotated[str | None, Meta(description="The role: query, document, or a task of the model.")] = None
    truncate: Truncate = None
    truncation_direction: Direction = None


class EmbedRequest(TextsRequest, kw_only=True):
    """A request for vectors, as text-embeddings-inference has it."""

    normalize: Normalized = None
    dimensions: Dimensions = None


class TokenizeRequest(Struct, kw_only=True):
    """A request for the tokens of texts."""

    inputs: Input
    model: OptionalModel = None
    prompt_name: Annotated[str | None, Meta(description="The role, whose prompt is put before each text.")] = None


class Embedding(Struct, kw_only=True):
    """The vector of one input."""

    object: Literal["embedding"]
    index: Annotated[int, Meta(description="The position of the input.")]
    embedding: Annotated[list[float] | str, Meta(description="The vector; base64 where that was asked for.")]


class Usage(Struct, kw_only=True):
    """What was computed, in the model's own tokens."""

    prompt_tokens: int
    total_tokens: int


class Term(Struct, kw_only=True):
    """A term of a text."""

    index: Annotated[int, Meta(description="Its place in the model's vocabulary.")]
    value: Annotated[float, Meta(description="Its weight, above 0.")]


class EmbeddingsAnswer(Struct, kw_only=True):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(Struct, kw_only=True):
    """A name under which a model can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: Annotated[str, Meta(description="The model itself.")]
    kind: Annotated[Kind, Meta(description="What the model gives, which decides the routes that it is for.")]
    role: Annotated[str | None, Meta(description="The role that the name stands for; null if the request says it.")]
    roles: list[str]
    dims: Annotated[
        int, Meta(description="The length of a vector; of a sparse model the terms of its vocabulary, of a reranker 1.")
    ]
    dimensions: Annotated[list[int], Meta(description="The lengths that vectors can have.")]
    max_input_tokens: int
    space: Annotated[
        str,
        Meta(
            description="The fingerprint of the vector space: only vectors of one space can be compared. Of a reranker, of its "
            "scores."
        ),
    ]


class ModelList(Struct, kw_only=True):
    """All names under which models can be asked."""

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
    """An error, as OpenAI's API has it."""

    error: ErrorBody


class TeiError(Struct, kw_only=True):
    """An error, as text-embeddings-inference has it."""

    error: str
    error_type: str


T = TypeVar("T", bound=Struct)


def decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """The request in a body. Raises ApiError with the field that is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message = str(error)
        _, _, path = message.partition("`$.")
        raise ApiError(400, message, param=path.rstrip("`").split("[")[0].split(".")[0] or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested too deep
        raise ApiError(400, f"the body is not valid JSON: {error}") from None
