"""A small trained network that reads handwritten digits, to try every target on.

It has the parts of the mobile networks that people bring: depthwise convolutions, inverted bottlenecks, batch norm,
hard-swish and ReLU6, a residual add, global average pooling and dropout. `scripts/train_sample.py` trains it on the
UCI Optical Recognition of Handwritten Digits (CC BY 4.0); `calibration/digits.toml` describes the images held out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

WEIGHTS = Path(__file__).with_name("digits.safetensors")
SIDE = 32
CLASSES = 10


class ConvNorm(torch.nn.Sequential):
    """A bias-free convolution with its batch norm and, where one is given, an activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], torch.nn.Module] | None = None,
    ) -> None:
        layers = [
            torch.nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            # A generous epsilon bounds the scale that a nearly silent channel gets once the norm is folded into the
            # convolution, and with it the spread of ranges that int8 weights must cover.
            torch.nn.BatchNorm2d(outputs, eps=1e-3),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


class InvertedResidual(torch.nn.Module):
    """Widen by a 1x1 convolution, filter each channel alone, narrow again; add the input where shapes allow.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        expand: the widening; 1 leaves the first convolution out, a plain depthwise-separable block.
        stride: of the depthwise convolution.
        activation: makes the activation that follows the first two convolutions.
    """

    def __init__(
        self, inputs: int, outputs: int, *, expand: int, stride: int, activation: Callable[[], torch.nn.Module]
    ) -> None:
        super().__init__()
        width = inputs * expand
        self.adds = stride == 1 and inputs == outputs
        self.widen = ConvNorm(inputs, width, activation=activation) if expand > 1 else torch.nn.Identity()
        self.depthwise = ConvNorm(width, width, kernel=3, stride=stride, groups=width, activation=activation)
        self.narrow = ConvNorm(width, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        narrowed = self.narrow(self.depthwise(self.widen(features)))
        return features + narrowed if self.adds else narrowed


class DigitNet(torch.nn.Module):
    """A MobileNet in miniature for grey images of 32x32 pixels, 88 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        swish, relu6 = torch.nn.Hardswish, torch.nn.ReLU6
        self.stem = ConvNorm(1, 16, kernel=3, stride=2, activation=swish)
        self.blocks = torch.nn.Sequential(
            InvertedResidual(16, 24, expand=1, stride=1, activation=relu6),
            InvertedResidual(24, 48, expand=4, stride=2, activation=relu6),
            InvertedResidual(48, 48, expand=4, stride=1, activation=swish),
            InvertedResidual(48, 96, expand=4, stride=2, activation=swish),
        )
        self.head = ConvNorm(96, 256, activation=swish)
        self.dropout = torch.nn.Dropout(0.2)
        self.classifier = torch.nn.Linear(256, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[N, 1, 32, 32] images, 0 for paper and 1 for ink, to [N, 10] logits."""
        features = self.head(self.blocks(self.stem(image)))
        return self.classifier(self.dropout(features.mean((2, 3))))


def example() -> torch.Tensor:
    """A zero drawn by formula: the same [1, 1, 32, 32] pixels, 0 to 1, on every machine."""
    axis = torch.arange(SIDE, dtype=torch.float32) - (SIDE - 1) / 2
    ellipse = (axis[None, :] / 7) ** 2 + (axis[:, None] / 11) ** 2
    ink = (1.25 - 1.5 * (ellipse - 1).abs()).clamp(0, 1)
    return ink.reshape(1, 1, SIDE, SIDE)


def digits() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The trained network, ready to convert, and an example of its input."""
    model = DigitNet()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval(), {"image": example()}
