"""Embeddings by Mixedbread, and its first rerankers, which require a torch backend."""

from functools import partial

from embedry import Matryoshka, ModelSpec, Pooling
from embedry_models._shared import ENGLISH, SEARCHING, SIGMOID, files

_reranker = partial(
    ModelSpec,
    files=files(),
    dims=1,
    max_seq_length=512,
    preferred_backend="transformers",
    architecture="deberta-v2",
    chain=SIGMOID,
    license="Apache-2.0",
    languages=ENGLISH,
)

MODELS = [
    ModelSpec(
        name="mxbai-embed-large-v1",
        aliases=("mxbai-embed-large",),
        repo="mixedbread-ai/mxbai-embed-large-v1",
        revision="b33106f585b9ce46904ad7443a3b52b7a63e231c",
        files=files(),
        dims=1024,
        max_seq_length=512,
        preferred_backend="onnxruntime",
        architecture="bert",
        chain=(Pooling(mode="cls"),),
        prompts=SEARCHING,
        matryoshka=Matryoshka(dims=(512,)),
        license="Apache-2.0",
        languages=ENGLISH,
        size_mb=670,
        description="Large, for retrieval in English; vectors may be shortened",
    ),
    _reranker(
        name="mxbai-rerank-xsmall-v1",
        repo="mixedbread-ai/mxbai-rerank-xsmall-v1",
        revision="b5c6e9da73abc3711f593f705371cdbe9e0fe422",
        size_mb=142,
        description="Small, reranks English passages",
    ),
    _reranker(
        name="mxbai-rerank-base-v1",
        repo="mixedbread-ai/mxbai-rerank-base-v1",
        revision="800f24c113213a187e65bde9db00c15a2bb12738",
        size_mb=369,
        description="As the xsmall one, larger and better",
    ),
    _reranker(
        name="mxbai-rerank-large-v1",
        repo="mixedbread-ai/mxbai-rerank-large-v1",
        revision="98f655841d5caf0b16eaff79c2b4ca109d920d17",
        size_mb=870,
        description="The largest of Mixedbread's first rerankers",
    ),
]
