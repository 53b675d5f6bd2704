"""One module per encoder family, each with `token_vectors(graph, weights, config)` and `PREFIX`.

`MODULES` maps a checkpoint's `model_type` to its module: a new family is a new module and a line here.
"""

from types import ModuleType

from embedry_graphs.families import bert, distilbert, mpnet, roberta

MODULES: dict[str, ModuleType] = {
    "bert": bert,
    "distilbert": distilbert,
    "mpnet": mpnet,
    "roberta": roberta,
    "xlm-roberta": roberta,
}
