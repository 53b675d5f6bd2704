"""Golden vectors: what a model's vectors were when its own library computed them from the verified weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry.errors import SpecError


@dataclass(frozen=True)
class Golden:
    """Texts, their roles and their vectors, float32 (number of texts, dims), with where they came from."""

    texts: tuple[str, ...]
    roles: tuple[str, ...]
    vectors: NDArray[np.float32]
    provenance: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Golden":
        """Reads a file that `write` wrote.

        Raises:
            SpecError: the file is missing or malformed.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            cases = data["cases"]
            return cls(
                texts=tuple(case["text"] for case in cases),
                roles=tuple(case["role"] for case in cases),
                vectors=np.array([case["vector"] for case in cases], dtype=np.float32),
                provenance=data["provenance"],
            )
        except (OSError, ValueError, KeyError) as error:
            raise SpecError(f"the golden vectors in {path} cannot be read: {error!r}") from error

    def write(self, path: Path) -> None:
        """Writes one case a line; nine significant digits are what a float32 needs to come back the same."""
        cases = [
            json.dumps({"role": role, "text": text, "vector": [float(f"{x:.9g}") for x in vector]}, ensure_ascii=True)
            for role, text, vector in zip(self.roles, self.texts, self.vectors, strict=True)
        ]
        provenance = json.dumps(self.provenance, indent=1)
        path.write_text(f'{{"provenance": {provenance},\n"cases": [\n' + ",\n".join(cases) + "\n]}\n", encoding="utf-8")
