"""Checks for rerankers, sparse models and multi-vector models."""

import json
from collections.abc import Callable

import numpy as np
from safetensors.numpy import load_file

from embedry.errors import OptionError
from embedry.heads import LateInteraction, TermTable
from embedry.prepared import Token
from embedry.testing.results import DOCUMENT, QUERY, arrays, difference, given, results
from embedry.testing.running import check, description
from embedry.testing.subject import Subject, Violation, require, require_close
from embedry.testing.texts import MIXED
from embedry.testing.watched import watched

_PAIRS = [(QUERY, DOCUMENT), ("where is the river", "The house by the river is green."), ("a", "music and money")]


@check
def both_sides(subject: Subject) -> None:
    """A reranker distinguishes query and document: swapped pairs have other scores, and segments are used if there are any."""
    subject.only("reranker")
    one, other = (
        arrays(given(subject.embedder, pairs, "query")) for pairs in (_PAIRS, [pair[::-1] for pair in _PAIRS])
    )
    require(difference(one, other) > 1e-6, description(both_sides), f"the logits {one} in both orders")
    model, encoder = watched(subject)
    encoder.go_on.set()
    expected = results(model, [DOCUMENT])
    ids, mask, segments = encoder.batches.pop()
    config = model.engine.load().model
    if segments.any() and (config.type_vocab_size or 0) > 1:
        found = list(encoder.forward(ids, mask, np.zeros_like(segments)))
        require(difference(found, expected) > 1e-6, description(both_sides), "without segments it gives the same")


@check
def scores(subject: Subject) -> None:
    """A pair's score is float64 and increases with its logit."""
    subject.only("reranker")
    model = subject.embedder
    rising = np.repeat(np.linspace(-90, 90, 181, dtype=np.float32)[:, np.newaxis], model.dims, axis=1)
    shown = model.shown(rising)
    wanted = rising[:, 0] if model.dims == 1 else rising
    found = f"{shown.dtype} {shown.shape}, expected float64 {wanted.shape}"
    require(shown.dtype == np.float64 and shown.shape == wanted.shape, description(scores), found)
    steps = np.diff(shown, axis=0)
    grows = bool((steps >= 0).all() and (steps[80:100] > 0).all())
    require(grows, description(scores), f"logits from -90 to 90 have the scores {shown}")
    require_close(model.score(_PAIRS), model.shown(model.logits(_PAIRS)), subject.tolerance, description(scores))


@check
def ranking(subject: Subject) -> None:
    """Documents are ranked by logit, best first, with ties in the given order; models with several scores reject ranking."""
    subject.only("reranker")
    model = subject.embedder
    if model.dims > 1:
        try:
            model.rank(QUERY, MIXED)
        except OptionError:
            return
        raise Violation(f"{description(ranking)}: documents with {model.dims} scores each were ranked")
    # An activation makes scores so large equal, and not their order.
    logits = np.array([[60], [80], [-90], [80], [70]], dtype=np.float32)
    order = [each.position for each in model.ranked(logits)]
    require(order == [1, 3, 4, 0, 2], description(ranking), f"logits of {logits[:, 0]} in the order {order}")
    documents = [*MIXED, *MIXED]
    places, found = zip(*model.rank(QUERY, documents), strict=True)
    wanted = model.score([(QUERY, documents[place]) for place in places])
    require_close(np.array(found), wanted, subject.tolerance, description(ranking))
    once_each = sorted(places) == list(range(len(documents)))
    twins = [(places.index(place), places.index(place + len(MIXED))) for place in range(len(MIXED))]
    right = once_each and list(found) == sorted(found, reverse=True) and all(first < second for first, second in twins)
    require(right, description(ranking), f"documents {places} with the scores {found}, each of them twice")


@check
def term_weights(subject: Subject) -> None:
    """Term weights are above 0 with ascending ids in the vocabulary; queries without inference have the table's weights."""
    subject.only("sparse")
    for role in subject.roles:
        for indices, values in subject.embedder.encode(MIXED, role=role):
            steps = np.diff(indices, prepend=-1, append=subject.embedder.dims)
            require(bool((steps > 0).all()), description(term_weights), f"the ids of a {role} are {indices.tolist()}")
            require(
                bool((values > 0).all()), description(term_weights), f"the weights of a {role} are {values.tolist()}"
            )
    if not subject.spec.query_chain:
        return
    weight_of, limit = _table(subject), subject.embedder.config.length("query")
    wanted = [np.zeros(subject.embedder.dims, dtype=np.float32) for _ in MIXED]
    for row, tokens in zip(wanted, subject.embedder.tokenize(MIXED, role="query"), strict=True):
        for token in tokens[:limit]:
            row[token.id] = weight_of(token)
    require_close(subject.results(MIXED, "query"), wanted, 1e-6, f"{description(term_weights)} (query)")


def _table(subject: Subject) -> Callable[[Token], float]:
    """The weight that the table of an inference-free model states for a token."""
    (module,) = (each for each in subject.spec.query_chain if isinstance(each, TermTable))
    file = subject.folder / module.weights
    if file.suffix == ".json":
        named = json.loads(file.read_text(encoding="utf-8"))
        return lambda token: float(named.get(token.text, 0.0))
    weights = load_file(file)["weight"]
    return lambda token: float(weights[token.id])


@check
def token_counts(subject: Subject) -> None:
    """A text has a vector for each selected token, and an expanded query also for each expansion token."""
    subject.only("multi_vector")
    model, end = subject.embedder, subject.spec.chain[-1]
    assert isinstance(end, LateInteraction)  # noqa: S101  which makes it this kind
    for role in subject.roles:
        limit, is_query = model.config.length(role), role == "query"
        skipped = end.skip if role in end.skip_in else ()
        for text, vectors, tokens in zip(
            MIXED, subject.results(MIXED, role), model.tokenize(MIXED, role=role), strict=True
        ):
            kept = [is_query or not end.keep_only or token.id in end.keep_only for token in tokens]
            names = [token.text for token, is_kept in zip(tokens, kept, strict=True) if is_kept]
            names += [end.expand_with] * (end.expand_to - len(tokens)) if is_query else []
            count = sum(name not in skipped for name in names)
            # Which of the tokens of a longer text are read depends on how it is truncated.
            right = len(vectors) == count if len(tokens) <= limit else len(vectors) <= max(limit, end.expand_to)
            found = f"{len(vectors)} vectors of the {role} {text!r}, of whose {len(tokens)} tokens {count} count"
            require(right, description(token_counts), found)
