"""MobileNetV2 (Sandler and others, 2018, table 2) with weights at random, for self-tests: no download."""

from __future__ import annotations

import torch
from torch import nn

#: Expansion, channels, repeats, stride of each row of the paper's table.
_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv(source: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(source, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, source: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = source * expansion
        layers = [_conv(source, inner, 1)] if expansion > 1 else []
        layers += [
            _conv(inner, inner, 3, stride, inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.layers = nn.Sequential(*layers)
        self.short = stride == 1 and source == channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Widen, filter, narrow."""
        return x + self.layers(x) if self.short else self.layers(x)


def mobilenet_v2() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """For 224 × 224 pixels and 1000 classes."""
    torch.manual_seed(0)
    blocks, source = [], 32
    for expansion, channels, repeats, stride in _ROWS:
        for number in range(repeats):
            blocks.append(Block(source, channels, stride if number == 0 else 1, expansion))
            source = channels
    net = nn.Sequential(
        _conv(3, 32, 3, 2),
        *blocks,
        _conv(source, 1280, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1280, 1000),
    )
    return net.eval(), (torch.rand(1, 3, 224, 224),)
