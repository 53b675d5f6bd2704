"""What is read of a text: its role's prompt, its length, and what is not a text."""

import warnings

import numpy as np

from embedry.errors import OptionError, TextError, TextTooLongError, TextTypeError, TruncationWarning
from embedry.testing.running import check, description
from embedry.testing.subject import Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, of_length


@check
def roles(subject: Subject) -> None:
    """A query differs from a document exactly where the entry has prompts, and the prompt is applied once."""
    spec = subject.spec
    query, document = subject.embedder.encode_query(MIXED), subject.embedder.encode_document(MIXED)
    if spec.prompt("query") == spec.prompt("document"):
        require_close(query, document, subject.tolerance, description(roles))
    else:
        require(not np.allclose(query, document, atol=1e-4, rtol=0), description(roles), "they are the same")
    if spec.prompts:
        plain = subject.with_entry(prompts={})
        bare = plain.encode_document(MIXED)
        for role in spec.prompts:
            by_hand = plain.encode_document([spec.prompts[role] + text for text in MIXED])
            require_close(
                subject.embedder.encode(MIXED, role=role), by_hand, subject.tolerance, f"{description(roles)} ({role})"
            )
            if spec.prompts[role]:
                is_read = not np.allclose(by_hand, bare, atol=1e-4, rtol=0)
                require(is_read, f"{description(roles)} ({role})", "a prompt before a text changes nothing")
    try:
        subject.embedder.encode(MIXED, role="no such role")
    except OptionError:
        return
    raise Violation(f"{description(roles)}: a role that the entry does not know was accepted")


@check
def length(subject: Subject) -> None:
    """Every token up to the limit counts, and none after it."""
    plain = subject.with_entry(prompts={})
    limit = plain.max_seq_length
    for tokens in (limit - 1, limit):
        a, b = (plain.encode_document([of_length(plain, tokens, last)]) for last in ("time", "music"))
        found = f"at {tokens} of {limit} tokens the last word makes no difference"
        require(not np.allclose(a, b, atol=1e-7, rtol=0), description(length), found)
    over = of_length(plain, limit + 1)
    read = " ".join(over.split()[:-1])
    vectors = plain.encode_document([over, read, f"{over} and much more"])
    require_close(vectors[1:], vectors[[0, 0]], subject.tolerance, description(length))


@check
def overflow(subject: Subject) -> None:
    """A longer text is truncated, truncated with a warning that names it, or an error before any work, as the policy says."""
    plain = subject.with_entry(prompts={})
    texts = ["short", of_length(plain, plain.max_seq_length), of_length(plain, plain.max_seq_length + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut = subject.variant(on_overflow="truncate").encode_document(texts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warned = subject.variant(on_overflow="warn").encode_document(texts)
    named = [w.message.positions for w in caught if isinstance(w.message, TruncationWarning)]
    # With a prompt before it, the text at the limit is over it as well.
    wanted = [(1, 2)] if subject.spec.prompt("document") else [(2,)]
    require(named == wanted, description(overflow), f"the warnings name {named}, not {wanted}")
    require_close(cut, warned, subject.tolerance, description(overflow))
    try:
        subject.variant(on_overflow="error").encode_document(texts)
    except TextTooLongError as error:
        require(2 in error.positions, description(overflow), f"the error names {error.positions}")
    else:
        raise Violation(f'{description(overflow)}: on_overflow="error" raised nothing')


@check
def no_texts(subject: Subject) -> None:
    """No texts give no vectors: float32 (0, dims)."""
    empty = subject.embedder.encode_document([])
    found = f"{empty.dtype} {empty.shape}"
    require(empty.shape == (0, subject.embedder.dims) and empty.dtype == np.float32, description(no_texts), found)


@check
def bad_input(subject: Subject) -> None:
    """What is not a text is refused with its position, and the embedder works on."""
    before = subject.embedder.encode_document(["a text"])
    for bad, kind in (
        ("one str", TextTypeError),
        (["a", None], TextTypeError),
        ([b"bytes"], TextTypeError),
        (["\ud800"], TextError),
    ):
        try:
            subject.embedder.encode_document(bad)  # type: ignore[arg-type]  # on purpose
        except kind:
            continue
        raise Violation(f"{description(bad_input)}: {bad!r} was accepted")
    require_close(subject.embedder.encode_document(["a text"]), before, subject.tolerance, description(bad_input))
