"""ColBERT and a small model in its layout: BERT models that mark queries and documents with vocabulary tokens.

Queries are expanded to 32 tokens with [MASK], whose vectors count.
"""

from functools import partial

from embedry import Dense, LateInteraction, ModelSpec, Normalize, Transformer
from embedry.modules import Chain
from embedry_models._shared import ENGLISH, PUNCTUATION, files

_colbert = partial(
    ModelSpec,
    preferred_backend="onnxruntime",
    architecture="bert",
    transformer=Transformer(whole_tokens=("[unused0]", "[unused1]")),
    prompts={"query": "[unused0] ", "document": "[unused1] "},
    files=files(),
    similarity="dot",
    languages=ENGLISH,
)


def _chain(inputs: int, outputs: int) -> Chain:
    """A projection in the transformer's files, and the mask."""
    return (
        Dense(path="", inputs=inputs, outputs=outputs, bias=False),
        Normalize(),
        LateInteraction(query_length=32, expand_to=32, skip=PUNCTUATION),
    )


MODELS = [
    _colbert(
        name="colbertv2.0",
        aliases=("colbertv2",),
        repo="colbert-ir/colbertv2.0",
        revision="c1e84128e85ef755c096a95bdb06b47793b13acf",
        dims=128,
        max_seq_length=180,
        chain=_chain(768, 128),
        license="MIT",
        size_mb=438,
        description="Late interaction over English passages; the model that others are compared with",
    ),
    _colbert(
        name="answerai-colbert-small-v1",
        aliases=("answerai-colbert-small",),
        repo="answerdotai/answerai-colbert-small-v1",
        revision="934fa8bb4ce2284f4c2baa232d81aca4d076fa5e",
        dims=96,
        max_seq_length=300,
        chain=_chain(384, 96),
        license="Apache-2.0",
        size_mb=134,
        description="The usual first choice for late interaction in English: small, and better than colbertv2.0",
    ),
]
