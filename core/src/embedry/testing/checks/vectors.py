"""What a vector is, whatever batch, order or thread it comes from."""

import numpy as np

from embedry import chains
from embedry._files.resources import resource_file
from embedry.errors import OptionError
from embedry.modules import Matryoshka, Normalize
from embedry.testing.golden import Golden
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, shuffled


@check
def shape_and_dtype(subject: Subject) -> None:
    """Vectors are float32 of the stated length."""
    for role in ("query", "document"):
        vectors = subject.embedder.encode(MIXED, role=role)
        wanted = (len(MIXED), subject.embedder.dims)
        found = f"{vectors.dtype} {vectors.shape}, expected float32 {wanted}"
        require(vectors.dtype == np.float32 and vectors.shape == wanted, description(shape_and_dtype), found)


@check
def finite(subject: Subject) -> None:
    """Every value is finite, and different texts differ."""
    vectors = subject.embedder.encode_document(MIXED)
    require(bool(np.isfinite(vectors).all()), description(finite), "NaN or infinite values")
    require(
        not np.allclose(vectors[0], vectors[3], atol=1e-4, rtol=0), description(finite), "two unlike texts are alike"
    )


@check
def unit_length(subject: Subject) -> None:
    """Vectors have unit length if and only if that is stated."""
    norms = np.linalg.norm(subject.variant(normalize=True).encode_document(MIXED), axis=1)
    # Without special tokens a blank text has no token, and its vector may be zero.
    wanted = np.array([0 if norm == 0 and not text.strip() else 1 for text, norm in zip(MIXED, norms, strict=True)])
    require_close(norms, wanted, 1e-5, description(unit_length))
    raw = subject.variant(normalize=False).encode_document(MIXED)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    unit = subject.variant(normalize=True).encode_document(MIXED)
    require_close(raw / np.maximum(lengths, 1e-12), unit, subject.tolerance, description(unit_length))
    require(
        bool((np.abs(lengths - 1) > 1e-3).any()),
        description(unit_length),
        "normalize=False gave unit length all the same",
    )


@check
def order(subject: Subject) -> None:
    """Vectors come in the order of their texts."""
    positions = shuffled(len(MIXED))
    alone = np.concatenate([subject.embedder.encode_document([MIXED[position]]) for position in positions])
    mixed = subject.embedder.encode_document([MIXED[position] for position in positions])
    require_close(mixed, alone, subject.tolerance, description(order))


@check
def alone_and_together(subject: Subject) -> None:
    """A text has one vector, alone or in any batch, padded or not."""
    together = subject.embedder.encode_document(MIXED)
    for size in (1, 3, 5):
        parts = [subject.embedder.encode_document(MIXED[at : at + size]) for at in range(0, len(MIXED), size)]
        require_close(
            np.concatenate(parts), together, subject.tolerance, f"{description(alone_and_together)} ({size} at a time)"
        )


@check
def repeatable(subject: Subject) -> None:
    """The same call gives the same vectors, and equal texts in one call have equal vectors."""
    twice = subject.embedder.encode_document([*MIXED, *MIXED])
    require_close(twice[: len(MIXED)], twice[len(MIXED) :], 0.0, description(repeatable))
    once = subject.embedder.encode_document(MIXED)
    require_close(once, subject.embedder.encode_document(MIXED), subject.tolerance, description(repeatable))


@check
def shorter_vectors(subject: Subject) -> None:
    """Shortened vectors are the beginning of the full ones, of unit length again; untrained lengths are refused."""
    spec = subject.spec
    short = spec.matryoshka.dims[0] if spec.matryoshka.dims else max(1, spec.dims // 2)
    body = chains.split(spec.chain)[0]
    entry = subject.with_entry(matryoshka=Matryoshka(dims=(short,)), chain=(*body, Normalize()))
    vectors = Subject(entry.spec, **subject.options).variant(dims=short).encode_document(MIXED)
    beginning = entry.encode_document(MIXED)[:, :short]
    unit = beginning / np.maximum(np.linalg.norm(beginning, axis=1, keepdims=True), 1e-12)
    require_close(vectors, unit, subject.tolerance, description(shorter_vectors))
    try:
        subject.variant(dims=spec.dims + 1)
    except OptionError:
        return
    raise Violation(f"{description(shorter_vectors)}: dims={spec.dims + 1} was accepted")


@check
def golden_vectors(subject: Subject) -> None:
    """Vectors agree with the entry's golden ones, which the model's own library made; in int8 as far as the entry says."""
    if subject.spec.golden is None:
        raise NotApplicable("the entry has no golden vectors")
    if not subject.embedder.config.normalize or subject.embedder.dims != subject.spec.dims:
        raise NotApplicable("golden vectors are full and of unit length; this embedder's are not")
    golden = Golden.read(resource_file(subject.spec.golden, subject.embedder.config.cache_dir))
    for role in dict.fromkeys(golden.roles):
        rows = [place for place, its_role in enumerate(golden.roles) if its_role == role]
        vectors = subject.embedder.encode([golden.texts[row] for row in rows], role=role)
        if subject.spec.int8 is not None and subject.embedder.info.get("precision") == "int8":
            cosine = float(np.einsum("ij,ij->i", vectors, golden.vectors[rows]).mean())
            require(
                cosine >= subject.spec.int8.cosine,
                f"{description(golden_vectors)} ({role})",
                f"a mean cosine of {cosine:.4f}",
            )
            continue
        require_close(vectors, golden.vectors[rows], subject.tolerance, f"{description(golden_vectors)} ({role})")
