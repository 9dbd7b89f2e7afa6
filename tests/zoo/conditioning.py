"""Gives a freshly made network weights under which its outputs mean something.

An untrained network has dead branches (zero-initialized gains), layer scales of 1e-6 and batch norms that know nothing
of their inputs; quantization noise is then measured against an arbitrary signal. Trained ones have none of this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def conditioned(module: nn.Module, example: Any, *, batch: int = 4, passes: int = 2) -> nn.Module:
    """Spread parameters that are still constant, then let batch norms see their inputs; returns it in eval mode.

    Args:
        module: with random weights.
        example: a tuple or dict of tensors with a batch axis first; floats become new random values like them.
        batch: samples a pass.
        passes: through the batch norms, which keep the plain mean over all of them.
    """
    generator = torch.Generator().manual_seed(1)
    spread(module, generator)
    module.eval()
    norms = [child for child in module.modules() if isinstance(child, _NORMS) and child.track_running_stats]
    if not norms:
        return module
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all passes
        norm.train()
    for _ in range(passes):
        with torch.no_grad():
            if isinstance(example, dict):
                module(**{name: _more(tensor, batch, generator) for name, tensor in example.items()})
            else:
                module(*[_more(tensor, batch, generator) for tensor in example])
    return module.eval()


def spread(module: nn.Module, generator: torch.Generator) -> None:
    """Replace parameters whose elements are all equal: gains by others around 1, biases by small ones."""
    for name, parameter in module.named_parameters():
        flat = parameter.detach().reshape(-1)
        if flat.numel() < 2 or not bool((flat == flat[0]).all()):
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        start = float(flat[0])
        with torch.no_grad():
            if start == 0.0 and (name.endswith(("bias", "beta")) or parameter.dim() > 1):
                parameter.copy_(noise * 0.05)
            elif abs(start) < 0.1:  # a zero-initialized gain or a layer scale
                parameter.copy_(0.3 + 0.05 * noise)
            else:
                parameter.copy_(start * (1.0 + 0.1 * noise))


def _more(tensor: torch.Tensor, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Another `batch` samples in the manner of an example."""
    shape = (batch, *tensor.shape[1:])
    if tensor.is_floating_point():
        looks_like_image = float(tensor.min()) >= 0.0 and float(tensor.max()) <= 1.0
        make = torch.rand if looks_like_image else torch.randn
        return make(shape, generator=generator).to(tensor.dtype)
    return tensor[:1].expand(shape).clone()
