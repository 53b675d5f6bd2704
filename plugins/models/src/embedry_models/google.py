"""EmbeddingGemma by Google. Every text has a prompt that names the task."""

from embedry import Dense, Matryoshka, ModelSpec, Normalize, Pooling
from embedry_models._shared import MULTILINGUAL, files

MODELS = [
    ModelSpec(
        name="embeddinggemma-300m",
        aliases=("embeddinggemma",),
        repo="google/embeddinggemma-300m",
        revision="57c266a740f537b4dc058e1b0cda161fd15afa75",
        files={
            **files(
                weights="cbf5a78393b6a033e0b8a63a57549964f7ed5c6fbeb4ba0694214f36123f2fd2",
                tokenizer="6852f8d561078cc0cebe70ca03c5bfdd0d60a45f9d2e0e1e4cc05b68e9ec329e",
                config="8f863f76e2d9c710cc833dc92efa898c9adfd41031c786507cc6b0e49c2e3e68",
            ),
            "2_Dense/model.safetensors": "c327f2acb00149676ade24a75e11eb6ebbd367f9ee050267ba56829d2979f702",
            "3_Dense/model.safetensors": "ffb6cc5162e11e2ce6bc2367e121ee3bbbc4e82e1ee26826bd7573d4948d81b8",
        },
        dims=768,
        max_seq_length=2048,
        preferred_backend="onnxruntime",
        architecture="gemma3_text",
        chain=(
            Pooling(mode="mean"),
            Dense(path="2_Dense", inputs=768, outputs=3072, bias=False),
            Dense(path="3_Dense", inputs=3072, outputs=768, bias=False),
            Normalize(),
        ),
        prompts={
            "query": "task: search result | query: ",
            "document": "title: none | text: ",
            "Clustering": "task: clustering | query: ",
            "Classification": "task: classification | query: ",
            "MultilabelClassification": "task: classification | query: ",
            "STS": "task: sentence similarity | query: ",
            "PairClassification": "task: sentence similarity | query: ",
            "InstructionRetrieval": "task: code retrieval | query: ",
            "Summarization": "task: summarization | query: ",
        },
        matryoshka=Matryoshka(dims=(512, 256, 128)),
        license="gemma",
        languages=MULTILINGUAL,
        size_mb=1230,
        description="For many tasks in over 100 languages; the hub asks to accept Google's terms before it gives the files",
    ),
]
