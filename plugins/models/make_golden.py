"""Makes golden vectors with sentence-transformers, from the verified weights of an entry of this pack.

    python plugins/models/make_golden.py all-MiniLM-L6-v2

The texts reach every branch of the pipeline; the file records the versions that made the vectors.
"""

import sys
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

import embedry
from embedry import resolve
from embedry._files import sources
from embedry.testing import Golden
from embedry.testing.texts import MIXED, of_length

FOLDER = Path(__file__).parent / "src" / "embedry_models" / "golden"


def main(name: str) -> None:
    """Writes the golden vectors of the model `name`."""
    embedder = resolve(name)
    spec, limit = embedder.spec, embedder.max_seq_length
    folder = sources.ensure_local(spec, embedder.config.cache_dir)
    texts = [*MIXED, of_length(embedder, limit - 1), of_length(embedder, limit), of_length(embedder, limit + 40)]
    # The chain as the repository's own modules.json has it; the entry's files are the transformer's alone.
    transformer = Transformer(str(folder), max_seq_length=limit)
    (first, *_) = spec.chain
    assert isinstance(first, embedry.Pooling)  # noqa: S101  golden vectors are made for a plain pooling
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=first.mode)
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    cases = [(text, role) for role in ("document", "query") for text in texts]
    vectors = model.encode(
        [spec.prompt(role) + text for text, role in cases], normalize_embeddings=spec.normalizes, batch_size=1
    )
    golden = Golden(
        texts=tuple(text for text, _ in cases),
        roles=tuple(role for _, role in cases),
        vectors=np.asarray(vectors, dtype=np.float32),
        provenance={
            "model": spec.name,
            "repository": str(spec.repo),
            "revision": str(spec.revision),
            "sha256 of model.safetensors": str(spec.files["model.safetensors"]),
            "made with": f"sentence-transformers {sentence_transformers.__version__}, "
            f"transformers {transformers.__version__}, torch {torch.__version__}, fp32 on the CPU, one text a batch",
            "made by": f"python plugins/models/make_golden.py {name}",
        },
    )
    FOLDER.mkdir(exist_ok=True)
    golden.write(FOLDER / f"{name}.json")


if __name__ == "__main__":
    main(sys.argv[1])
