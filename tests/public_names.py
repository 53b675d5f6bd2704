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
    CacheError,
    CacheWarning,
    Computation,
    Dense,
    DownloadError,
    Embedder,
    EmbedryError,
    EmbedryWarning,
    EncodedBlock,
    EncodeTimeoutError,
    FilesError,
    Int8,
    IntegrityError,
    LayerNorm,
    LazyEmbedder,
    LibraryModule,
    LockError,
    Matryoshka,
    ModelError,
    ModelSpec,
    Normalize,
    OnOverflow,
    OptionError,
    Options,
    PluginWarning,
    Pooling,
    Prepared,
    Resource,
    Space,
    SpaceError,
    SpecError,
    StaticEmbedding,
    TextError,
    TextTooLongError,
    TextTypeError,
    Token,
    Transformer,
    TruncationWarning,
    UnknownBackendError,
    UnknownModelError,
    UnknownOptionError,
    UnsupportedModelError,
    WeightsNotFoundError,
    WheelSource,
    hookimpl,
    list_models,
    register,
    resolve,
    use_lock,
)
from embedry.backend import (
    PROCESS_SETTING,
    Backend,
    Encoder,
    LibraryThreads,
    LoadRequest,
    ModelConfig,
    Tensor,
    TextEncoder,
    artifact,
    cpu_features,
    is_failure,
    is_read,
    only_listed,
    resource_file,
    tensors,
    unknown_token,
)
from embedry.testing import CHECKS, Check, Golden, NotApplicable, Subject, Violation, description, run

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
    blocks: list[EncodedBlock] = list(again.encode_blocks(["a text"], role="document"))
    assert blocks[0].tokens is None or blocks[0].tokens == again.count_tokens(["a text"], role="document")
    return {"facts": facts, "info": dict(again.info), "floats": floats, "rows": rows, "array": array}


def in_time(model: str, texts: Sequence[str], seconds: float) -> NDArray[np.float32] | None:
    """The vectors of texts that all fit, if they are ready in time; nothing stays in memory."""
    with resolve(model) as embedder:
        prepared: Prepared = embedder.prepare(texts, role="document")
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
    computation: Computation = model.prepare(texts, role="unprompted").start()
    try:
        return await computation, computation.queued
    finally:
        computation.cancel()
        assert model.computed_tokens <= (model.computed_tokens[1],) * 2


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


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of the pack."""
    return [SPEC]


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
    modules = (Pooling, Dense, LayerNorm, Normalize)

    def refusal(self, spec: ModelSpec) -> str | None:
        return None if spec.architecture == "bert" else "it only knows bert"

    def load(self, request: LoadRequest) -> Encoder | TextEncoder:
        def build(target: Path) -> None:
            (target / "table.txt").write_text(request.spec.name)

        spec = request.spec
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


def locked(path: Path) -> str:
    """Why a lock file cannot be used; empty if it is in use from now on."""
    try:
        use_lock(path)
    except LockError as error:
        return str(error)
    return ""


VERSION: str = embedry.__version__
