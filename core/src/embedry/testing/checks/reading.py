"""Checks on inputs: prompts of roles, lengths, and values that are not texts."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedry.errors import OptionError, TextError, TextTooLongError, TextTypeError, TruncationWarning
from embedry.ragged import SparseVectors
from embedry.testing.results import Arrays, asked, difference, given, results
from embedry.testing.running import check, description
from embedry.testing.subject import TOLERANCE, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, of_length


@check
def roles(subject: Subject) -> None:
    """Queries and documents differ if and only if the entry treats them differently, and a prompt is applied once."""
    spec = subject.spec
    query, document = subject.results(MIXED, "query"), subject.results(MIXED, "document")
    if spec.prompt("query") != spec.prompt("document"):
        require(difference(query, document) > 1e-4, description(roles), "they are the same")
    elif subject.kind == "dense" or (subject.kind == "sparse" and not spec.query_chain):
        require_close(query, document, subject.tolerance, description(roles))
    for role, prompt in spec.prompts.items():
        expected = f"{description(roles)} ({role})"
        plain = subject.with_entry(prompts={**spec.prompts, role: ""})
        bare, by_hand = results(plain, MIXED, role), results(plain, [prompt + text for text in MIXED], role)
        require_close(subject.results(MIXED, role), by_hand, subject.tolerance, expected)
        if prompt:
            require(difference(by_hand, bare) > 1e-4, expected, "a prompt before a text changes nothing")
    try:
        subject.results(MIXED, "no such role")
    except OptionError:
        return
    raise Violation(f"{description(roles)}: a role that the entry does not know was accepted")


@check
def length(subject: Subject) -> None:
    """Every token up to the limit affects the result, and none after it."""
    plain = subject.with_entry(prompts={})
    # One word of hundreds may change a logit by less than a number of low precision can tell.
    least = 1e-7 if subject.kind != "reranker" or subject.tolerance <= TOLERANCE["fp32"] else -1
    for role in _truncated(subject):
        limit = plain.config.length(role)
        for tokens in (limit - 1, limit):
            a, b = (results(plain, [of_length(plain, tokens, last, role)], role) for last in (0, 1))
            found = f"at {tokens} of {limit} tokens of a {role} the last word makes no difference"
            require(difference(a, b) > least, description(length), found)
        over = of_length(plain, limit + 1, role=role)
        read = " ".join(over.split()[:-1])
        first, *others = results(plain, [over, read, f"{over} and much more"], role)
        require_close(others, [first, first], subject.tolerance, description(length))


@check
def overflow(subject: Subject) -> None:
    """A text that is too long is truncated, causes a warning with its position, or an early error, depending on the policy."""
    policies = ("on_overflow", "on_query_overflow") if subject.kind == "reranker" else ("on_overflow",)
    for role in _truncated(subject):
        option = policies[-1] if role == "query" else policies[0]
        limit = subject.embedder.config.length(role)
        long = [of_length(subject.embedder, tokens, role=role) for tokens in (limit, limit + 1)]

        texts = ["short", *long]
        cut, named = _under(subject, texts, role, **dict.fromkeys(policies, "truncate"))
        require(not named, description(overflow), f"truncated {role}s are warned of, at {named}")
        # What is said about the other side of pairs concerns no text of this one.
        others = dict.fromkeys(set(policies) - {option}, "error")
        warned, named = _under(subject, texts, role, **{option: "warn"}, **others)
        require(named == [(2,)], description(overflow), f"the warnings name {named} of the {role}s, not [(2,)]")
        require_close(cut, warned, subject.tolerance, description(overflow))
        try:
            _under(subject, texts, role, **{option: "error"})
        except TextTooLongError as error:
            require(error.positions == (2,), description(overflow), f"the error names {error.positions} of the {role}s")
        else:
            raise Violation(f'{description(overflow)}: {option}="error" raised nothing')


def _truncated(subject: Subject) -> tuple[str, ...]:
    """The roles in which a text that is too long loses its end: of a query and a document that are one text, only that does."""
    transformer = subject.spec.transformer
    return ("document",) if transformer is not None and transformer.pair is not None else subject.roles


def _under(subject: Subject, texts: list[str], role: str, **policies: Any) -> tuple[Arrays, list[Sequence[int]]]:
    """The results under overflow policies, and the positions that warnings name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = results(subject.variant(**policies), texts, role)
    return found, [w.message.positions for w in caught if isinstance(w.message, TruncationWarning)]


@check
def no_texts(subject: Subject) -> None:
    """No texts return no results; for vectors, float32 (0, dims)."""
    empty = given(subject.embedder, *asked(subject.embedder, [], "document"))
    table = empty.to_dense() if isinstance(empty, SparseVectors) else getattr(empty, "values", empty)
    right = len(empty) == 0 and table.shape == (0, subject.embedder.dims) and table.dtype == np.float32
    require(right, description(no_texts), f"{table.dtype} {table.shape}")


@check
def bad_input(subject: Subject) -> None:
    """Values that are not texts, or not pairs of texts, are rejected with their position, and the model stays usable."""
    before = subject.results(["a text"])
    bad: list[tuple[Any, type[TextError]]] = [
        ("one str", TextTypeError), (["a", None], TextTypeError), ([b"bytes"], TextTypeError), (["\ud800"], TextError),
    ]  # fmt: skip
    if subject.kind == "reranker":
        sides = [((text, "a"), ("a", text)) for text in (None, b"bytes", "\ud800")]
        bad = [
            ("one str", TextTypeError),
            (["ab"], TextTypeError),
            ([("a",)], TextTypeError),
            ([("a", "b", "c")], TextTypeError),
        ]
        bad += [([pair], TextError) for pairs in sides for pair in pairs]
    for items, kind in bad:
        try:
            given(subject.embedder, items, "query")
        except kind as error:
            known = isinstance(items, str) or error.positions == (len(items) - 1,)
            require(known, description(bad_input), f"the error for {items!r} names {error.positions}")
            continue
        raise Violation(f"{description(bad_input)}: {items!r} was accepted")
    require_close(subject.results(["a text"]), before, subject.tolerance, description(bad_input))
