"""A reranker as a node postprocessor."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import computed_field

from embedry import LazyReranker, ModelSpec, Space
from embedry.resolver import ranking


class EmbedryRerank(BaseNodePostprocessor):
    """Reranks nodes by how well their texts answer the query, and keeps the best. The first call loads the model.

    A node's text is the text that would be embedded, including metadata for embeddings. LlamaIndex saves the postprocessor
    with the space of its scores. Loading it raises `SpaceError` if the model returns other scores now.
    """

    model_name: str = Field(description="The name, or the folder, of the model.")
    top_n: int | None = Field(default=2, ge=1, description="How many nodes are kept; None for all.")
    options: dict[str, str | int | bool | None] = Field(
        default_factory=dict, description="Options of `embedry.resolve_reranker`: backend, device, threads and so on."
    )
    keep_retrieval_score: bool = Field(
        default=False, description="Whether a node keeps the score of its search in its metadata, as retrieval_score."
    )
    _reranker: LazyReranker = PrivateAttr()

    def __init__(
        self,
        model_name: str | Path | ModelSpec | LazyReranker,
        *,
        top_n: int | None = 2,
        options: Mapping[str, str | int | bool | None] | None = None,
        keep_retrieval_score: bool = False,
        space: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Finds the model in the registry and checks the options.

        Args:
            model_name: a value that `embedry.resolve_reranker` accepts or returns.
            top_n: the number of nodes to keep; None for all.
            options: options of `embedry.resolve_reranker`.
            keep_retrieval_score: whether to keep the retriever's score in the metadata as `retrieval_score`.
            space: the saved space; the model must still return the same scores.
            **fields: the other fields of `BaseNodePostprocessor`, such as callback_manager.

        Raises:
            SpaceError: the model does not match `space`.
            OptionError: the model returns several scores per pair, an option is not supported, or options are given for a
                resolved model.
            UnknownModelError, UnsupportedModelError, UnknownOptionError: as `resolve_reranker`.
        """
        reranker = _opened(model_name, dict(options or {}), space)
        spec = reranker.spec
        super().__init__(
            model_name=spec.folder if spec.folder and not spec.repo else spec.name,  # type: ignore[call-arg]
            top_n=top_n,
            options=dict(options or {}),
            keep_retrieval_score=keep_retrieval_score,
            **fields,
        )
        self._reranker = reranker

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def space(self) -> dict[str, Any]:
        """The space of the scores, `embedry.Space` as plain values; saved with the object."""
        return Space.of(self._reranker).as_dict()

    @classmethod
    def class_name(cls) -> str:
        """The class name that LlamaIndex saves."""
        return "EmbedryRerank"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | {"__dict__": state["__dict__"] | {"space": self.space}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The base class restores the fields even where __init__ raises, which would open another model.
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("there is no query to rank by; give query_str or query_bundle")
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model_name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            texts = [each.node.get_content(metadata_mode=MetadataMode.EMBED) for each in nodes]
            ranked = self._reranker.rank(query_bundle.query_str, texts, top_k=self.top_n)
            found = [self._scored(nodes[position], score) for position, score in ranked]
            event.on_end(payload={EventPayload.NODES: found})
        return found

    def _scored(self, found: NodeWithScore, score: float) -> NodeWithScore:
        node = found.node
        if self.keep_retrieval_score:
            node = node.model_copy(update={"metadata": {**node.metadata, "retrieval_score": found.score}})
        return NodeWithScore(node=node, score=score)


def _opened(
    model: str | Path | ModelSpec | LazyReranker, options: dict[str, Any], space: Mapping[str, Any] | None
) -> LazyReranker:
    if space is None or isinstance(model, LazyReranker):
        return ranking(model, **options)
    return ranking(replace(Space.from_dict(space), model=str(model)).resolve_model(**options))
