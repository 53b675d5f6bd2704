"""`embedry serve`: embeddings and rankings over HTTP, for clients of OpenAI, Cohere, Jina and text-embeddings-inference.

    app = create_app(["all-MiniLM-L6-v2"])  # an ASGI application, for a server of your own

One process, several models. Requests are calls of embedders and rerankers: what is computed together, and who comes first, is decided by
the scheduler in embedry's core.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedry_server.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name == "create_app":  # numpy, Starlette and Prometheus's client come with it
        from embedry_server.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
