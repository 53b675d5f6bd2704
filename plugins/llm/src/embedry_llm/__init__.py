"""embedry's models for the `llm` tool, which loads this module by its entry point.

llm only stores the model id with a collection, so the id contains the fingerprint of the vector space. If a model makes
other vectors later, its id changes, and the id of an old collection becomes unknown.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import llm
from llm.models import EmbeddingModel

from embedry import ModelSpec, list_models, resolve
from embedry.fingerprint import space_fingerprint


class EmbedryModel(EmbeddingModel):
    """A registered model in one role. The first text loads the model."""

    supports_text = True
    supports_binary = False
    batch_size = 1024  # texts held at a time when an iterable is embedded

    def __init__(self, spec: ModelSpec, role: str, model_id: str) -> None:
        self.model_id = model_id
        self._spec = spec
        self._role = role

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """The vectors of texts, in order; no key is needed.

        Raises:
            As `Embedder.encode`.
        """
        texts = cast("Iterable[str]", items)  # the base class rejects bytes
        yield from resolve(self._spec).encode(texts, role=self._role).tolist()


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Registers each embedder for documents and, if queries have another prompt, for queries too.

    llm has no roles: `llm similar` embeds queries like the stored texts. A plain id therefore embeds documents.
    """
    for spec in (spec for spec in list_models() if spec.kind == "dense"):
        name, space = f"embedry/{spec.name}", _space(spec)
        register(EmbedryModel(spec, "document", name + space), aliases=[name, *spec.aliases])
        if spec.prompt("query") != spec.prompt("document"):
            register(EmbedryModel(spec, "query", f"{name}/query{space}"), aliases=[f"{name}/query"])


def _space(spec: ModelSpec) -> str:
    """The suffix of an id, "@" and the fingerprint; empty for an entry without digests, which would require reading its files."""
    digests = {file: digest for file, digest in spec.files.items() if digest is not None}
    if len(digests) < len(spec.files):
        return ""
    return "@" + space_fingerprint(spec, digests, chain=spec.chain, max_seq_length=spec.max_seq_length)
