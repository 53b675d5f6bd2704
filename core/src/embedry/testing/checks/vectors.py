"""Checks on results: shape, dtype, values, order and independence of the batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry._files.resources import resource_file
from embedry.errors import OptionError
from embedry.modules import Matryoshka
from embedry.testing.golden import Golden
from embedry.testing.results import arrays, difference, given, results
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, shuffled


@check
def shape_and_dtype(subject: Subject) -> None:
    """Results are float32, one for each text, with the stated length."""
    axes = 2 if subject.kind == "multi_vector" else 1
    for role in ("query", "document"):
        found = subject.results(MIXED, role)
        require(len(found) == len(MIXED), description(shape_and_dtype), f"{len(found)} for {len(MIXED)} texts")
        for each in found:
            right = each.dtype == np.float32 and each.ndim == axes and each.shape[-1] == subject.embedder.dims
            wanted = f"expected float32 of {subject.embedder.dims}"
            require(right, description(shape_and_dtype), f"{each.dtype} {each.shape}, {wanted}")


@check
def finite(subject: Subject) -> None:
    """All values are finite, and different texts have different results."""
    found = subject.results(MIXED)
    require(all(np.isfinite(each).all() for each in found), description(finite), "NaN or infinite values")
    require(difference(found[:1], found[3:4]) > 1e-4, description(finite), "two different texts have the same result")


@check
def unit_length(subject: Subject) -> None:
    """Vectors have unit length if and only if the model says so."""
    subject.only("dense", "multi_vector")
    unit, raw = (_vectors(subject.variant(normalize=normalize)) for normalize in (True, False))
    norms = np.linalg.norm(unit, axis=1)
    # Without special tokens a blank text has no token, and the vector that stands for it may be zero.
    texts = MIXED if subject.kind == "dense" else ["a token"] * len(norms)
    wanted = np.array([0 if norm == 0 and not text.strip() else 1 for text, norm in zip(texts, norms, strict=True)])
    require_close(norms, wanted, 1e-5, description(unit_length))
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    require_close(raw / np.maximum(lengths, 1e-12), unit, subject.tolerance, description(unit_length))
    require(
        bool((np.abs(lengths - 1) > 1e-3).any()),
        description(unit_length),
        "normalize=False gave unit length all the same",
    )


@check
def order(subject: Subject) -> None:
    """Results are in the order of their texts."""
    mixed = [MIXED[position] for position in shuffled(len(MIXED))]
    alone = [each for text in mixed for each in subject.results([text])]
    require_close(subject.results(mixed), alone, subject.tolerance, description(order))


@check
def alone_and_together(subject: Subject) -> None:
    """A text has the same result alone and in any batch, padded or not."""
    for role in subject.roles:
        together = subject.results(MIXED, role)
        for size in (1, 3, 5):
            starts = range(0, len(MIXED), size)
            parts = [each for start in starts for each in subject.results(MIXED[start : start + size], role)]
            require_close(
                parts, together, subject.tolerance, f"{description(alone_and_together)} ({size} at a time, as {role})"
            )


@check
def repeatable(subject: Subject) -> None:
    """The same call returns the same results, and equal texts in one call have equal results."""
    twice = subject.results([*MIXED, *MIXED])
    require_close(twice[: len(MIXED)], twice[len(MIXED) :], 0.0, description(repeatable))
    require_close(subject.results(MIXED), subject.results(MIXED), subject.tolerance, description(repeatable))


@check
def shorter_vectors(subject: Subject) -> None:
    """Shortened vectors are the start of the full ones, normalized again; untrained lengths are rejected."""
    subject.only("dense", "multi_vector")
    spec = subject.spec
    short = spec.matryoshka.dims[0] if spec.matryoshka.dims else max(1, spec.dims // 2)
    entry = subject.with_entry(matryoshka=Matryoshka(dims=(short,))).spec
    trained = Subject(entry, **subject.options | {"normalize": True})
    beginning = _vectors(trained.embedder)[:, :short]
    unit = beginning / np.maximum(np.linalg.norm(beginning, axis=1, keepdims=True), 1e-12)
    require_close(_vectors(trained.variant(dims=short)), unit, subject.tolerance, description(shorter_vectors))
    try:
        subject.variant(dims=spec.dims + 1)
    except OptionError:
        return
    raise Violation(f"{description(shorter_vectors)}: dims={spec.dims + 1} was accepted")


@check
def golden_vectors(subject: Subject) -> None:
    """Results match the entry's golden results from the model's own library; in int8, within the entry's bound."""
    spec, config = subject.spec, subject.embedder.config
    if spec.golden is None:
        raise NotApplicable("the entry has no golden vectors")
    if (config.chain, config.max_seq_length) != (spec.chain, spec.max_seq_length):
        raise NotApplicable("golden vectors are those of the entry as it is; options of this subject change them")
    golden = Golden.read(resource_file(spec.golden, config.cache_dir))
    expected = arrays(golden.vectors)
    for role in dict.fromkeys(golden.roles):
        places = [place for place, its_role in enumerate(golden.roles) if its_role == role]
        found = arrays(given(subject.embedder, [golden.texts[place] for place in places], role))
        wanted = [expected[place] for place in places]
        if spec.int8 is not None and subject.embedder.info.get("precision") == "int8":
            cosine = float(np.mean([np.vdot(one, other) for one, other in zip(found, wanted, strict=True)]))
            require(
                cosine >= spec.int8.cosine, f"{description(golden_vectors)} ({role})", f"a mean cosine of {cosine:.4f}"
            )
            continue
        require_close(found, wanted, subject.tolerance, f"{description(golden_vectors)} ({role})")


def _vectors(model: Any) -> NDArray[np.float32]:
    """The vectors of `MIXED`, of a multi-vector model those of all tokens: float32 (vectors, dims)."""
    return np.vstack(results(model, MIXED))
