"""all-mpnet-base-v2: the larger sibling of all-MiniLM-L6-v2."""

from embedry import ModelSpec, Normalize, Pooling

SPEC = ModelSpec(
    name="all-mpnet-base-v2",
    aliases=("all-mpnet", "mpnet"),
    repo="sentence-transformers/all-mpnet-base-v2",
    revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
    files={
        "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
        "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    },
    dims=768,
    max_seq_length=384,
    preferred_backend="onnxruntime",
    architecture="mpnet",
    chain=(Pooling(mode="mean"), Normalize()),
    similarity="cosine",
    license="Apache-2.0",
    languages=("en",),
    size_mb=438,
    description="Better and four times larger than all-MiniLM-L6-v2, for English sentences and paragraphs",
)
