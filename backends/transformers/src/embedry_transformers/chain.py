"""The body of a chain in torch: applies the model's modules to token vectors.

Everything after the transformer is computed in float32, regardless of the transformer's precision: sums over hundreds of
tokens would lose bits, and the cost is negligible.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch.nn import functional

from embedry import ModelSpec, UnsupportedModelError
from embedry.modules import Dense, LayerNorm, Module, Normalize, Pooling
from embedry_torch.loading import module_weights

Step = Callable[[torch.Tensor], torch.Tensor]


class Head(Protocol):
    """The modules after a transformer."""

    def __call__(self, output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The results of a batch, float32.

        Args:
            output: the first output of the model's class: token vectors (batch, sequence, width), or logits.
            ids: (batch, sequence), padded on the right.
            mask: likewise; 0 for padding.
        """


class Body:
    """The modules of a body that pools, with their weights, on the transformer's device."""

    def __init__(self, spec: ModelSpec, folder: Path, device: torch.device) -> None:
        body = spec.body
        # A pooling starts from the token vectors again, so earlier modules have no effect.
        last, pooling = [(at, module) for at, module in enumerate(body) if isinstance(module, Pooling)][-1]
        self.mode = pooling.mode
        self._steps = [_step(module, spec, folder, device) for module in body[last + 1 :]]

    def __call__(self, output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Token vectors -> (batch, width of the result); see `Head`."""
        return self.after_pooling(torch.cat([pool(output, mask, mode) for mode in self.mode.split("+")], dim=1))

    def after_pooling(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the modules after the pooling to pooled vectors (batch, width), in float32."""
        return _run(self._steps, x)


class TokenBody:
    """The modules of a body without a pooling: each runs over the vector of each token."""

    def __init__(self, spec: ModelSpec, folder: Path, device: torch.device) -> None:
        self._steps = [_step(module, spec, folder, device) for module in spec.body]

    def __call__(self, output: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Token vectors -> (batch, sequence, width of the result); see `Head`."""
        return _run(self._steps, output)


def _run(steps: list[Step], x: torch.Tensor) -> torch.Tensor:
    x = x.float()
    for step in steps:
        x = step(x)
    return x


def pool(tokens: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """Token vectors (batch, sequence, width) -> one per text, float32 (batch, width), by one of `embedry.modules.POOLINGS`."""
    if mode == "cls":
        return tokens[:, 0].float()
    if mode == "last":  # the position of the last 1, wherever the padding is
        last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(dim=1)
        return tokens[torch.arange(len(tokens), device=tokens.device), last].float()
    weights = mask.unsqueeze(-1).float()
    if mode == "max":
        return tokens.float().masked_fill(weights == 0, float("-inf")).amax(dim=1)
    if mode == "weightedmean":
        weights = weights * weights.cumsum(dim=1)
    count = weights.sum(dim=1)
    return (tokens.float() * weights).sum(dim=1) / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


def _step(module: Module, spec: ModelSpec, folder: Path, device: torch.device) -> Step:
    if isinstance(module, Normalize):
        return lambda x: functional.normalize(x, dim=-1)
    if isinstance(module, Dense):
        shapes: dict[str, tuple[int, ...] | None] = {"linear.weight": (module.outputs, module.inputs)}
        shapes |= {"linear.bias": (module.outputs,)} if module.bias else {}
        found = weights(spec, folder, module.weights, shapes, device)
        activation = _ACTIVATIONS[module.activation]
        return lambda x: activation(functional.linear(x, found["linear.weight"], found.get("linear.bias")))
    if isinstance(module, LayerNorm):
        scaling: dict[str, tuple[int, ...] | None] = {"norm.weight": None, "norm.bias": None}
        found = weights(spec, folder, module.weights, scaling, device) if module.weights else {}
        return lambda x: functional.layer_norm(x, x.shape[-1:], found.get("norm.weight"), found.get("norm.bias"))
    raise UnsupportedModelError(f"{module} is not a module that this backend runs")


def weights(
    spec: ModelSpec, folder: Path, file: str, shapes: Mapping[str, tuple[int, ...] | None], device: torch.device
) -> dict[str, torch.Tensor]:
    """See `embedry_torch.loading.module_weights`."""
    return {name: tensor.to(device) for name, tensor in module_weights(spec, folder, file, shapes).items()}


_ACTIVATIONS: dict[str, Step] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
}
