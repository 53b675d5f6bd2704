"""The encoder: sends texts to a server in parts that it accepts, and receives vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray

from embedry import BackendError, ModelSpec, Normalize, OptionError, SpaceError, UnsupportedModelError
from embedry.backend import LoadRequest, TextEncoder
from embedry.fingerprint import space_fingerprint
from embedry.modules import Chain
from embedry.registry import installed
from embedry_remote import answers, server
from embedry_remote.connection import Connection
from embedry_remote.failures import TooLargeError
from embedry_remote.settings import MODEL, URL, Settings

MOST_TEXTS = 2048
"""The most texts of one request, as with OpenAI."""
MOST_CHARS = 2**16
"""The characters that end a request: some seconds of a small server's time."""

SPACE_HEADER = "embedry-space"

Answer = TypeVar("Answer")


class RemoteEncoder(TextEncoder):
    """See `embedry.backend.TextEncoder`. Servers other than embedry's state no vector space."""

    def __init__(self, request: LoadRequest, settings: Settings) -> None:
        self._settings = settings
        self._dims = request.spec.dims
        self._int8 = request.precision == "int8"
        self._connection = Connection(settings)
        self._space: str | None = None  # that the first answer was of
        name = settings.model or request.spec.name
        self._served = server.find(self._connection, name, self._dims)
        if self._int8 and self._served is None:
            raise OptionError(
                f"precision='int8' is not supported: the server at {settings.api} is not embedry's, and does not say in which "
                "precision it computes"
            )
        self._model = self._served.unprompted if self._served is not None else name
        self.info: Mapping[str, str] = self._described(request.spec)

    def check(self, spec: ModelSpec, chain: Chain) -> None:
        """Compares the vector space of the entry with the server's, if both are known.

        Raises:
            SpaceError: they differ.
            UnsupportedModelError: the vectors must not be normalized, and the server does not state whether it normalizes.
        """
        if self._served is None:
            if not isinstance(chain[-1], Normalize):
                raise UnsupportedModelError(
                    f"the server at {self._settings.api} does not say whether it normalizes its vectors, and those of "
                    f"{spec.name!r} as asked for here are not normalized; pass normalize=True to resolve, or use an embedry server"
                )
        elif self._served.space is not None:
            known = _spaces(spec, self._int8)
            if known and self._served.space not in known:
                raise SpaceError(
                    f"the model {self._served.name!r} at {self._settings.api} has the vector space {self._served.space}, and "
                    f"{spec.name!r} has {known[0]} here: other files, settings or prompts; use the same version of the entry "
                    f"on both sides, or set {URL} or {MODEL} to another"
                )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `embedry.backend.TextEncoder`. Raises UnsupportedModelError if the server is not embedry's."""
        if self._served is None:
            raise UnsupportedModelError(
                f"the server at {self._settings.api} does not count tokens; use an embedry server, or on_overflow='truncate'"
            )
        return [length for part in self._in_parts(self._tokenized, texts) for length in part]

    def forward_texts(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """See `embedry.backend.TextEncoder`.

        Raises:
            BackendError: the server does not answer, rejects the request, or does not return finite vectors of the right length.
            SpaceError: the server's model has changed since it was loaded.
        """
        whole = [prompt + text for text in texts]
        return np.concatenate([*self._in_parts(self._embedded, whole), np.empty((0, self._dims), dtype=np.float32)])

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        url = f"{self._settings.api}/embeddings"
        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "base64"}
        if self._served is not None:
            body["normalize"] = False
        response = self._connection.post(url, body)
        self._check_space(response)
        return answers.of_embeddings(response.content, texts=len(texts), dims=self._dims, url=url)

    def _tokenized(self, texts: Sequence[str]) -> list[int]:
        url = f"{self._settings.root}/tokenize"
        content = self._connection.post(url, {"model": self._model, "inputs": texts}).content
        return answers.of_tokenize(content, texts=len(texts), url=url)

    def _check_space(self, response: httpx2.Response) -> None:
        """Checks the vector space that an embedry server states with each response.

        Raises:
            BackendError: the server was not an embedry server before.
            SpaceError: its model has changed since the first response, for example after a restart.
        """
        space = response.headers.get(SPACE_HEADER)
        if self._served is None and space is not None:  # its model may add its own prompt
            raise BackendError(
                f"{response.url} is of an embedry server, and {self._settings.api}/models did not say so; let that route "
                "through too"
            )
        self._space = self._space or space
        if space != self._space:
            raise SpaceError(
                f"{response.url} has the vector space {space} now, and had {self._space} before; call unload() on the embedder to "
                "go on with it, and do not mix the vectors of the two"
            )

    @staticmethod
    def _in_parts(ask: Callable[[Sequence[str]], Answer], texts: Sequence[str]) -> Iterator[Answer]:
        """The results of `ask` for parts of the texts, in order; parts that are too large for the server are halved."""
        start, most = 0, MOST_TEXTS
        while start < len(texts):
            part = _beginning(texts[start : start + most])
            try:
                answer = ask(part)
            except TooLargeError:
                if len(part) == 1:
                    raise
                most = len(part) // 2
            else:
                start += len(part)
                yield answer

    def _described(self, spec: ModelSpec) -> dict[str, str]:
        described = {"server": self._settings.api, "model": self._model}
        if self._served is None:
            return {"engine": "a server with OpenAI's interface", **described, "space": "unknown to the server"}
        compared = (
            "compared with the entry" if None not in spec.files.values() else "not compared: the entry lacks digests"
        )
        space = f"{self._served.space}, {compared}" if self._served.space is not None else "not told by the server"
        version = server.version(self._connection)
        engine = f"embedry server {version}" if version is not None else "embedry server"
        return {"engine": engine, **described, "space": space} | ({"precision": "int8"} if self._int8 else {})


def _beginning(texts: Sequence[str]) -> Sequence[str]:
    """The first texts, until they reach `MOST_CHARS` characters."""
    chars = 0
    for place, text in enumerate(texts):
        chars += len(text)
        if chars >= MOST_CHARS:
            return texts[: place + 1]
    return texts


@lru_cache(maxsize=64)  # each call of an embedder asks
def _spaces(spec: ModelSpec, int8: bool) -> tuple[str, ...]:
    """The valid fingerprints of a server's model for this entry; none if the entry lacks digests.

    Prompts are applied here and may differ from the server's, which may have those of the registered entry.
    """
    digests = {file: digest for file, digest in spec.files.items() if digest is not None}
    if len(digests) < len(spec.files):
        return ()
    fingerprint = partial(
        space_fingerprint,
        digests=digests,
        chain=spec.chain,
        max_seq_length=spec.max_seq_length,
        int8_calibration=spec.int8.calibration.sha256 if spec.int8 is not None and int8 else None,
    )
    registered = installed().find(spec.name)
    prompts = [spec.prompts] if registered is None else [spec.prompts, registered.prompts]
    return tuple(dict.fromkeys(fingerprint(replace(spec, prompts=each)) for each in prompts))
