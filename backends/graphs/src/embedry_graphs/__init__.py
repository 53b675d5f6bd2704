"""ONNX graphs of text encoders, written straight from their safetensors weights, for any engine that runs ONNX.

One module of `families` for each architecture, made of shared blocks; then the modules of the model's chain. Importing this
package is cheap; onnx is imported by `write`.
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
    """Why no graph is written for this model, or None. Decided from the entry alone."""
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
    """Why there is no 8-bit graph of this model, calibrated or not, or None. Decided from the entry alone."""
    if spec.architecture not in _QUANTISED:
        return f"8-bit products are written for {', '.join(_QUANTISED)}, not for {spec.architecture!r}"
    if spec.kind != "dense":
        return f"8-bit products are for models that give one vector for a text, and this is a {spec.kind} model"
    return None


def config_fault(config: ModelConfig) -> str | None:
    """What config.json asks for that the graph does not do; None for nothing."""
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
    on the right, to what the body of the chain gives, float32.

    That is (batch, width), or of a multi-vector model (batch, sequence, width), where the mask may be 0 at the end of a text for
    tokens that the others do not attend to. The graph of a reranker takes `SEGMENTS` as well, int32 (batch, sequence), if its
    family has more than one token type.

    Args:
        spec: the entry.
        config: of its transformer, without a `config_fault`.
        source: holds the verified files of the entry.
        target: the folder to write to.
        calibration: for 8-bit products, the file that `spec.int8` names; of a model without an `int8_refusal`.
        whole: whether the engine holds few scores of a long text at a time by itself. If not, the graph computes them in blocks,
            with an `If` and a `Loop`.

    Raises:
        IntegrityError: the weights are incomplete or too many, or of other shapes than config.json says.
        SpecError: the modules do not give vectors of `spec.dims`, or the calibration is another model's.
    """
    from embedry_graphs.writing import write

    write(spec, config, source, target, calibration, whole=whole)


def write_measuring(spec: ModelSpec, config: ModelConfig, source: Path, target: Path) -> dict[str, int]:
    """Writes `GRAPH_FILE` and `WEIGHTS_FILE` of the encoder in fp32, with the ranges that calibrate `write` as its result.

    That is float32 (2, channels): the least and the greatest value, over the tokens of a batch, of each channel that enters a
    product. Padding is measured like any token, so a batch is to have none. See `calibration.content`.

    Args:
        spec: the entry, without an `int8_refusal`.
        config: as in `write`.
        source: as in `write`.
        target: the folder to write to.

    Returns:
        `<layer>.<input>` -> its channels, in the order of the result.

    Raises:
        IntegrityError: weights are missing, or of other shapes than config.json says.
    """
    from embedry_graphs.writing import write_measuring

    return write_measuring(spec, config, source, target)
