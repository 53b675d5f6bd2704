"""Universal AnglE Embedding by WhereIsAI."""

from embedry import ModelSpec, Pooling
from embedry_models._shared import ENGLISH, SEARCHING, files

MODELS = [
    ModelSpec(
        name="UAE-Large-V1",
        repo="WhereIsAI/UAE-Large-V1",
        revision="9c9b2c999b3350cfb3171ed429320668e39b00b8",
        files=files(),
        dims=1024,
        max_seq_length=512,
        preferred_backend="onnxruntime",
        architecture="bert",
        chain=(Pooling(mode="cls"),),
        prompts=SEARCHING,
        license="MIT",
        languages=ENGLISH,
        size_mb=1340,
        description="Large, for similarity and retrieval in English; queries take BGE's prompt",
    ),
]
