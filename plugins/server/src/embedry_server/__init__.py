"""`embedry serve`: embeddings and rankings over HTTP, for clients of OpenAI, Cohere, Jina and text-embeddings-inference.

    app = create_app(["all-MiniLM-L6-v2"])  # an ASGI application, to run on your own server

One process serves several models. Requests become calls of embedders and rerankers; the scheduler in embedry's core orders and batches
them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedry_server.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name == "create_app":  # imports numpy, Starlette and the Prometheus client
        from embedry_server.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
