"""embedry models for mteb evaluations.

import mteb
from embedry_mteb import EmbedryModel

results = mteb.evaluate(EmbedryModel("e5-small-v2"), mteb.get_tasks(["NFCorpus"]))
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.model_implementations import MODEL_REGISTRY
from mteb.models.model_meta import ScoringFunction
from mteb.types import Licenses

from embedry import ModelSpec, OptionError, SpaceError, resolve

if TYPE_CHECKING:
    import numpy as np
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import BatchedInput, EncodeKwargs, PromptType
    from numpy.typing import NDArray
    from torch.utils.data import DataLoader
    from typing_extensions import Unpack

    from embedry.views import LazyEmbedder

__all__ = ["EmbedryModel"]


class EmbedryModel(AbsEncoder):
    """A model with mteb's `EncoderProtocol`. The first text loads the model.

    Args:
        model_name: a name that `resolve` accepts.
        revision: the commit that the entry must be pinned to, if given.
        device: a device that `resolve` accepts.
        **options: further options of `resolve`.

    Raises:
        OptionError: the entry is pinned to another revision, or mteb's encoders do not support its similarity.
        UnknownModelError and so on, as `resolve`.
    """

    model: "LazyEmbedder"
    mteb_model_meta: ModelMeta

    def __init__(
        self,
        model_name: str | Path | ModelSpec,
        revision: str | None = None,
        *,
        device: str | None = None,
        **options: Any,
    ) -> None:
        self.model = resolve(model_name, device=device, **options)
        spec = self.model.spec
        if revision not in (None, spec.revision):
            raise OptionError(
                f"revision must be {spec.revision!r}, which {spec.name!r} is pinned to, got {revision!r}; leave revision "
                "out, or write a ModelSpec for the other one"
            )
        if spec.similarity not in ("cosine", "dot"):
            raise OptionError(f"{spec.name!r} compares by {spec.similarity!r}; mteb's encoders have 'cosine' and 'dot'")
        self._without_prompts = resolve(replace(spec, prompts={}), device=device, **options)  # the same engine
        self.mteb_model_meta = _meta(self.model, options)

    def encode(
        self,
        inputs: "DataLoader[BatchedInput]",
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,
        hf_subset: str,
        prompt_type: "PromptType | None" = None,
        **kwargs: "Unpack[EncodeKwargs]",
    ) -> "NDArray[np.float32]":
        """Vectors of the texts, float32 (number of texts, dims), in order.

        Queries and documents use the role of that name, unless the entry has a prompt for this task or kind of task.
        Without a `prompt_type`, as in most symmetric tasks, mteb's wrapper of sentence-transformers does not add a prompt.
        embedry does the same, so that scores are comparable; only a prompt that the model adds to every text stays.
        `batch_size` is ignored.

        Raises:
            OptionError: `precision` is given; it belongs to `EmbedryModel`.
            As `Embedder.encode`.
        """
        if "precision" in kwargs:
            raise OptionError(
                f"encode has no option precision, got {kwargs['precision']!r}; use EmbedryModel(name, precision=...)"
            )
        texts = [text for batch in inputs for text in batch["text"]]
        spec = self.model.spec
        role = get_prompt_name(dict(spec.prompts), task_metadata, prompt_type) or (prompt_type and prompt_type.value)
        if role is None and spec.prompt("query") != spec.prompt("document"):
            return self._without_prompts.encode(texts, role="document")
        return self.model.encode(texts, role=role or "document")


def _meta(embedder: "LazyEmbedder", options: dict[str, Any]) -> ModelMeta:
    """The metadata that mteb stores results under. It includes the space, because other options give other scores."""
    spec, config = embedder.spec, embedder.config
    stated: dict[str, Any] = {
        "name": spec.repo or f"embedry/{spec.name}",
        "revision": spec.revision or "no_revision_available",
        "embed_dim": config.dims,
        "max_tokens": config.max_seq_length,
        "similarity_fn_name": ScoringFunction(spec.similarity),
        "use_instructions": any(spec.prompts.values()),
        "open_weights": True,
        "loader": partial(_load, spec),
        "loader_kwargs": options,
        "experiment_kwargs": {"space": embedder.fingerprint},
        "extra_requirements_groups": None,  # mteb would list the options of another library
    }
    if spec.license.lower() in get_args(Licenses):
        stated["license"] = spec.license.lower()
    # mteb has the number of parameters and the training data of many models.
    known = MODEL_REGISTRY.get(spec.repo or "") or ModelMeta.create_empty()
    return known.model_copy(update=stated)


def _load(spec: ModelSpec, name: str, *, revision: str, space: str, **options: Any) -> EmbedryModel:
    """`ModelMeta.load_model`: the same model again, on another device if requested.

    Raises:
        SpaceError: the options make other vectors than the stored results.
    """
    model = EmbedryModel(spec, **options)
    if model.model.fingerprint != space:
        raise SpaceError(f"{name!r} with {options} does not write into the space {space}; use EmbedryModel(name, ...)")
    return model
