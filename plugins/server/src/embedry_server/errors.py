"""Error responses."""

from collections.abc import Mapping

from embedry import EmbedryError, EncodeTimeoutError, OptionError, TextError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """An error response to a request.

    Args:
        status: the HTTP status.
        message: what is wrong, with the value, and what to do. It must not quote long texts.
        param: the field of the request that caused the error.
        code: an identifier for programs, such as "model_not_found".
        headers: headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The type of the error in OpenAI's API."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def openai(self) -> dict[str, object]:
        """The response body in OpenAI's format."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def tei(self) -> dict[str, object]:
        """The response body in the format of text-embeddings-inference."""
        kind = "overloaded" if self.status == 429 else "validation" if self.status < 500 else "backend"
        return {"error": self.message, "error_type": kind}


class ClientGoneError(Exception):
    """The client closed its connection, or did not send its request in time."""


def as_api_error(error: EmbedryError, field: str = "input") -> ApiError:
    """The error response for an error of embedry; `field` is the field of the request with the texts."""
    if isinstance(error, TextError | OptionError):
        return ApiError(400, str(error), param=field if isinstance(error, TextError) else None)
    if isinstance(error, EncodeTimeoutError):
        return ApiError(504, str(error), code="deadline_exceeded")
    return ApiError(500, str(error), code="engine_failed")
