"""Sparse models by OpenSearch: weighted terms of BERT's vocabulary, for an inverted index.

Models with "doc" in their name do not need a transformer for queries: a table has the weights of the terms. The weights equal those
of sentence-transformers; OpenSearch's own code also sets the weights of special tokens, such as [CLS], to 0.
"""

from functools import partial

from embedry import MaskedLM, ModelSpec, SpladePooling, TermTable
from embedry_models._shared import ENGLISH, files

_TERMS = 30522

_IDF = "da23a1c0b9252776cc8c6d70fd14723e218f484d489cd9027ac6e4065d5b9edd"
"""The idf.json of two of the models."""

_sparse = partial(
    ModelSpec,
    dims=_TERMS,
    max_seq_length=512,
    preferred_backend="onnxruntime",
    architecture="distilbert",
    chain=(MaskedLM(), SpladePooling()),
    similarity="dot",
    license="Apache-2.0",
    languages=ENGLISH,
)
_for_documents = partial(_sparse, query_chain=(TermTable(outputs=_TERMS, table="idf.json"),), files=files("idf.json"))

MODELS = [
    _for_documents(
        name="opensearch-neural-sparse-encoding-doc-v3-distill",
        aliases=("opensearch-sparse-doc-v3-distill",),
        repo="opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill",
        revision="babf71f3c48695e2e53a978208e8aba48335e3c0",
        files=files() | {"idf.json": _IDF},
        chain=(MaskedLM(), SpladePooling(activation="log1p_relu")),
        size_mb=268,
        description="The usual first choice for sparse search in English: queries are looked up in a table",
    ),
    _for_documents(
        name="opensearch-neural-sparse-encoding-doc-v2-distill",
        aliases=("opensearch-sparse-doc-v2-distill",),
        repo="opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill",
        revision="8921a26c78b8559d6604eb1f5c0b74c079bee38f",
        size_mb=268,
        description="The predecessor of doc-v3-distill, with more terms for each text",
    ),
    _for_documents(
        name="opensearch-neural-sparse-encoding-doc-v2-mini",
        aliases=("opensearch-sparse-doc-v2-mini",),
        repo="opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini",
        revision="4af867a426867dfdd744097531046f4289a32fdd",
        files=files() | {"idf.json": _IDF},
        architecture="bert",
        size_mb=91,
        description="Small, for sparse search in English: queries are looked up in a table",
    ),
    _for_documents(
        name="opensearch-neural-sparse-encoding-doc-v1",
        aliases=("opensearch-sparse-doc-v1",),
        repo="opensearch-project/opensearch-neural-sparse-encoding-doc-v1",
        revision="98cdcbd72867c547f72f2b7b7bed9cdf9f09922d",
        architecture="bert",
        size_mb=532,
        description="The first of them, for indices that were made with it",
    ),
    _sparse(
        name="opensearch-neural-sparse-encoding-v2-distill",
        aliases=("opensearch-sparse-v2-distill",),
        repo="opensearch-project/opensearch-neural-sparse-encoding-v2-distill",
        revision="269e6638b2c4f648996691f6d751495285d8f330",
        files=files(),
        size_mb=268,
        description="Sparse search in English in which queries go through the transformer as well",
    ),
]
