"""Mixedbread's embeddings."""

from embedry import Matryoshka, ModelSpec, Pooling
from embedry_models._shared import ENGLISH, SEARCHING, files

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
]
