"""Clients that others wrote, against a real server: the vectors of `encode`, and the role that each of them can state."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before its import, which would write to the home folder

import llama_index.core
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from huggingface_hub import InferenceClient, close_session, constants
from huggingface_hub.errors import BadRequestError
from langchain_openai import OpenAIEmbeddings
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding  # type: ignore[import-untyped]

from embedry import LazyEmbedder, resolve
from embedry_server import create_app
from serving import Server, running

MINILM = "all-MiniLM-L6-v2"
NODE = Path(__file__).parent / "node"
LOOPBACK = "127.0.0.1"

TEXTS = ["Refunds are paid within 14 days.", "", "ünïcödé 漢字", "When do I get my money back?", "cut " * 400]
MANY = [f"text {number} " * (number % 4 + 1) for number in range(300)]

NAMED = {"prompted-query": "query", "prompted-passage": "document", "prompted-unprompted": "unprompted"}
"""The names of a model with prompts -> the role that its texts have."""

CURES = (
    r'Send input_type: \\?"query\\?" or \\?"document\\?"; or, .* name the model prompted-query, prompted-passage, or '
    r"prompted-unprompted .*--unnamed-role"
)
"""What is told of it to whoever states no role; some clients show the JSON that it came in."""

Vectors = NDArray[np.float32]


def close(found: Any, expected: Vectors) -> None:
    found = np.array(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6


def embeddings(answer: Any) -> list[Any]:
    """The vectors of an answer, which are in the order of the inputs."""
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return [each.embedding for each in answer.data]


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[..., Path]) -> Path:
    """A model whose queries and documents have different prompts."""
    return checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture(scope="module")
def prompted(folder: Path) -> LazyEmbedder:
    """It in this process; what its vectors are compared with tells the roles apart."""
    embedder = resolve(folder)
    roles = [embedder.encode(TEXTS, role=role) for role in NAMED.values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(roles[one] - roles[other]).max(axis=1).min() > 1e-3
    return embedder


@pytest.fixture(scope="module")
def vectors_of_many(minilm: LazyEmbedder) -> Vectors:
    """Those of MANY."""
    return minilm.encode_document(MANY)


@pytest.fixture(scope="module")
def server(folder: Path, minilm: LazyEmbedder) -> Iterator[Server]:
    """Both models. The one with prompts is the first, which clients reach that can name none."""
    with running(f"prompted={folder}", MINILM) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    """What clients call the base URL."""
    return f"{server.url}/v1"


@pytest.fixture(autouse=True, scope="module")
def asked() -> Iterator[set[object]]:
    """The names that were looked up, by an import too."""
    names: set[object] = set()
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        names.add(host)
        return real(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("OPENAI_", "LITELLM_"))]:
            patch.delenv(name)
        patch.setenv("NO_PROXY", LOOPBACK)
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield names


@pytest.fixture(autouse=True)
def _only_this_machine_is_asked(asked: set[object]) -> Iterator[None]:
    """No client looks up another name, not even in a thread whose errors nobody sees."""
    yield
    assert asked <= {LOOPBACK}


# OpenAI's client for Python.


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def waited(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_openai_gets_the_vectors_of_encode_and_the_models_own_count(
    client: openai.OpenAI, minilm: LazyEmbedder, vectors_of_many: Vectors
) -> None:
    expected = minilm.encode_document(TEXTS)
    tokens = minilm.prepare(TEXTS, role="document").tokens
    assert tokens is not None
    for answer in (  # it asks for base64 by default, and reads it
        client.embeddings.create(model=MINILM, input=TEXTS),
        client.embeddings.create(model=MINILM, input=TEXTS, encoding_format="float"),
    ):
        close(embeddings(answer), expected)
        assert (answer.object, answer.model) == ("list", MINILM)
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (sum(tokens), sum(tokens))
    encoded = embeddings(client.embeddings.create(model=MINILM, input=TEXTS, encoding_format="base64"))
    close([np.frombuffer(base64.b64decode(each), "<f4") for each in encoded], expected)
    close(embeddings(client.embeddings.create(model=MINILM, input=TEXTS[0], user="me")), expected[:1])
    close(embeddings(client.embeddings.create(model=MINILM, input=MANY)), vectors_of_many)


async def test_openai_gets_them_also_when_awaited_and_many_at_a_time(
    waited: openai.AsyncOpenAI, vectors_of_many: Vectors
) -> None:
    whole, *single = await asyncio.gather(
        waited.embeddings.create(model=MINILM, input=MANY),
        *(waited.embeddings.create(model=MINILM, input=text, encoding_format="float") for text in MANY[:40]),
    )
    close(embeddings(whole), vectors_of_many)
    close([embeddings(answer)[0] for answer in single], vectors_of_many[:40])


def test_openai_says_the_role_in_a_field_or_by_the_models_name(client: openai.OpenAI, prompted: LazyEmbedder) -> None:
    for role in NAMED.values():
        answer = client.embeddings.create(model="prompted", input=TEXTS, extra_body={"input_type": role})
        close(embeddings(answer), prompted.encode(TEXTS, role=role))
    for name, role in NAMED.items():
        answer = client.embeddings.create(model=name, input=TEXTS)
        close(embeddings(answer), prompted.encode(TEXTS, role=role))
        tokens = prompted.prepare(TEXTS, role=role).tokens
        assert tokens is not None
        assert (answer.model, answer.usage.prompt_tokens) == (name, sum(tokens))


def test_openai_is_told_what_is_missing_and_what_there_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=CURES) as refused:
        client.embeddings.create(model="prompted", input=TEXTS)
    assert refused.value.param == "input_type"
    with pytest.raises(openai.NotFoundError, match=f"there is no model 'nobody' here; there is: .*{MINILM}") as unknown:
        client.embeddings.create(model="nobody", input=TEXTS)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="there are no inputs; send at least one text"):
        client.embeddings.create(model=MINILM, input=[])


def test_openai_lists_the_models_and_describes_one(client: openai.OpenAI, minilm: LazyEmbedder) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == [*NAMED, MINILM]
    assert {name: listed[name].to_dict()["role"] for name in NAMED} == NAMED
    one = client.models.retrieve(MINILM)
    assert one == listed[MINILM]
    assert (one.owned_by, one.to_dict()["dims"], one.to_dict()["space"]) == ("embedry", 384, minilm.fingerprint)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


# OpenAI's client for JavaScript.


@pytest.fixture(scope="module")
def node(cache_dir: Path) -> Path:
    """A folder with the packages of `tests/node/package-lock.json`, which npm fetches once."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which installs the client for JavaScript: apt-get install npm")
    files = [NODE / "package.json", NODE / "package-lock.json"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    installed = cache_dir / "node-clients" / digest
    if not installed.exists():
        installed.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=installed.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            for file in files:
                shutil.copy(file, made)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=made, check=True, timeout=300)
            with suppress(OSError):  # another run was faster
                made.rename(installed)  # whole or not at all
    return installed


def asked_from_node(node: Path, url: str, requests: Sequence[dict[str, Any]]) -> Any:
    """What the client for JavaScript gives for each of these requests."""
    program = (NODE / "embeddings.mjs").read_text()
    asked = json.dumps({"url": url, "requests": requests})
    result = subprocess.run(
        ["node", "--input-type=module", "--eval", program],
        input=asked, cwd=node, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_openai_for_javascript_gets_the_vectors_of_encode(
    node: Path, url: str, minilm: LazyEmbedder, prompted: LazyEmbedder, vectors_of_many: Vectors
) -> None:
    requests = [
        {"model": MINILM, "input": TEXTS},
        {"model": MINILM, "input": TEXTS, "encoding_format": "float"},
        {"model": MINILM, "input": TEXTS, "encoding_format": "base64"},
        {"model": MINILM, "input": MANY},
        *({"model": name, "input": TEXTS} for name in NAMED),
        *({"model": "prompted", "input": TEXTS, "input_type": role} for role in NAMED.values()),
        {"model": "prompted", "input": TEXTS},
        {"model": "nobody", "input": TEXTS},
    ]
    *answers, refused, unknown = asked_from_node(node, url, requests)
    vectors = [answer["vectors"] for answer in answers]
    for found in vectors[:3]:
        close(found, minilm.encode_document(TEXTS))
    # By default the client asks for base64 and gives numbers; who asks for base64 gets it.
    assert [answer["kind"] for answer in answers[:3]] == ["object", "object", "string"]
    close(vectors[3], vectors_of_many)
    for found, role in zip(vectors[4:], 2 * list(NAMED.values()), strict=True):
        close(found, prompted.encode(TEXTS, role=role))
    tokens = minilm.prepare(TEXTS, role="document").tokens
    assert tokens is not None
    assert answers[0]["usage"] == {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    assert (refused["error"], unknown["error"]) == ("BadRequestError", "NotFoundError")
    assert "prompted-query, prompted-passage, or prompted-unprompted" in refused["message"]


def test_what_npm_installs_is_pinned_and_names_no_mirror() -> None:
    package, lock = (json.loads((NODE / name).read_text()) for name in ("package.json", "package-lock.json"))
    for name, version in package["dependencies"].items():
        locked = lock["packages"][f"node_modules/{name}"]
        assert locked["version"] == version
        assert locked["integrity"].startswith("sha512-")
    for locked in lock["packages"].values():
        assert locked.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/")


# LangChain.


@pytest.fixture
def langchain(url: str) -> Iterator[Callable[..., OpenAIEmbeddings]]:
    with openai.DefaultHttpxClient() as connections:
        yield lambda model, **options: OpenAIEmbeddings(
            model=model, base_url=url, api_key=SecretStr("none"), max_retries=0, http_client=connections, **options
        )


def test_langchain_gets_the_vectors_of_encode_where_it_sends_texts(
    langchain: Callable[..., OpenAIEmbeddings], minilm: LazyEmbedder
) -> None:
    model = langchain(MINILM, check_embedding_ctx_length=False)
    for size in (1000, 2):  # of a request
        close(model.embed_documents(TEXTS, size), minilm.encode_document(TEXTS))
    close(model.embed_query(TEXTS[0]), minilm.encode_query(TEXTS[:1])[0])


def test_langchain_is_told_to_send_texts_where_it_sends_token_ids(
    langchain: Callable[..., OpenAIEmbeddings], monkeypatch: pytest.MonkeyPatch
) -> None:
    # tiktoken downloads its vocabulary where it finds none; LlamaIndex brings the one that LangChain uses for unknown models.
    vocabularies = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(vocabularies))
    cure = r"token ids, which depend on a tokenizer; send texts\. .*check_embedding_ctx_length=False"
    model = langchain(MINILM)
    for ask in (lambda: model.embed_documents(TEXTS), lambda: model.embed_query(TEXTS[0])):
        with pytest.raises(openai.BadRequestError, match=cure) as refused:
            ask()
        assert refused.value.code == "token_ids"


def test_langchain_says_the_role_with_each_call_or_by_the_models_name(
    langchain: Callable[..., OpenAIEmbeddings], prompted: LazyEmbedder
) -> None:
    query, documents = prompted.encode_query(TEXTS[:1])[0], prompted.encode_document(TEXTS)
    one = langchain("prompted", check_embedding_ctx_length=False)
    close(one.embed_query(TEXTS[0], extra_body={"input_type": "query"}), query)
    close(one.embed_documents(TEXTS, extra_body={"input_type": "document"}), documents)
    # A vector store calls both without options: it has to be given two models, by name or with the role in model_kwargs.
    for queries, passages in (
        [langchain(name, check_embedding_ctx_length=False) for name in ("prompted-query", "prompted-passage")],
        [
            langchain("prompted", check_embedding_ctx_length=False, model_kwargs={"extra_body": {"input_type": role}})
            for role in ("query", "document")
        ],
    ):
        close(queries.embed_query(TEXTS[0]), query)
        close(passages.embed_documents(TEXTS), documents)
    for ask in (lambda: one.embed_query(TEXTS[0]), lambda: one.embed_documents(TEXTS)):
        with pytest.raises(openai.BadRequestError, match=CURES):
            ask()


# LlamaIndex.


@pytest.fixture
def llama(url: str) -> Iterator[Callable[..., OpenAILikeEmbedding]]:
    with openai.DefaultHttpxClient() as connections:
        yield lambda model, **options: OpenAILikeEmbedding(
            model_name=model, api_base=url, max_retries=0, http_client=connections, **options
        )


def test_llama_index_gets_the_vectors_of_encode(
    llama: Callable[..., OpenAILikeEmbedding], minilm: LazyEmbedder
) -> None:
    model = llama(MINILM, embed_batch_size=2)
    close(model.get_text_embedding_batch(TEXTS), minilm.encode_document(TEXTS))
    close(model.get_text_embedding(TEXTS[0]), minilm.encode_document(TEXTS[:1])[0])
    close(model.get_query_embedding(TEXTS[0]), minilm.encode_query(TEXTS[:1])[0])


def test_llama_index_says_the_role_by_two_models_one_for_the_index_and_one_for_its_retriever(
    llama: Callable[..., OpenAILikeEmbedding], prompted: LazyEmbedder
) -> None:
    # The fields of additional_kwargs go with queries and with texts alike, so one model has one role.
    for queries, passages in (
        (llama("prompted-query"), llama("prompted-passage")),
        [llama("prompted", additional_kwargs={"extra_body": {"input_type": role}}) for role in ("query", "document")],
    ):
        close(queries.get_query_embedding(TEXTS[0]), prompted.encode_query(TEXTS[:1])[0])
        close(passages.get_text_embedding_batch(TEXTS), prompted.encode_document(TEXTS))
        index = VectorStoreIndex([TextNode(text=text) for text in TEXTS if text], embed_model=passages)
        (found,) = index.as_retriever(similarity_top_k=1, embed_model=queries).retrieve(TEXTS[2])
        (query,), (document,) = prompted.encode_query([TEXTS[2]]), prompted.encode_document([found.text])
        assert found.score == pytest.approx(float(query @ document), abs=1e-5)
    for ask in ("get_query_embedding", "get_text_embedding"):
        with pytest.raises(openai.BadRequestError, match=CURES):
            getattr(llama("prompted"), ask)(TEXTS[0])


# Haystack.


def haystack_vectors(url: str, model: str) -> tuple[list[float], list[Any]]:
    """The vectors of the first text, and of all as documents."""
    options: Any = {"api_key": Secret.from_token("none"), "api_base_url": url, "model": model, "max_retries": 0}
    text = OpenAITextEmbedder(**options)
    # It would log that the server refused, and answer without vectors.
    documents = OpenAIDocumentEmbedder(**options, progress_bar=False, raise_on_failure=True)
    try:
        found = text.run(text=TEXTS[0])["embedding"]
        given = [Document(content=each) for each in TEXTS]
        return found, [each.embedding for each in documents.run(documents=given)["documents"]]
    finally:
        text.close()
        documents.close()


def test_haystack_gets_the_vectors_of_encode(url: str, minilm: LazyEmbedder) -> None:
    text, documents = haystack_vectors(url, MINILM)
    close(text, minilm.encode_query(TEXTS[:1])[0])
    close(documents, minilm.encode_document(TEXTS))


def test_haystack_says_the_role_by_the_models_name(url: str, prompted: LazyEmbedder) -> None:
    for name, role in NAMED.items():
        text, documents = haystack_vectors(url, name)
        close(text, prompted.encode(TEXTS[:1], role=role)[0])
        close(documents, prompted.encode(TEXTS, role=role))
    with pytest.raises(openai.BadRequestError, match=CURES):
        haystack_vectors(url, "prompted")


# LiteLLM.


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """The library, whose import takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks GitHub for prices
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # which it sets
        import litellm

        patch.setattr(litellm, "suppress_debug_info", True)
        yield litellm


def litellm_vectors(litellm: Any, url: str, model: str, **fields: Any) -> list[Any]:
    answer = litellm.embedding(model, input=TEXTS, api_base=url, api_key="none", **fields)
    return [each["embedding"] for each in answer.data]


def test_litellm_gets_the_vectors_of_encode(litellm: Any, url: str, minilm: LazyEmbedder) -> None:
    expected = minilm.encode_document(TEXTS)
    for provider in ("openai", "hosted_vllm", "infinity"):
        close(litellm_vectors(litellm, url, f"{provider}/{MINILM}"), expected)
        close(litellm_vectors(litellm, url, f"{provider}/{MINILM}", encoding_format="float"), expected)


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "infinity", "nvidia_nim", "voyage", "jina_ai"])
def test_litellm_says_the_role_in_a_field_or_by_the_models_name(
    litellm: Any, url: str, prompted: LazyEmbedder, provider: str
) -> None:
    for name, role in NAMED.items():
        expected = prompted.encode(TEXTS, role=role)
        close(litellm_vectors(litellm, url, f"{provider}/{name}"), expected)
        close(litellm_vectors(litellm, url, f"{provider}/prompted", input_type=role), expected)
        close(litellm_vectors(litellm, url, f"{provider}/prompted", extra_body={"input_type": role}), expected)
    with pytest.raises(litellm.BadRequestError, match=CURES):
        litellm_vectors(litellm, url, f"{provider}/prompted")


# Hugging Face's client, for text-embeddings-inference.


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Its client may use the network, and has no token to send."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    close_session()
    yield
    close_session()


@pytest.mark.parametrize("path", ["", "/", "/embed"])
@pytest.mark.usefixtures("hugging_face")
def test_hugging_face_gets_the_vectors_of_encode_of_the_first_model_at_the_bare_address(
    server: Server, prompted: LazyEmbedder, folder: Path, path: str
) -> None:
    client = InferenceClient(server.url + path)
    for role in NAMED.values():
        expected = prompted.encode(TEXTS, role=role)
        close(client.feature_extraction(TEXTS, prompt_name=role), expected)
        close(client.feature_extraction(TEXTS[0], prompt_name=role), expected[:1])
    raw = resolve(folder, normalize=False).encode_query(TEXTS)
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).min() > 1e-3  # else it could not be told from the other
    close(client.feature_extraction(TEXTS, prompt_name="query", normalize=False), raw)
    found = client.feature_extraction(TEXTS, prompt_name="query", normalize=True, truncate=True)
    close(found, prompted.encode_query(TEXTS))


@pytest.mark.usefixtures("hugging_face")
def test_hugging_face_is_told_what_is_missing_in_its_own_words(server: Server) -> None:
    client = InferenceClient(server.url)
    with pytest.raises(BadRequestError, match=CURES.replace("input_type", "prompt_name")):
        client.feature_extraction(TEXTS[0])
    with pytest.raises(BadRequestError, match="prompt_name='nobody' is no role of"):
        client.feature_extraction(TEXTS[0], prompt_name="nobody")
    with pytest.raises(BadRequestError, match="1 of 5 inputs are longer than the 128 tokens"):
        client.feature_extraction(TEXTS, prompt_name="query", truncate=False)


def test_the_bare_address_gives_a_page_to_everybody_and_vectors_only_for_a_key(minilm: LazyEmbedder) -> None:
    async def answers() -> list[int]:
        transport = httpx.ASGITransport(create_app([MINILM], keys=["sesame"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return [
                (await client.request(method, "/", json={"inputs": "a text"}, headers=headers)).status_code
                for method, headers in (
                    ("GET", {}),
                    ("HEAD", {}),
                    ("POST", {}),
                    ("POST", {"authorization": "Bearer wrong"}),
                    ("POST", {"authorization": "Bearer sesame"}),
                )
            ]

    assert asyncio.run(answers()) == [200, 200, 401, 401, 200]


# The fields of other APIs.


@pytest.mark.parametrize(
    ("field", "queries", "documents"),
    [
        ("input_type", "query", "document"),  # Voyage
        ("input_type", "search_query", "search_document"),  # Cohere
        ("input_type", "query", "passage"),  # NVIDIA
        ("task", "retrieval.query", "retrieval.passage"),  # Jina
        ("task_type", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),  # Google
        ("prompt_name", "query", "document"),  # text-embeddings-inference
    ],
)
def test_the_role_is_understood_in_the_words_of_other_apis(
    server: Server, prompted: LazyEmbedder, field: str, queries: str, documents: str
) -> None:
    for word, role in ((queries, "query"), (documents, "document")):
        found = server.vectors(TEXTS, model="prompted", **{field: word})
        close(found, prompted.encode(TEXTS, role=role))
