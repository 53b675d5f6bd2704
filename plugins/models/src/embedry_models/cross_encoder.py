"""The rerankers of the sentence-transformers project: small BERT models of several sizes, and ModernBERT models for long texts.

Their scores are logits from about -10 to 10; only their order within one query is meaningful.
"""

from functools import partial

from embedry import Dense, LayerNorm, ModelSpec, Pooling, Score
from embedry.modules import Chain
from embedry_models._shared import ENGLISH, LOGIT, files

_reranker = partial(ModelSpec, dims=1, preferred_backend="onnxruntime", license="Apache-2.0", languages=ENGLISH)
_ms_marco = partial(_reranker, architecture="bert", max_seq_length=512, chain=LOGIT, files=files())
_ettin = partial(
    _reranker,
    architecture="modernbert",
    max_seq_length=7999,
    files=files("2_Dense/model.safetensors", "3_LayerNorm/model.safetensors", "4_Dense/model.safetensors"),
)


def _head(width: int) -> Chain:
    """The head of the ettin models, in separate modules."""
    return (
        Pooling(mode="cls"),
        Dense(path="2_Dense", inputs=width, outputs=width, activation="gelu", bias=False),
        LayerNorm(path="3_LayerNorm"),
        Dense(path="4_Dense", inputs=width, outputs=1),
        Score(),
    )


MODELS = [
    _ms_marco(
        name="ms-marco-TinyBERT-L2-v2",
        aliases=("cross-encoder/ms-marco-TinyBERT-L-2-v2",),
        repo="cross-encoder/ms-marco-TinyBERT-L2-v2",
        revision="81d1926f67cb8eee2c2be17ca9f793c7c3bd20cc",
        size_mb=18,
        description="The fastest of them: two layers of 128 values",
    ),
    _ms_marco(
        name="ms-marco-MiniLM-L4-v2",
        aliases=("cross-encoder/ms-marco-MiniLM-L-4-v2",),
        repo="cross-encoder/ms-marco-MiniLM-L4-v2",
        revision="777b2f369bc1c2f850df8bd367ed1654bda4497b",
        size_mb=77,
        description="As ms-marco-MiniLM-L6-v2, with four layers",
    ),
    _ms_marco(
        name="ms-marco-MiniLM-L6-v2",
        aliases=("cross-encoder/ms-marco-MiniLM-L-6-v2",),
        repo="cross-encoder/ms-marco-MiniLM-L6-v2",
        revision="c5ee24cb16019beea0893ab7796b1df96625c6b8",
        size_mb=91,
        description="The usual first choice: small, for English passages that answer a question",
    ),
    _ms_marco(
        name="ms-marco-MiniLM-L12-v2",
        aliases=("cross-encoder/ms-marco-MiniLM-L-12-v2",),
        repo="cross-encoder/ms-marco-MiniLM-L12-v2",
        revision="7b0235231ca2674cb8ca8f022859a6eba2b1c968",
        size_mb=133,
        description="As ms-marco-MiniLM-L6-v2, with twelve layers",
    ),
    _ettin(
        name="ettin-reranker-17m-v1",
        repo="cross-encoder/ettin-reranker-17m-v1",
        revision="9e4aa35321a6dd1a43ca313f500c4b4f7cfb5cc6",
        chain=_head(256),
        size_mb=67,
        description="Small, over English texts of up to 7,999 tokens",
    ),
    _ettin(
        name="ettin-reranker-32m-v1",
        repo="cross-encoder/ettin-reranker-32m-v1",
        revision="b33e5ceb5110773ea9cf5e00c9bedc83a8c2afdd",
        chain=_head(384),
        size_mb=128,
        description="As the model of 17m, larger and better",
    ),
    _ettin(
        name="ettin-reranker-68m-v1",
        repo="cross-encoder/ettin-reranker-68m-v1",
        revision="d166fa88ddde3c42bc3ee92f7df476d941c8204a",
        chain=_head(512),
        size_mb=273,
        description="As the model of 32m, larger and better",
    ),
    _ettin(
        name="ettin-reranker-150m-v1",
        repo="cross-encoder/ettin-reranker-150m-v1",
        revision="025501c4e0f9bbeb4c5b198318e0089ff061cc14",
        chain=_head(768),
        size_mb=596,
        description="The largest of the ettin rerankers here",
    ),
]
