"""The findings in a model's files, and the entry made from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedry import chains
from embedry.heads import LogitScore, TermTable
from embedry.modules import Chain, StaticEmbedding
from embedry.spec import NO_LIMIT, ModelSpec, Similarity
from embedry_layouts.body import Body
from embedry_layouts.files import Files


@dataclass(frozen=True, kw_only=True)
class Found:
    """The findings in a model's files."""

    chain: Chain
    dims: int
    body: Body | None
    """None where the chain starts with a table, which stands for the transformer."""
    query_chain: Chain = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    similarity: Similarity = "cosine"
    max_seq_length: int = NO_LIMIT
    """Of a model without a transformer."""
    others: tuple[str, ...] = ()
    """Files that only the library reads."""

    @property
    def files(self) -> list[str]:
        """The files that engines read."""
        chain = (*self.chain, *self.query_chain)
        tables = [module for module in chain if isinstance(module, StaticEmbedding | TermTable)]
        own = self.body.files if self.body is not None else []
        of_tables = [file for table in tables for file in (table.weights, table.tokenizer)]
        names = [*own, *of_tables, *chains.weights(chain), *self.others]
        return list(dict.fromkeys(names))

    def entry(self, files: Files, repo: str | None) -> ModelSpec:
        """The entry of the model.

        Args:
            files: of the model, in the snapshot folder of a repository or in a local folder.
            repo: the repository; its weights are downloaded when they are used.

        Raises:
            WeightsNotFoundError: a file is missing.
        """
        own = self.body.weights if self.body is not None else ()
        files.check_present([file for file in self.files if repo is None or file not in own])
        body = self.body
        return ModelSpec(
            name=repo or files.folder.resolve().name or "model",
            repo=repo,
            revision=files.folder.name if repo else None,
            folder=None if repo else str(files.folder),
            files=dict.fromkeys(self.files),
            dims=self.dims,
            max_seq_length=self.max_seq_length if body is None else body.max_seq_length,
            preferred_backend="static" if body is None else _backend(self.chain),
            architecture="static" if body is None else body.architecture,
            transformer=None if body is None else body.transformer,
            chain=self.chain,
            query_chain=self.query_chain,
            prompts=self.prompts,
            similarity=self.similarity,
            description=f"read from {repo or files.folder}",
        )


def _backend(chain: Chain) -> str:
    """The default engine, or the one for models that it does not support."""
    return "transformers" if isinstance(chain[0], LogitScore) else "onnxruntime"
