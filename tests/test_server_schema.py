"""The server keeps to its own OpenAPI document, whatever it is sent: schemathesis makes the requests."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from embedry import LazyEmbedder
from embedry_server import create_app
from kind_models import registered
from serving import in_thread

MINILM = "all-MiniLM-L6-v2"
MODELS = {
    "/rerank": "tiny-reranker",
    "/v1/rerank": "tiny-reranker",
    "/v2/rerank": "tiny-reranker",
    "/embed_sparse": "tiny-sparse",
    "/embed_all": "tiny-multi-vector",
}
"""Routes -> the model that they are for, where it is not the dense one."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def api(minilm: LazyEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document, as a server with a model of every kind gives it."""
    root = tmp_path_factory.mktemp("models")
    names = [registered(root, kind).name for kind in ("reranker", "sparse", "multi_vector")]
    with in_thread(create_app([MINILM, *names], unnamed_role="document")) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")
        assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200


def test_every_answer_is_one_that_the_document_describes(api: Any) -> None:
    answered: Counter[tuple[str, int]] = Counter()
    for operation in (found.ok() for found in api.get_all_operations()):

        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        @settings(
            max_examples=40 if operation.method == "post" else 5,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            if isinstance(case.body, dict) and case.body.get("model") != "nope":
                case.body["model"] = MODELS.get(case.path, MINILM)  # any other name ends at a 404 or a 400
            response = case.call()
            answered[case.path, response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        check()
    # schemathesis leaves out the document itself, which it was given already
    assert {path for path, _ in answered} | {"/openapi.json"} == set(api.raw_schema["paths"]), "all routes"
    for path in ("/v1/embeddings", "/embed", "/tokenize", *MODELS):
        assert answered[path, 200] > 0
        assert answered[path, 400] > 0
