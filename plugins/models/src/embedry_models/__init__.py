"""The first models: one module of data each, collected here into the hook."""

from collections.abc import Iterable

from embedry import ModelSpec, hookimpl
from embedry_models import all_minilm_l6_v2, all_mpnet_base_v2, bge_small_en_v1_5, e5_small_v2


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of this pack."""
    return [all_minilm_l6_v2.SPEC, all_mpnet_base_v2.SPEC, bge_small_en_v1_5.SPEC, e5_small_v2.SPEC]
