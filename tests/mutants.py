"""Copies of the default backend, each with one rule broken."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry import Normalize, Pooling
from embedry._pipeline.tokenizer import Tokenizer
from embedry.backend import Encoder, LoadRequest, PairEncoder
from embedry_onnxruntime import OnnxRuntimeBackend

Ids = NDArray[np.int32]
Vectors = NDArray[np.float32]


class Mutant(Encoder):
    """The real encoder, its answer untouched; subclasses break something."""

    def __init__(self, real: Encoder, request: LoadRequest) -> None:
        self.real, self.request = real, request
        self.spec, self.folder = request.spec, request.folder
        self.workers, self.batch_tokens, self.info = real.workers, real.batch_tokens, real.info

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, mask)


class DropsThePrompt(Mutant):
    """Removes the query prompt's tokens."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        prompt = next(Tokenizer(self.folder / "tokenizer.json").read(["query: "], 64))[0][1:-1]
        end = 1 + len(prompt)
        kept = ids.copy(), mask.copy()
        for row in np.flatnonzero((ids[:, 1:end] == prompt).all(axis=1) if ids.shape[1] > end else []):
            for array in kept:
                array[row, 1 : ids.shape[1] - len(prompt)] = array[row, end:].copy()
                array[row, ids.shape[1] - len(prompt) :] = 0
        return self.real.forward(*kept)


class ReturnsFloat64(Mutant):
    """Forgets the dtype."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, mask).astype(np.float64)  # type: ignore[return-value]  # the mutation


class ShufflesOrder(Mutant):
    """Gives a batch's vectors back in another order."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, mask)[::-1]


class TruncatesEarly(Mutant):
    """Reads two tokens less than the entry states."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        limit = self.spec.max_seq_length - 2
        return self.real.forward(ids[:, :limit], mask[:, :limit])


class LeaksPadding(Mutant):
    """Counts padding as text."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, np.ones_like(mask))


class LoadsTwice(Mutant):
    """Loads the model again for each batch."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        loads_twice.load(replace(self.request, threads=1, cache_dir=self.folder.parents[1]))
        return super().forward(ids, mask)


class NegativeWeights(Mutant):
    """Forgets the activation before weights of terms are pooled."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, mask) - np.float32(0.1)


class DropsATokenVector(Mutant):
    """Gives no vector for the first token."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        return self.real.forward(ids, mask)[:, 1:]


class PairMutant(PairEncoder):
    """The same around the encoder of a reranker."""

    def __init__(self, real: Any, request: LoadRequest) -> None:
        self.real = real
        self.workers, self.batch_tokens, self.info = real.workers, real.batch_tokens, real.info

    def forward(self, ids: Ids, mask: Ids, segments: Ids, /) -> Vectors:
        logits: Vectors = self.real.forward(ids, mask, segments)
        return logits


class IgnoresSegments(PairMutant):
    """Reads query and document as if they were one text."""

    def forward(self, ids: Ids, mask: Ids, segments: Ids, /) -> Vectors:
        return super().forward(ids, mask, np.zeros_like(segments))


class IgnoresTheOrder(PairMutant):
    """Cannot tell a query and a document from the two turned round."""

    def forward(self, ids: Ids, mask: Ids, segments: Ids, /) -> Vectors:
        ordered = np.sort(np.where(mask, ids, np.iinfo(np.int32).max), axis=1)
        return super().forward(np.where(mask, ordered, ids), mask, np.zeros_like(segments))


class MutantBackend(OnnxRuntimeBackend):
    """The default backend with a mutant around its encoder."""

    def __init__(self, mutant: type[Mutant] | type[PairMutant], **entry: Any) -> None:
        self.mutant, self.entry = mutant, entry

    def load(self, request: LoadRequest) -> Encoder | PairEncoder:
        changed = replace(request, spec=replace(request.spec, **self.entry))
        real: Any = super().load(changed)
        return self.mutant(real, request)


swaps_pooling = MutantBackend(Mutant, chain=(Pooling(mode="cls"), Normalize()))
drops_the_prompt = MutantBackend(DropsThePrompt)
returns_float64 = MutantBackend(ReturnsFloat64)
shuffles_order = MutantBackend(ShufflesOrder)
truncates_early = MutantBackend(TruncatesEarly)
leaks_padding = MutantBackend(LeaksPadding)
loads_twice = MutantBackend(LoadsTwice)
drops_a_module = MutantBackend(Mutant, chain=(Pooling(mode="mean"), Normalize()))
negative_weights = MutantBackend(NegativeWeights)
drops_a_token_vector = MutantBackend(DropsATokenVector)
ignores_segments = MutantBackend(IgnoresSegments)
ignores_the_order = MutantBackend(IgnoresTheOrder)
