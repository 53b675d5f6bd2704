"""Writes ONNX graphs of text encoders directly from safetensors weights, for any ONNX engine.

`families` has one module per architecture, built from shared blocks; the modules of the model's chain follow. Importing this
package is cheap; `write` imports onnx.
"""

from pathlib import Path

from embedry import ModelSpec
from embedry.backend import ModelConfig
from embedry.chains import Kind, leaves_out_prompt
from embedry.heads import Classifier, MaskedLM, SpladePooling, TermWeights
from embedry.modules import Dense, LayerNorm, Normalize, Pooling

FAMILIES = {
    "bert": "embedry_graphs.families.bert",
    "distilbert": "embedry_graphs.families.distilbert",
    "gemma3_text": "embedry_graphs.families.gemma3_text",
    "jina_bert_v2": "embedry_graphs.families.jina_bert_v2",
    "jina_bert_v2_qk_post_norm": "embedry_graphs.families.jina_bert_v2_qk_post_norm",
    "modernbert": "embedry_graphs.families.modernbert",
    "mpnet": "embedry_graphs.families.mpnet",
    "new": "embedry_graphs.families.new",
    "nomic_bert": "embedry_graphs.families.nomic_bert",
    "qwen3": "embedry_graphs.families.qwen3",
    "roberta": "embedry_graphs.families.roberta",
    "t5": "embedry_graphs.families.t5",
    "xlm-roberta": "embedry_graphs.families.roberta",
}
"""Architecture -> the module that writes its encoder, imported when it is needed; see `embedry_graphs.families`."""

_QUANTISED = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
"""Those among them whose layers are also written with 8-bit products: all that are built by `post_norm.layers`."""

_LOOKING_BACK = ("qwen3", "gemma3_text")
"""Those among them that may be causal."""

_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gated-gelu", "relu", "silu")

MODULES = (Pooling, Dense, LayerNorm, Normalize, Classifier, MaskedLM, SpladePooling, TermWeights)
"""Modules of a chain that a graph can have behind the encoder."""

OUTPUTS: tuple[Kind, ...] = ("dense", "reranker", "sparse", "multi_vector")
"""Kinds of models that graphs are written for."""

VERSION = 7
"""Raised whenever the graph that is written for the same weights changes."""

GRAPH_FILE = "model.onnx"

SEGMENTS = "token_type_ids"
"""The input that the graphs of some rerankers have besides `input_ids` and `attention_mask`."""

WEIGHTS_FILE = "weights.bin"
"""The graph's external data, beside it."""


def refusal(spec: ModelSpec) -> str | None:
    """Why the model has no graph, or None. Only uses the entry."""
    if leaves_out_prompt(spec.body):
        return "its pooling leaves out the prompt, which token ids do not tell"
    if spec.architecture not in FAMILIES:
        return f"graphs are written for {', '.join(FAMILIES)}, not for {spec.architecture!r}"
    if any(isinstance(module, Classifier | MaskedLM) for module in spec.body):
        from embedry_graphs import head_names

        faults = (head_names.fault(module, spec.architecture) for module in spec.body)
        return next(filter(None, faults), None)
    return None


def int8_refusal(spec: ModelSpec) -> str | None:
    """Why the model has no 8-bit graph, calibrated or not, or None. Only uses the entry."""
    if spec.architecture not in _QUANTISED:
        return f"8-bit products are written for {', '.join(_QUANTISED)}, not for {spec.architecture!r}"
    if spec.kind != "dense":
        return f"8-bit products are for models that give one vector for a text, and this is a {spec.kind} model"
    return None


def config_fault(config: ModelConfig) -> str | None:
    """The setting in config.json that the graph does not support; None if there is none."""
    is_gated = config.hidden_act == "gated-gelu"
    if config.hidden_act not in _ACTIVATIONS or (is_gated and config.architecture != "t5"):
        return f"the activation {config.hidden_act!r}"
    if config.is_causal and config.architecture not in _LOOKING_BACK:
        return "attention that only looks back"
    return None


def write(
    spec: ModelSpec,
    config: ModelConfig,
    source: Path,
    target: Path,
    calibration: Path | None = None,
    *,
    whole: bool = False,
) -> None:
    """Writes `GRAPH_FILE` and `WEIGHTS_FILE`: from `input_ids` and `attention_mask`, both int32 (batch, sequence) and padded
    on the right, to the result of the chain's body, float32.

    The result is (batch, width), or (batch, sequence, width) for a multi-vector model, whose mask may be 0 at the end of a text for
    tokens that the others do not attend to. The graph of a reranker also takes `SEGMENTS`, int32 (batch, sequence), if its
    family has more than one token type.

    Args:
        spec: the entry.
        config: the config of its transformer, without a `config_fault`.
        source: the verified files of the entry.
        target: the folder to write to.
        calibration: for 8-bit products, the file of `spec.int8`; the model must not have an `int8_refusal`.
        whole: whether the engine itself limits the attention scores of a long text in memory. If not, the graph computes them in
            blocks, with an `If` and a `Loop`.

    Raises:
        IntegrityError: weights are missing or left over, or their shapes do not match config.json.
        SpecError: the modules do not produce vectors of `spec.dims`, or the calibration is for another model.
    """
    from embedry_graphs.writing import write

    write(spec, config, source, target, calibration, whole=whole)


def write_measuring(spec: ModelSpec, config: ModelConfig, source: Path, target: Path) -> dict[str, int]:
    """Writes `GRAPH_FILE` and `WEIGHTS_FILE` of the encoder in fp32, whose results are the ranges for calibrating `write`.

    The result is float32 (2, channels): the minimum and maximum, over the tokens of a batch, of each input channel of a product.
    Padding is measured like any token, so batches must not have padding. See `calibration.content`.

    Args:
        spec: the entry, without an `int8_refusal`.
        config: as in `write`.
        source: as in `write`.
        target: the folder to write to.

    Returns:
        `<layer>.<input>` -> its channels, in the order of the result.

    Raises:
        IntegrityError: weights are missing, or their shapes do not match config.json.
    """
    from embedry_graphs.writing import write_measuring

    return write_measuring(spec, config, source, target)
