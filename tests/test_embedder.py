"""The embedder protocol: a class with `encode` has every method that an ecosystem knows."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import BaseEmbedder, Embedder
from embedry.backend import Backend, Encoder, TextEncoder
from embedry.views import LazyEmbedder


class Lengths(BaseEmbedder):
    """The least that a third party writes: a text's vector is its length, and 1 for a query."""

    name = "lengths"
    dims = 2
    max_seq_length = 100

    def encode(self, texts: Iterable[str], *, role: str) -> NDArray[np.float32]:
        return np.float32([[len(text), role == "query"] for text in texts]).reshape(-1, 2)


class Waiting(Lengths):
    """Is done when something else has run on the event loop."""

    def __init__(self) -> None:
        self.beat = Event()

    def encode(self, texts: Iterable[str], *, role: str) -> NDArray[np.float32]:
        assert self.beat.wait(30), "nothing else could run on the event loop"
        return super().encode(texts, role=role)


def test_a_class_with_nothing_but_encode_has_every_spelling() -> None:
    embedder = Lengths()
    assert embedder.encode_query(["abc", ""]).tolist() == [[3, 1], [0, 1]]
    assert embedder.encode_document(["abc", ""]).tolist() == [[3, 0], [0, 0]]
    assert embedder.embed_query("abc") == [3.0, 1.0]
    assert embedder.embed_documents(["abc", ""]) == [[3.0, 0.0], [0.0, 0.0]]
    assert embedder.embed_documents([]) == []
    assert asyncio.run(embedder.aembed_query("abc")) == [3.0, 1.0]
    assert asyncio.run(embedder.aembed_documents(["abc"])) == [[3.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda embedder: embedder.aembed_query("abc"), [3.0, 1.0]),
        (lambda embedder: embedder.aembed_documents(["abc"]), [[3.0, 0.0]]),
    ],
)
def test_while_an_async_call_computes_the_event_loop_goes_on(
    call: Callable[[Embedder], Coroutine[Any, Any, Any]], result: list[Any]
) -> None:
    embedder = Waiting()

    async def heartbeat() -> None:
        embedder.beat.set()

    async def main() -> Any:
        return (await asyncio.gather(call(embedder), heartbeat()))[0]

    assert asyncio.run(main()) == result


def test_an_embedder_of_ours_and_of_a_third_party_are_both_recognized(minilm: LazyEmbedder) -> None:
    assert isinstance(minilm, Embedder)
    assert isinstance(Lengths(), Embedder)
    assert not isinstance(object(), Embedder)


def test_a_class_that_merely_has_the_methods_is_an_embedder_too() -> None:
    members = {"name": "x", "dims": 1, "max_seq_length": 1}
    assert isinstance(type("Alike", (), members | {"encode": len})(), Embedder)
    assert not isinstance(type("Unlike", (), members)(), Embedder)


def test_a_subclass_that_forgets_encode_cannot_be_made() -> None:
    for base in (BaseEmbedder, Encoder, TextEncoder, Backend):
        with pytest.raises(TypeError, match="abstract"):
            type("Incomplete", (base,), {})()


def test_the_spellings_of_the_shared_embedder_are_those_of_the_protocol(minilm: LazyEmbedder) -> None:
    inherited = (
        "encode_query",
        "encode_document",
        "embed_query",
        "embed_documents",
        "aembed_query",
        "aembed_documents",
    )
    assert [name for name in inherited if name in vars(type(minilm))] == []
