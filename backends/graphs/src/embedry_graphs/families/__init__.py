"""One module per architecture, each with `token_vectors(graph, weights, shape, *, first_only)` and `PREFIX`.

`token_vectors` writes the encoder, from the inputs to the token vectors, (batch, sequence, width). With `first_only` only the
first tokens' are needed: a family may then return (batch, 1, width). `PREFIX` is what a checkpoint with a head puts before every
tensor's name.

`MODULES` maps an architecture to its module: a new family is a new module and a line here, and its name in `FAMILIES`.
"""

from types import ModuleType

from embedry_graphs.families import (
    bert,
    distilbert,
    gemma3_text,
    jina_bert_v2,
    jina_bert_v2_qk_post_norm,
    modernbert,
    mpnet,
    new,
    nomic_bert,
    qwen3,
    roberta,
    t5,
)

MODULES: dict[str, ModuleType] = {
    "bert": bert,
    "distilbert": distilbert,
    "gemma3_text": gemma3_text,
    "jina_bert_v2": jina_bert_v2,
    "jina_bert_v2_qk_post_norm": jina_bert_v2_qk_post_norm,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "new": new,
    "nomic_bert": nomic_bert,
    "qwen3": qwen3,
    "roberta": roberta,
    "t5": t5,
    "xlm-roberta": roberta,
}
