"""Golden results: reference results that the model's own library computed from the verified weights."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry.errors import SpecError
from embedry.ragged import SparseVectors, TokenVectors


@dataclass(frozen=True)
class Golden:
    """Texts or pairs with their roles, their results and the provenance of the results."""

    texts: tuple[str | tuple[str, str], ...]
    """Texts; for a reranker, pairs of a query and a document."""
    roles: tuple[str, ...]
    """The role of each text; for pairs, of each query."""
    vectors: NDArray[np.float32] | SparseVectors | TokenVectors
    """The output of `encode`; for a dense model, float32 (number of texts, dims); for pairs, their logits, (pairs, labels)."""
    provenance: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Golden":
        """Reads a file written by `write`.

        Raises:
            SpecError: the file is missing or malformed.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            cases = data["cases"]
            return cls(
                texts=tuple(case["text"] if "text" in case else (case["query"], case["document"]) for case in cases),
                roles=tuple(case["role"] for case in cases),
                vectors=_collected(cases, data),
                provenance=data["provenance"],
            )
        except (OSError, ValueError, LookupError) as error:
            raise SpecError(f"the golden vectors in {path} cannot be read: {error!r}") from error

    def write(self, path: Path) -> None:
        """Writes one case per line, with the nine significant digits that a float32 needs for an exact round trip."""
        cases = [
            json.dumps({"role": role, **_text(text), **result}, ensure_ascii=True)
            for role, text, result in zip(self.roles, self.texts, _parts(self.vectors), strict=True)
        ]
        provenance = json.dumps(self.provenance, indent=1)
        dims = "" if isinstance(self.vectors, np.ndarray) else f'\n"dims": {self.vectors.dims},'
        text = f'{{"provenance": {provenance},{dims}\n"cases": [\n' + ",\n".join(cases) + "\n]}\n"
        path.write_text(text, encoding="utf-8")


def _text(text: str | tuple[str, str]) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"query": text[0], "document": text[1]}


def _parts(results: NDArray[np.float32] | SparseVectors | TokenVectors) -> Iterator[dict[str, Any]]:
    """The result of each text, as plain data."""
    if isinstance(results, SparseVectors):
        yield from ({"indices": indices.tolist(), "values": _digits(values)} for indices, values in results)
    elif isinstance(results, TokenVectors):
        yield from ({"vectors": [_digits(vector) for vector in vectors]} for vectors in results)
    else:
        yield from ({"vector": _digits(vector)} for vector in results)


def _digits(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{x:.9g}") for x in values]


def _collected(
    cases: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
) -> NDArray[np.float32] | SparseVectors | TokenVectors:
    """The results of all texts, from plain data."""
    kind = next((name for name in ("values", "vectors") if cases and name in cases[0]), "vector")
    parts = [np.array(case[kind], dtype=np.float32) for case in cases]
    ends = np.cumsum([0, *map(len, parts)])
    if kind == "values":
        indices = np.concatenate([np.array(case["indices"], dtype=np.int32) for case in cases])
        return SparseVectors(ends, indices, np.concatenate(parts), dims=data["dims"])
    if kind == "vectors":
        return TokenVectors(np.concatenate([part.reshape(-1, data["dims"]) for part in parts]), ends)
    return np.array(parts, dtype=np.float32)
