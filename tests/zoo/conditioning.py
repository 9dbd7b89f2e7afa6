"""Gives a freshly made network weights under which its outputs mean something.

An untrained network has dead branches (zero-initialized gains), layer scales of 1e-6 and activations that grow or vanish
with depth. Batch norms that see random inputs do not mend that: centring each channel takes away most of the signal and
amplifies rounding noise layer by layer, which trained networks do not do. So norms only keep the scale here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def conditioned(module: nn.Module, example: Any) -> nn.Module:
    """Spread parameters that are still constant, let batch norms give their outputs unit power; returns it in eval mode.

    Args:
        module: with random weights.
        example: a tuple or dict of tensors, which is run through once.
    """
    spread(module, torch.Generator().manual_seed(1))
    module.eval()
    handles = [
        child.register_forward_pre_hook(_keep_scale)
        for child in module.modules()
        if isinstance(child, _NORMS) and child.track_running_stats
    ]
    if handles:
        with torch.no_grad():
            module(**example) if isinstance(example, dict) else module(*example)
    for handle in handles:
        handle.remove()
    return module


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


def _keep_scale(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Before a batch norm runs: no centring, one variance for all channels, the mean square of what comes in."""
    norm.running_mean.zero_()
    norm.running_var.fill_(float(inputs[0].square().mean().clamp(min=1e-12)))
