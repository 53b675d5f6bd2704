"""Stella by NovaSearch."""

from embedry import Dense, ModelSpec, Pooling
from embedry_models._shared import ENGLISH, files

MODELS = [
    ModelSpec(
        name="stella_en_400M_v5",
        repo="NovaSearch/stella_en_400M_v5",
        revision="ffeb2b7ee715c226d4ffe5e4619f7dbb48624c20",
        # Its modules.json names the layer to 1024 values; those to other lengths are beside it.
        files={
            **files(weights="17e549d16172a548a3115739b55575968eb6523653daad76c46b0758e9425032"),
            "2_Dense_1024/model.safetensors": None,
        },
        dims=1024,
        max_seq_length=512,
        preferred_backend="onnxruntime",
        architecture="new",
        chain=(Pooling(mode="mean"), Dense(path="2_Dense_1024", inputs=1024, outputs=1024)),
        prompts={
            "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: ",
        },
        license="MIT",
        languages=ENGLISH,
        size_mb=1745,
        description="Retrieval in English, with an instruction for queries",
    ),
]
