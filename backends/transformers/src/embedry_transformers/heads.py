"""Heads of rerankers and sparse embedders."""

from functools import partial
from pathlib import Path

import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from embedry import ModelSpec, UnsupportedModelError
from embedry.heads import Classifier, LogitScore, MaskedLM, SpladePooling, TermWeights
from embedry_torch.loading import refused_by
from embedry_transformers.chain import Body, Head, TokenBody, pool, weights

_CPU_BLOCK = 2**20
_DEVICE_BLOCK = 2**27
"""Logits of the vocabulary that are in memory at a time; a batch of 512 tokens has 15 million of BERT's. On a CPU 4 MB are 40%
faster than all at once, because they stay in its caches."""


def head(spec: ModelSpec, folder: Path, model: PreTrainedModel) -> Head:
    """The head of this model, on its device. Modifies the model so that it only computes the needed part of its own head.

    Raises:
        IntegrityError: weights of a module are missing, left over or of the wrong shape.
        UnsupportedModelError: the head of the model's class has operations that are not supported.
    """
    first = spec.body[0] if spec.body else None
    with refused_by(f"transformers {transformers.__version__}", spec):
        if isinstance(first, Classifier):
            return _classifier(model)
        if isinstance(first, LogitScore):
            return _logit_score(model, first)
        if isinstance(first, MaskedLM):
            pooling = next(module for module in spec.body if isinstance(module, SpladePooling))
            return Splade(model, pooling)
    if isinstance(first, TermWeights):
        shapes = {"linear.weight": (1, first.inputs), "linear.bias": (1,)}
        found = weights(spec, folder, first.weights, shapes, model.device)
        return partial(_term_weights, first, found["linear.weight"], found["linear.bias"])
    return (TokenBody if spec.kind == "multi_vector" else Body)(spec, folder, model.device)


class Splade:
    """The end of a masked language model, and a pooling of its logits.

    The product with the vocabulary is the slowest step and has by far the largest result. It is computed here in blocks of terms; the
    model only returns its inputs. It uses the model's number format.
    """

    def __init__(self, model: PreTrainedModel, pooling: SpladePooling) -> None:
        decoder = _decoder(model)
        wanted = _tried(model)
        self._weight, self._bias, self._pooling = decoder.weight, decoder.bias, pooling
        self._block = _CPU_BLOCK if model.device.type == "cpu" else _DEVICE_BLOCK
        decoder.forward = _as_it_is  # type: ignore[method-assign, assignment]
        _check_same(model, functional.linear(_tried(model), self._weight, self._bias), wanted)

    def __call__(self, output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Transformed token vectors (batch, sequence, width) -> weights (batch, vocabulary); see `Head`."""
        real = mask.unsqueeze(-1) == 1
        if self._pooling.strategy == "max":  # in place of padding the first token once more, which changes no maximum
            output = torch.where(real, output, output[:, :1])
        found = torch.empty(len(output), len(self._weight), device=output.device)
        size = max(1, self._block // mask.numel())
        for start in range(0, len(self._weight), size):
            terms = slice(start, start + size)
            bias = self._bias[terms] if self._bias is not None else None
            found[:, terms] = self._pooled(functional.linear(output, self._weight[terms], bias), real)
        return found

    def _pooled(self, logits: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        if self._pooling.strategy == "max":  # of logits, because what follows keeps their order
            return self._activated(logits.amax(dim=1).float())
        return (self._activated(logits.float()) * real).sum(dim=1)

    def _activated(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu().log1p()
        return x.log1p() if self._pooling.activation == "log1p_relu" else x


def _classifier(model: PreTrainedModel) -> Head:
    base = model.base_model
    if base is not model and model.dtype != torch.float32:
        for module in model.children():
            if module is not base:
                module.float().register_forward_pre_hook(_in_float32)
    return _logits


def _logits(output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The class's own logits, (batch, labels); see `Head`."""
    return output.float()


def _logit_score(model: PreTrainedModel, score: LogitScore) -> Head:
    """Reduces the language model's head to the one or two rows that are needed."""
    decoder = _decoder(model)
    rows = [token for token in (score.true_token, score.false_token) if token is not None]
    wanted = _tried(model)[..., rows]
    decoder.weight = nn.Parameter(decoder.weight[rows].float(), requires_grad=False)
    if decoder.bias is not None:
        decoder.bias = nn.Parameter(decoder.bias[rows].float(), requires_grad=False)
    decoder.register_forward_pre_hook(_in_float32)
    _check_same(model, _tried(model), wanted)
    return _last_score


def _last_score(output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The logits of one or two terms for each token (batch, sequence, terms) -> their difference for the last one, (batch, 1)."""
    last = pool(output, mask, "last")
    return last[:, :1] - last[:, 1:].sum(dim=1, keepdim=True)


def _term_weights(
    module: TermWeights,
    weight: torch.Tensor,
    bias: torch.Tensor,
    output: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Token vectors (batch, sequence, width) -> weights (batch, vocabulary); see `Head`."""
    values = functional.linear(output.float(), weight, bias).squeeze(-1).relu()
    skipped = torch.isin(ids, torch.tensor(module.skip, dtype=ids.dtype, device=ids.device))
    values = values.masked_fill((mask == 0) | skipped, 0)
    found = torch.zeros(len(ids), module.outputs, device=ids.device)
    return found.scatter_reduce_(1, ids, values, "amax")


def _decoder(model: PreTrainedModel) -> nn.Linear:
    """The last layer of a language model, the product with the vocabulary."""
    found = model.get_output_embeddings()
    if not isinstance(found, nn.Linear):
        raise UnsupportedModelError(f"{type(model).__name__} ends in {found}, and not in a linear layer")
    return found


@torch.inference_mode()
def _tried(model: PreTrainedModel) -> torch.Tensor:
    """The first output for an arbitrary text of two tokens."""
    ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    output: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    return output


def _check_same(model: PreTrainedModel, found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Raises UnsupportedModelError if the model's class has operations after the product, which would be skipped here."""
    tolerance = 1e-4 if model.dtype == torch.float32 else 0.05
    if not torch.allclose(found.float(), wanted.float(), rtol=tolerance, atol=tolerance):
        raise UnsupportedModelError(f"{type(model).__name__} computes its logits in a way that is not known here")


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _in_float32(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(each.float() for each in inputs)
