"""A small program that uses every public name, as an application, a model pack and a backend would. It is type-checked."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

import embedry
from embedry import (
    NO_LIMIT,
    AmbiguousModelError,
    BackendContractError,
    BackendError,
    BackendImportError,
    BaseEmbedder,
    BertNormalizer,
    CachedItem,
    CacheError,
    CacheWarning,
    Classifier,
    Computation,
    Dense,
    DownloadError,
    Embedder,
    EmbedryError,
    EmbedryWarning,
    EncodedBlock,
    EncodeTimeoutError,
    FilesError,
    Hits,
    Int8,
    IntegrityError,
    LateInteraction,
    LayerNorm,
    LazyEmbedder,
    LazyMultiVectorEmbedder,
    LazyReranker,
    LazySparseEmbedder,
    LibraryModule,
    LockError,
    LogitScore,
    MaskedLM,
    Matryoshka,
    ModelError,
    ModelSpec,
    MultiVectorEmbedder,
    Normalize,
    OnOverflow,
    OptionError,
    Options,
    PairFrame,
    Passage,
    PluginWarning,
    Pooling,
    Prepared,
    Ranked,
    Reranker,
    RerankerOptions,
    Resource,
    Score,
    Space,
    SpaceError,
    SparseEmbedder,
    SparseVectors,
    SpecError,
    SpladePooling,
    StaticEmbedding,
    TermTable,
    TermWeights,
    TextError,
    TextTooLongError,
    TextTypeError,
    Token,
    TokenVectors,
    Transformer,
    TruncationWarning,
    UnknownBackendError,
    UnknownModelError,
    UnknownOptionError,
    UnsupportedModelError,
    WeightsNotFoundError,
    WheelSource,
    clear_cache,
    hookimpl,
    list_cached,
    list_models,
    maxsim,
    register,
    resolve,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
    use_lock,
)
from embedry.backend import (
    PROCESS_SETTING,
    Backend,
    Encoder,
    LibraryThreads,
    LoadRequest,
    ModelConfig,
    PairEncoder,
    Tensor,
    TextEncoder,
    artifact,
    cpu_features,
    is_failure,
    is_read,
    only_listed,
    resource_file,
    tensors,
    terms,
    unknown_token,
)
from embedry.testing import CHECKS, Check, Golden, NotApplicable, Subject, Violation, description, run

Vectors = NDArray[np.float32]

# An application.


def opened(model: str, **options: Unpack[Options]) -> LazyEmbedder:
    """An embedder, loaded at once."""
    return resolve(model, **options).load()


def search(embedder: Embedder, texts: Sequence[str], query: str) -> str:
    """The text that is nearest to the query, by any embedder."""
    vectors: NDArray[np.float32] = embedder.encode(texts, role="document")
    scores = vectors @ embedder.encode([query], role="query")[0]
    return texts[int(scores.argmax())]


def stored(embedder: LazyEmbedder, policy: OnOverflow = "warn") -> dict[str, object]:
    """What a store saves, after a look at everything an embedder knows."""
    space = Space.of(embedder)
    again = Space.from_dict(space.as_dict()).resolve(on_overflow=policy, threads=1)
    space.check(again)
    facts: tuple[str, int, int, str, bool] = (
        again.name, again.dims, again.max_seq_length, again.fingerprint, again.loaded,
    )  # fmt: skip
    for block in again.encode_stream(["a text"], role="document"):
        assert block.shape[1] == again.dims
    floats: list[float] = asyncio.run(again.aembed_query("a query"))
    rows: list[list[float]] = again.embed_documents(["a text"])
    array: NDArray[np.float32] = asyncio.run(again.aencode(["a text"], role="query"))
    blocks: list[EncodedBlock[Vectors]] = list(again.encode_blocks(["a text"], role="document"))
    assert blocks[0].tokens is None or blocks[0].tokens == again.count_tokens(["a text"], role="document")
    return {"facts": facts, "info": dict(again.info), "floats": floats, "rows": rows, "array": array}


def in_time(model: str, texts: Sequence[str], seconds: float) -> NDArray[np.float32] | None:
    """The vectors of texts that all fit, if they are ready in time; nothing stays in memory."""
    with resolve(model) as embedder:
        prepared: Prepared[Vectors] = embedder.prepare(texts, role="document")
        if prepared.truncated or sum(prepared.tokens or ()) > 10_000:
            return None
        try:
            return prepared.encode(timeout=seconds)
        except EncodeTimeoutError:
            embedder.unload()
            return embedder.encode(texts[:1], role="document", timeout=None)


async def awaited(model: LazyEmbedder, texts: Sequence[str]) -> tuple[NDArray[np.float32], float | None]:
    """The vectors of texts, and how long they waited, without a thread that waits; "" has no token of its own."""
    tokens: list[list[Token]] = model.tokenize(["", *texts], role="unprompted")
    assert all(token.special for token in tokens[0])
    computation: Computation[Vectors] = model.prepare(texts, role="unprompted").start()
    try:
        return await computation, computation.queued
    finally:
        computation.cancel()
        assert model.computed_tokens <= (model.computed_tokens[1],) * 2


def reranked(question: str, documents: Sequence[str], model: str, **options: Unpack[RerankerOptions]) -> list[str]:
    """The documents in the order in which they answer the question."""
    reranker: LazyReranker = resolve_reranker(model, **options)
    pairs = [(question, document) for document in documents]
    scores: NDArray[np.float64] = reranker.score(pairs, timeout=60)
    logits: Vectors = reranker.logits(pairs)
    assert (reranker.shown(logits) == scores).all()
    assert sum(reranker.count_tokens(pairs)) >= sum(reranker.prepare(pairs).tokens or ())
    blocks: list[EncodedBlock[Vectors]] = list(reranker.score_blocks(pairs))
    assert len(blocks[0].vectors) == len(pairs)
    ranked: list[Ranked] = reranker.rank(question, documents, top_k=None)
    assert ranked == reranker.ranked(logits)
    assert best(reranker, question, documents) == documents[ranked[0].position]
    return [documents[each.position] for each in ranked if each.score > -100]


def best(reranker: Reranker, question: str, documents: Sequence[str]) -> str:
    """The document that answers the question, by any reranker."""
    ((position, _),) = reranker.rank(question, documents, top_k=1)
    return documents[position]


def words(sparse: SparseEmbedder, text: str) -> dict[str, float]:
    """The terms of a text, by any sparse embedder."""
    vectors: SparseVectors = sparse.encode([text], role="document")
    indices, values = vectors[0]
    assert len(indices) == len(values) == len(vectors.terms(0))
    assert vectors.to_dense().shape == (1, vectors.dims)
    return vectors.terms(0)


def late(model: MultiVectorEmbedder, query: str, text: str) -> float:
    """How similar two texts are, by any multi-vector embedder."""
    queries: TokenVectors = model.encode([query], role="query")
    assert queries[0].shape[1] == queries.dims
    return float(maxsim(queries, model.encode([text], role="document"))[0, 0])


def opened_others(model: str) -> tuple[LazySparseEmbedder, LazyMultiVectorEmbedder]:
    """Two more kinds of results of a model that gives several."""
    sparse, multi_vector = resolve_sparse(model, backend="onnxruntime"), resolve_multi_vector(model, dims=None)
    assert words(sparse, "a text")
    assert late(multi_vector, "a query", "a text") > 0
    return sparse, multi_vector


def reason(error: EmbedryError) -> str:
    """What kind of trouble this is."""
    kinds: dict[str, tuple[type[EmbedryError], ...]] = {
        "option": (OptionError, UnknownOptionError),
        "text": (TextError, TextTypeError, TextTooLongError),
        "model": (ModelError, UnknownModelError, AmbiguousModelError, UnsupportedModelError, SpecError),
        "backend": (BackendError, UnknownBackendError, BackendImportError, BackendContractError),
        "files": (FilesError, WeightsNotFoundError, IntegrityError, DownloadError, CacheError),
        "space": (SpaceError,),
        "time": (EncodeTimeoutError,),
    }
    if isinstance(error, TextError):
        return f"texts {error.positions}"
    return next((kind for kind, classes in kinds.items() if isinstance(error, classes)), "other")


WARNINGS: tuple[type[EmbedryWarning], ...] = (CacheWarning, PluginWarning, TruncationWarning)

# A model pack.

SPEC = ModelSpec(
    name="acme-words",
    dims=16,
    max_seq_length=64,
    preferred_backend="acme",
    architecture="bert",
    transformer=Transformer(path="0", normalizer=BertNormalizer(lower_case=False)),
    chain=(
        LibraryModule(class_name="sentence_transformers.models.WordWeights", path="1"),
        Pooling(mode="mean"),
        Dense(path="2_Dense", inputs=48, outputs=16, activation="tanh"),
        LayerNorm(),
        Normalize(),
    ),
    files=dict.fromkeys(("0/model.safetensors", "0/tokenizer.json", "0/config.json", "2_Dense/model.safetensors")),
    wheel=WheelSource(package="acme-words", version="1.0", folder="acme_words/model"),
    matryoshka=Matryoshka(dims=(8,), before=(LayerNorm(),)),
    golden=Resource(package="acme_words", path="golden.json", sha256="0" * 64),
    int8=Int8(calibration=Resource(package="acme_words", path="int8.safetensors", sha256="0" * 64), cosine=0.99),
)

TERMS = TermTable(outputs=100, path="1", table="idf.json")
SPARSE = ModelSpec(
    name="acme-terms",
    dims=100,
    max_seq_length=64,
    preferred_backend="acme",
    architecture="bert",
    transformer=Transformer(whole_tokens=("[Q] ", "[D] "), pair=PairFrame(before="<judge>", after="</judge>")),
    chain=(MaskedLM(), SpladePooling(strategy="max", activation="relu")),
    query_chain=(TERMS,),
    other_chains=(
        (Classifier(labels=1, pooling="cls"), Score(activation="sigmoid")),
        (Dense(path="", inputs=16, outputs=8), LateInteraction(query_length=32, expand_to=32, skip=(".",))),
    ),
    files=dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json", TERMS.weights, TERMS.tokenizer)),
)
JUDGE = (LogitScore(true_token=1, false_token=2), Score())
WEIGHTS = TermWeights(path="sparse_linear", inputs=16, outputs=100, skip=(0,))


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of the pack."""
    return [SPEC, SPARSE]


def registered() -> list[str]:
    """The names of all models, ours too."""
    register(SPEC)
    return [f"{spec.name}: {spec.prompt('query')}{spec.body}{spec.normalizes}" for spec in list_models()]


# An embedder and a backend.


class Lengths(BaseEmbedder):
    """A text's vector is its length."""

    name, dims, max_seq_length = "lengths", 1, 100

    def encode(self, texts: Iterable[str], *, role: str) -> NDArray[np.float32]:
        return np.array([[len(text)] for text in texts], dtype=np.float32).reshape(-1, 1)


class Table(Encoder):
    """A row for each token, and their mean."""

    workers, batch_tokens = 2, 512

    def __init__(self, weight: Tensor) -> None:
        self._table = weight.values()
        self._threads = LibraryThreads(2, get_count=lambda: 1, set_count=lambda count: None)
        self.info = {"engine": f"numpy, {len(cpu_features())} features of the processor"}

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        weights = mask[:, :, np.newaxis].astype(np.float32)
        means: NDArray[np.float32] = (self._table[ids] * weights).sum(axis=1) / weights.sum(axis=1)
        return means

    def forward_wide(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        with PROCESS_SETTING:
            return self._threads.wide(lambda: self.forward(ids, mask))


class Scores(PairEncoder):
    """A pair's score is how many tokens its document has."""

    def __init__(self) -> None:
        self.info = {"engine": "numpy"}

    def forward(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], segments: NDArray[np.int32], /
    ) -> NDArray[np.float32]:
        scores: Vectors = (mask * segments).sum(axis=1, keepdims=True).astype(np.float32)
        return scores


class Remote(TextEncoder):
    """A service that reads texts in its own way."""

    def __init__(self) -> None:
        self.info = {"engine": "a service"}

    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        return [len(text.split()) for text in texts]

    def forward_texts(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        return np.ones((len(texts), 16), dtype=np.float32)


class AcmeBackend(Backend):
    """Both of them."""

    devices = ("cpu",)
    precisions = ("fp32",)
    modules = (Pooling, Dense, LayerNorm, Normalize, Classifier)
    outputs = ("dense", "reranker")

    def refusal(self, spec: ModelSpec) -> str | None:
        return None if spec.architecture == "bert" else "it only knows bert"

    def load(self, request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        def build(target: Path) -> None:
            (target / "table.txt").write_text(request.spec.name)

        spec = request.spec
        if spec.kind == "reranker":
            return Scores()
        if request.config is None or request.config.hidden_size is None:
            return Remote()
        inputs = {file: request.folder / file for file in spec.weights}
        if spec.int8 is not None:
            inputs["calibration"] = resource_file(spec.int8.calibration, request.cache_dir)
        artifact(f"the table of {spec.name!r}", build, request.cache_dir, inputs=inputs, settings=["version 1"])
        try:
            with only_listed(spec, request.folder) as files:
                named = tensors(files / spec.weights[0])
        except BaseException as error:
            if not is_failure(error):
                raise
            raise BackendError(f"the table cannot be read: {error}") from error
        return Table(next(tensor for name, tensor in named.items() if is_read(name)))


backend: Backend = AcmeBackend()


def checked(model: str) -> list[str]:
    """What the conformance checks say."""
    subject, said = Subject(model, backend="acme"), list[str]()
    functions: dict[str, Check] = CHECKS
    for name, function in functions.items():
        try:
            run(name, subject)
        except (Violation, NotApplicable) as answer:
            said.append(f"{description(function)}: {answer}")
    return said


def width(config: ModelConfig) -> int:
    """The width of a token vector."""
    return config.hidden_size or 0


def compared(path: Path) -> int:
    """How many golden vectors a file has."""
    return len(Golden.read(path).vectors)


def static(folder: Path) -> ModelSpec:
    """A table of vectors that knows what unknown words are."""
    return ModelSpec(
        name="table",
        dims=256,
        max_seq_length=NO_LIMIT,
        preferred_backend="static",
        architecture="static",
        transformer=None,
        chain=(StaticEmbedding(outputs=256, skip_unknown=unknown_token(folder / "tokenizer.json") is not None),),
        files={"model.safetensors": None, "tokenizer.json": None},
    )


def term(folder: Path, number: int) -> str:
    """A term of a model's vocabulary."""
    return terms(folder / "tokenizer.json")[number]


def locked(path: Path) -> str:
    """Why a lock file cannot be used; empty if it is in use from now on."""
    try:
        use_lock(path)
    except LockError as error:
        return str(error)
    return ""


def nearest(embedder: LazyEmbedder, text: str, question: str) -> list[Passage]:
    """The passages of a text that are most like a question, the best first."""
    passages: list[Passage] = embedder.split(text, tokens=128, overlap=16)
    documents = embedder.encode_document([passage.text for passage in passages], progress=True)
    hits: Hits = embedder.top_k(embedder.encode_query([question]), documents, 3)
    return [passages[place] for place in hits.positions[0]]


def tidied(folder: Path) -> int:
    """Bytes that the graphs in a cache folder took."""
    graphs: list[CachedItem] = [item for item in list_cached(folder) if item.kind == "graph"]
    return clear_cache(graphs, cache_dir=folder)


VERSION: str = embedry.__version__
