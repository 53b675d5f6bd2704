"""Each kind of model has a door, and its results are collected alike: in order, once for equal texts, in blocks of a stream."""

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import embedry
from embedry import (
    BackendContractError,
    Classifier,
    Dense,
    LateInteraction,
    LazyEmbedder,
    LazyMultiVectorEmbedder,
    LazyReranker,
    LazySparseEmbedder,
    MaskedLM,
    Matryoshka,
    ModelSpec,
    Normalize,
    OptionError,
    Pooling,
    Score,
    Space,
    SpaceError,
    SpecError,
    SpladePooling,
    TermTable,
    TermWeights,
    TextError,
    TextTooLongError,
    TextTypeError,
    TruncationWarning,
    UnknownOptionError,
    UnsupportedModelError,
    resolve,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
)
from embedry.backend import Backend, Encoder, PairEncoder
from embedry.chains import DOORS, Kind
from embedry.engine import Engine, assembled
from embedry.lazy import _TYPES
from entries import entry

CHAINS: dict[Kind, tuple[Any, ...]] = {
    "dense": (Pooling(mode="mean"), Normalize()),
    "reranker": (Classifier(), Score(activation="sigmoid")),
    "sparse": (MaskedLM(), SpladePooling()),
    "multi_vector": (Normalize(), LateInteraction(query_length=8, expand_to=12, skip=(".", "!"))),
}
DIMS: dict[Kind, int] = {"dense": 48, "reranker": 1, "sparse": 30522, "multi_vector": 384}
TEXTS = ["a river of light.", "", "green money", "a river of light.", "story " * 40, "house! house? house."]
PAIRS = [("a river", text) for text in TEXTS] + [("green", "money"), ("a river", "")]


class Pairs(PairEncoder):
    """A pair's logit is a sum of whole numbers over its tokens, other ones in the document, so it is exact."""

    batch_tokens = 256
    info: dict[str, str] = {}  # noqa: RUF012  the contract's
    labels = 1

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def forward(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], segments: NDArray[np.int32], /
    ) -> NDArray[np.float32]:
        self.shapes.append(ids.shape)
        weights = (ids % 13 + 29 * segments * (ids % 7)) * mask
        logits: NDArray[np.float32] = weights.sum(axis=1, keepdims=True).astype(np.float32)
        return logits + np.arange(self.labels, dtype=np.float32)


class Counts(Encoder):
    """A term's weight is how often a text has it, but not below a number."""

    batch_tokens = 256
    info: dict[str, str] = {}  # noqa: RUF012
    least = 0

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        counts = np.full((len(ids), DIMS["sparse"]), self.least, dtype=np.float32)
        for row, (of_text, real) in enumerate(zip(ids, mask, strict=True)):
            np.add.at(counts[row], of_text[real == 1], 1)
        return counts


class Tokens(Encoder):
    """A token's vector is made of its id, its place, and how many tokens are attended to."""

    batch_tokens = 256
    info: dict[str, str] = {}  # noqa: RUF012

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        vectors = np.zeros((*ids.shape, DIMS["multi_vector"]), dtype=np.float32)
        vectors[..., 0], vectors[..., 1] = ids, np.arange(1, ids.shape[1] + 1)
        vectors[..., 2] = mask.sum(axis=1)[:, np.newaxis]
        return vectors


def spec_of(kind: Kind, embedder: LazyEmbedder, **changes: Any) -> ModelSpec:
    """An entry of this kind over the files of a dense model."""
    fields: dict[str, Any] = {"chain": CHAINS[kind], "dims": DIMS[kind], "prompts": {}, "max_seq_length": 32}
    return replace(embedder.spec, golden=None, int8=None, **fields | changes)


def over(encoder: Encoder | PairEncoder, kind: Kind, embedder: LazyEmbedder, **changes: Any) -> Any:
    """A model of this kind, over an engine that stands in for a real one; `changes` are of its entry or configuration."""
    entries = {key: changes.pop(key) for key in ("chain", "prompts", "transformer", "dims") if key in changes}
    spec = spec_of(kind, embedder, **entries)
    config = replace(embedder.config, spec=spec, chain=spec.chain, dims=spec.dims, max_seq_length=32, **changes)
    loaded = embedder.engine.load()
    engine = Engine(config.engine, assembled(config.engine, loaded.folder, loaded.model, encoder))
    return _TYPES[kind](config, engine)


def ids_of(embedder: LazyEmbedder, text: str) -> list[int]:
    return [token.id for token in embedder.tokenize([text], role="document")[0]]


# doors


@pytest.mark.parametrize("kind", CHAINS)
def test_the_wrong_door_names_the_right_one(minilm: LazyEmbedder, kind: Kind) -> None:
    spec = spec_of(kind, minilm)
    assert (spec.kind, spec.kinds) == (kind, (kind,))
    for other, door in DOORS.items():
        if other != kind:
            with pytest.raises(UnsupportedModelError, match=rf"is a {kind} model; use embedry\.{DOORS[kind]}\("):
                getattr(embedry, door)(spec)


def test_the_doors_take_the_options_of_resolve(minilm: LazyEmbedder) -> None:
    with pytest.raises(UnknownOptionError, match="resolve_reranker has no option 'max_length'"):
        resolve_reranker(spec_of("reranker", minilm), max_length=3)  # type: ignore[call-arg]
    with pytest.raises(UnknownOptionError, match="resolve has no option 'on_query_overflow'"):
        resolve("minilm", on_query_overflow="warn")  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="on_query_overflow must be one of"):
        resolve_reranker(spec_of("reranker", minilm), on_query_overflow="never")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"normalize=True is not supported: .* is a sparse model"):
        resolve_sparse(spec_of("sparse", minilm), normalize=True)
    with pytest.raises(OptionError, match="dims=64 is not supported"):
        resolve_multi_vector(spec_of("multi_vector", minilm), dims=64)


@pytest.mark.parametrize("kind", CHAINS)
def test_a_backend_of_the_first_contract_refuses_other_kinds_by_itself(
    minilm: LazyEmbedder, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OldBackend(Backend):
        devices = ("cpu",)
        precisions = ("fp32",)
        modules = tuple({type(module) for chain in CHAINS.values() for module in chain})

        def load(self, request: object) -> Encoder:
            raise AssertionError("it is never asked")

    monkeypatch.setattr("embedry._backends.find", lambda name: OldBackend())
    spec = spec_of(kind, minilm)
    if kind == "dense":
        assert resolve(spec, backend="old").dims == 48
        return
    with pytest.raises(UnsupportedModelError, match=rf"it runs dense models, and this is a {kind} model"):
        getattr(embedry, DOORS[kind])(spec, backend="old")


def test_every_kind_keeps_its_protocol(minilm: LazyEmbedder) -> None:
    assert isinstance(over(Pairs(), "reranker", minilm), embedry.Reranker)
    assert isinstance(over(Counts(), "sparse", minilm), embedry.SparseEmbedder)
    assert isinstance(over(Tokens(), "multi_vector", minilm), embedry.MultiVectorEmbedder)


def test_an_engine_that_loads_another_kind_of_encoder_breaks_the_contract(minilm: LazyEmbedder) -> None:
    with pytest.raises(BackendContractError, match="a reranker is a PairEncoder"):
        over(Counts(), "reranker", minilm)
    with pytest.raises(BackendContractError, match="loads a Pairs"):
        over(Pairs(), "sparse", minilm)


# rerankers


def expected_logit(embedder: LazyEmbedder, pair: tuple[str, str]) -> float:
    query, document = (ids_of(embedder, text) for text in pair)
    room = 32 - 3
    query, document = query[1:-1], document[1:-1]
    document = document[: room - len(query)]
    first = [101, *query, 102]
    second = [*document, 102]
    return float(sum(i % 13 for i in first + second) + sum(29 * (i % 7) for i in second))


def test_scores_are_those_of_each_pair_in_order_computed_once(minilm: LazyEmbedder) -> None:
    encoder = Pairs()
    reranker: LazyReranker = over(encoder, "reranker", minilm, chain=(Classifier(), Score()))
    wanted = [expected_logit(minilm, pair) for pair in PAIRS]
    scores = reranker.score(PAIRS)
    assert (scores.dtype, scores.shape) == (np.float64, (len(PAIRS),))
    np.testing.assert_array_equal(scores, wanted)
    assert sum(rows for rows, _ in encoder.shapes) == len(set(PAIRS))
    alone = [reranker.score([pair])[0] for pair in PAIRS]
    np.testing.assert_array_equal(alone, wanted)
    np.testing.assert_array_equal(asyncio.run(reranker.ascore(PAIRS)), wanted)
    streamed = np.concatenate([block.vectors for block in reranker.score_blocks(iter(PAIRS))])
    np.testing.assert_array_equal(streamed[:, 0], wanted)
    assert reranker.score([]).shape == (0,)


def test_a_prepared_call_knows_its_tokens(minilm: LazyEmbedder) -> None:
    reranker: LazyReranker = over(Pairs(), "reranker", minilm)
    prepared = reranker.prepare(PAIRS)
    full = reranker.count_tokens(PAIRS)
    assert prepared.tokens == [min(32, count) for count in full]
    assert list(prepared.truncated) == [place for place, count in enumerate(full) if count > 32] == [4]
    np.testing.assert_array_equal(prepared.encode(), reranker.logits(PAIRS))
    long = "word " * 40
    prepared = reranker.prepare([("a", long), (long, "b"), (long, long), ("a", "b")])
    assert (list(prepared.truncated), list(prepared.truncated_queries)) == ([0, 2], [1, 2])


def test_a_sigmoid_that_saturates_ranks_by_the_logit(minilm: LazyEmbedder) -> None:
    reranker: LazyReranker = over(Pairs(), "reranker", minilm)
    documents = [*TEXTS, "green money"]
    logits = reranker.logits([("a river", text) for text in documents])[:, 0]
    assert (logits > 40).sum() > 4, "a sigmoid makes these equal"
    ranked = reranker.rank("a river", documents)
    assert [each.position for each in ranked] == sorted(range(len(documents)), key=lambda place: -logits[place])
    assert [each.position for each in ranked if documents[each.position] == "green money"] == [2, 6], "ties in order"
    np.testing.assert_allclose([each.score for each in ranked], 1 / (1 + np.exp(-np.sort(logits)[::-1].astype(float))))
    assert reranker.rank("a river", documents, top_k=2) == ranked[:2]
    assert reranker.rank("a river", []) == []


@pytest.mark.parametrize("logit", [-800.0, -20.0, 0.0, 3.5, 40.0, 800.0])
def test_a_score_is_the_activation_of_the_logit_in_double_precision(minilm: LazyEmbedder, logit: float) -> None:
    reranker: LazyReranker = over(Pairs(), "reranker", minilm)
    with np.errstate(all="raise", under="ignore"):
        shown = reranker.shown(np.array([[logit]], dtype=np.float32))
    exact = (
        np.exp(np.float64(logit)) / (1 + np.exp(np.float64(logit)))
        if logit < 0
        else 1 / (1 + np.exp(-np.float64(logit)))
    )
    assert shown[0] == pytest.approx(exact, rel=1e-14, abs=0)


def test_several_labels_give_several_scores_and_no_rank(minilm: LazyEmbedder) -> None:
    encoder = Pairs()
    encoder.labels = 3
    reranker: LazyReranker = over(encoder, "reranker", minilm, chain=(Classifier(labels=3), Score()), dims=3)
    assert reranker.score(PAIRS).shape == (len(PAIRS), 3)
    with pytest.raises(OptionError, match="gives 3 scores per pair, so it cannot rank"):
        reranker.rank("a", ["b"])


def test_each_side_has_an_overflow_policy(minilm: LazyEmbedder) -> None:
    long = "word " * 40
    pairs = [("a", "b"), ("a", long), (long, "b"), (long, long)]
    with pytest.raises(TextTooLongError, match=r"2 of 4 queries have more .* positions 2, 3") as raised:
        over(Pairs(), "reranker", minilm, on_query_overflow="error").score(pairs)
    assert raised.value.positions == (2, 3)
    with pytest.raises(TextTooLongError, match=r"2 of 4 documents have more .* positions 1, 3"):
        over(Pairs(), "reranker", minilm, on_overflow="error").score(pairs)
    with pytest.warns(TruncationWarning, match="queries") as caught:
        over(Pairs(), "reranker", minilm, on_query_overflow="warn").score(pairs)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ("ab", TextTypeError, "pairs must be an iterable of"),
        ({"a": "b"}, TextTypeError, "pairs must be an iterable of"),
        (7, TextTypeError, "pairs must be an iterable of"),
        ([("a", "b"), "ab"], TextTypeError, "pair 1 must be a"),
        ([("a", "b", "c")], TextTypeError, "pair 0 must be a"),
        ([("a", "b"), ("a", None)], TextTypeError, "text 1 must be a str"),
        ([("a", "\ud800")], TextError, "lone surrogate"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_position(
    minilm: LazyEmbedder, pairs: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        over(Pairs(), "reranker", minilm).score(pairs)


@pytest.mark.parametrize("top_k", [0, -1, True, 1.5, "2"])
def test_how_many_to_return_is_a_positive_integer(minilm: LazyEmbedder, top_k: Any) -> None:
    with pytest.raises(OptionError, match="top_k must be a positive integer"):
        over(Pairs(), "reranker", minilm).rank("a", ["b"], top_k=top_k)


def test_the_prompts_of_both_sides_are_read(minilm: LazyEmbedder) -> None:
    prompts = {"query": "find this: ", "document": "text: ", "facts": "check this: "}
    reranker: LazyReranker = over(Pairs(), "reranker", minilm, prompts=prompts)
    plain: LazyReranker = over(Pairs(), "reranker", minilm)
    np.testing.assert_array_equal(reranker.logits([("a", "b")]), plain.logits([("find this: a", "text: b")]))
    np.testing.assert_array_equal(
        reranker.logits([("a", "b")], role="facts"), plain.logits([("check this: a", "text: b")])
    )
    with pytest.raises(OptionError, match="has no role 'riddles'"):
        reranker.score([("a", "b")], role="riddles")


# sparse


def test_sparse_vectors_have_the_terms_that_weigh_something(minilm: LazyEmbedder) -> None:
    embedder: LazySparseEmbedder = over(Counts(), "sparse", minilm)
    vectors = embedder.encode_document(TEXTS)
    assert (len(vectors), vectors.dims, embedder.dims) == (len(TEXTS), 30522, 30522)
    for position, text in enumerate(TEXTS):
        terms, counts = np.unique(
            ids_of(minilm, text)[:31] + [102] * (len(ids_of(minilm, text)) > 31), return_counts=True
        )
        indices, values = vectors[position]
        np.testing.assert_array_equal(indices, terms)
        np.testing.assert_array_equal(values, counts)
    assert vectors.terms(2) == {"[CLS]": 1.0, "green": 1.0, "money": 1.0, "[SEP]": 1.0}
    assert pickle.loads(pickle.dumps(vectors)).terms(2) == vectors.terms(2)
    blocks = list(embedder.encode_stream(iter(TEXTS), role="document"))
    np.testing.assert_array_equal(np.concatenate([block.to_dense() for block in blocks]), vectors.to_dense())
    assert len(embedder.encode_document([])) == 0


def test_weights_below_zero_break_the_contract(minilm: LazyEmbedder) -> None:
    encoder = Counts()
    encoder.least = -1
    with pytest.raises(BackendContractError, match="weights below 0"):
        over(encoder, "sparse", minilm).encode_document(TEXTS)


# vectors of tokens


def test_each_token_that_counts_has_a_vector(minilm: LazyEmbedder) -> None:
    embedder: LazyMultiVectorEmbedder = over(Tokens(), "multi_vector", minilm)
    vectors = embedder.encode_document(TEXTS)
    for position, text in enumerate(TEXTS):
        ids = np.array(ids_of(minilm, text)[:31] + [102] * (len(ids_of(minilm, text)) > 31))
        places = np.flatnonzero(~np.isin(ids, [1012, 999]))  # "." and "!"
        wanted = np.stack([ids[places], places + 1, np.full(len(places), len(ids))], axis=1).astype(np.float32)
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors[position][:, :3], wanted, rtol=1e-6)
    assert vectors.dims == 384
    assert len(embedder.encode_document([])) == 0


def test_queries_are_cut_at_their_length_and_filled_up(minilm: LazyEmbedder) -> None:
    embedder: LazyMultiVectorEmbedder = over(Tokens(), "multi_vector", minilm, chain=(CHAINS["multi_vector"][-1],))
    short, long = embedder.encode_query(["green!", "story " * 40])
    assert short[:, 0].tolist() == [101, 2665, 999, 102, *[103] * 8], "punctuation counts in a query"
    assert set(short[:, 2]) == {4}, "what fills it up is not attended to"
    assert long[:, 0].tolist() == [101, *[2466] * 6, 102, *[103] * 4]
    attended = LateInteraction(expand_to=12, attend=True)
    (vectors,) = over(Tokens(), "multi_vector", minilm, chain=(attended,)).encode_query(["green!"])
    assert (len(vectors), set(vectors[:, 2])) == (12, {12.0})
    assert embedder.prepare(["green!"], role="query").tokens == [12]


def test_queries_and_documents_of_several_callers_are_computed_together(minilm: LazyEmbedder) -> None:
    """A batch may hold queries that are filled up beside documents that are not."""
    embedder: LazyMultiVectorEmbedder = over(Tokens(), "multi_vector", minilm)
    reader = embedder.engine.load().reader
    queries = reader.read(["green"], "query", embedder.config, step=lambda: None, count=False).rows
    documents = reader.read(["a green house"], "document", embedder.config, step=lambda: None, count=False).rows
    together = reader.forward([*documents, *queries])
    assert together[1, :3, 2].tolist() == [3, 3, 3]
    assert together[0, :5, 2].tolist() == [5] * 5


def test_only_listed_tokens_count_where_a_list_is_given(minilm: LazyEmbedder) -> None:
    only = LateInteraction(keep_only=(2665, 2160))
    embedder = over(Tokens(), "multi_vector", minilm, chain=(only,))
    (vectors, nothing) = embedder.encode_document(["a green house", "a river"])
    assert vectors[:, 0].tolist() == [2665, 2160]
    assert nothing.shape == (0, 384)
    assert len(embedder.encode_query(["a green house"])[0]) == 5


def test_a_token_that_fills_up_must_be_in_the_vocabulary(minilm: LazyEmbedder) -> None:
    chain = (LateInteraction(expand_to=8, expand_with="[NONE]"),)
    with pytest.raises(embedry.IntegrityError, match=r"has no token '\[NONE\]'"):
        over(Tokens(), "multi_vector", minilm, chain=chain).encode_query(["a"])


def test_an_engine_must_give_a_vector_for_each_token(minilm: LazyEmbedder) -> None:
    class Pooled(Tokens):
        def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
            return super().forward(ids, mask)[:, 0]

    with pytest.raises(BackendContractError, match=r"a multi-vector model gives \(texts, tokens, width\)"):
        over(Pooled(), "multi_vector", minilm).encode_document(TEXTS)


# entries


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chain": (Score(), Classifier())}, "must start with Pooling or LibraryModule"),
        ({"chain": (Classifier(), Score(), Score())}, "can only be its last module"),
        (
            {"chain": (Classifier(labels=2), Score()), "dims": 1},
            "the chain ends with vectors of length 2, but dims is 1",
        ),
        ({"chain": (Classifier(labels=0), Score())}, "at least one label"),
        ({"chain": (Classifier(), Score(activation="relu"))}, "'relu' of a score is not one of identity, sigmoid"),
        ({"chain": (SpladePooling(),)}, "must start with MaskedLM or TermWeights or TermTable"),
        ({"chain": (MaskedLM(), MaskedLM())}, "must start with Pooling"),
        ({"chain": (MaskedLM(), SpladePooling(strategy="mean"))}, "the strategy max or sum"),
        ({"chain": (Pooling(mode="mean"), LateInteraction())}, "must start with Dense"),
        ({"chain": (TermTable(outputs=48),)}, "transformer must be None"),
        ({"query_chain": (TermTable(outputs=48),)}, "query_chain must be a TermTable of a sparse model"),
        ({"matryoshka": Matryoshka(dims=(8,), before=(Score(),))}, "may only contain modules without weights"),
        ({"other_chains": ((Pooling(mode="cls"),),)}, "must give different kinds of results"),
        ({"other_chains": [(Pooling(mode="cls"),)]}, "other_chains must be a tuple"),
        ({"other_chains": ((LateInteraction(),),)}, "do not determine the length of its results"),
    ],
    ids=str,
)
def test_a_chain_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        entry(**changes)


SEVERAL = entry(
    chain=(Pooling(mode="cls"), Normalize()),
    other_chains=(
        (TermWeights(path="sparse", inputs=48, outputs=997, skip=(0, 1)),),
        (Dense(path="colbert", inputs=48, outputs=16), Normalize(), LateInteraction()),
    ),
    files=dict.fromkeys(
        ("model.safetensors", "tokenizer.json", "config.json", "sparse/model.safetensors", "colbert/model.safetensors")
    ),
)


def test_one_entry_gives_several_kinds_each_with_the_files_that_it_needs() -> None:
    assert SEVERAL.kinds == ("dense", "sparse", "multi_vector")
    assert {kind: SEVERAL.for_kind(kind).dims for kind in SEVERAL.kinds} == {
        "dense": 48,
        "sparse": 997,
        "multi_vector": 16,
    }
    shared = {"model.safetensors", "tokenizer.json", "config.json"}
    assert set(SEVERAL.for_kind("dense").files) == shared
    assert set(SEVERAL.for_kind("sparse").files) == shared | {"sparse/model.safetensors"}
    assert set(SEVERAL.for_kind("multi_vector").files) == shared | {"colbert/model.safetensors"}
    assert ModelSpec.from_dict(SEVERAL.to_dict()) == SEVERAL
    with pytest.raises(UnsupportedModelError, match="is a dense model"):
        SEVERAL.for_kind("reranker")


def test_a_space_knows_its_kind(minilm: LazyEmbedder) -> None:
    spaces = {
        kind: Space.of(over(Pairs() if kind == "reranker" else Counts(), kind, minilm))
        for kind in CHAINS
        if kind != "dense"
    }
    assert {kind: space.kind for kind, space in spaces.items()} == {kind: kind for kind in spaces}
    assert len({space.fingerprint for space in spaces.values()} | {minilm.fingerprint}) == 4
    saved = spaces["sparse"].as_dict()
    assert (Space.from_dict(saved), saved["kind"]) == (spaces["sparse"], "sparse")
    assert "kind" not in Space.of(minilm).as_dict(), (
        "what was stored before this version stays equal to what is stored now"
    )
    with pytest.raises(SpaceError, match="kind 'sparse' instead of 'dense'"):
        Space.of(minilm).check(over(Counts(), "sparse", minilm))


def test_the_fingerprint_knows_what_decides_token_vectors(minilm: LazyEmbedder) -> None:
    seen = {over(Tokens(), "multi_vector", minilm, chain=(end,)).fingerprint for end in (
        LateInteraction(), LateInteraction(expand_to=8), LateInteraction(skip=(".",)), LateInteraction(query_length=9),
    )}  # fmt: skip
    assert len(seen) == 4
