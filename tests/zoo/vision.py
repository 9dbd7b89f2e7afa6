"""torchvision: one or more of every family; segmentation, detection without its post-processing, video, optical flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision_ops  # noqa: F401 - must come before torchvision
from conditioning import conditioned
from torch import nn

import torchvision  # isort: skip
from torchvision.models import detection, optical_flow, segmentation, video  # isort: skip

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]

_NAMES = """
    alexnet vgg11_bn vgg13 resnet18 resnet50 resnext50_32x4d wide_resnet50_2 mobilenet_v2 mobilenet_v3_small
    mobilenet_v3_large efficientnet_b0 efficientnet_b3 efficientnet_v2_s shufflenet_v2_x1_0 shufflenet_v2_x0_5
    squeezenet1_0 squeezenet1_1 densenet121 mnasnet1_0 mnasnet0_5 regnet_y_400mf regnet_x_400mf convnext_tiny swin_t
    swin_v2_t vit_b_16 maxvit_t
""".split()


def _settled(module: nn.Module, *example: torch.Tensor) -> Made:
    return conditioned(module, example), example


def _classifier(name: str, size: int = 224, **options: Any) -> Made:
    torch.manual_seed(0)
    return _settled(getattr(torchvision.models, name)(weights=None, **options), torch.rand(1, 3, size, size))


def _segmentation(name: str, size: int = 224) -> Made:
    torch.manual_seed(0)
    module = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=21)
    return _settled(module, torch.rand(1, 3, size, size))


class Detector(nn.Module):
    """Backbone and heads of a torchvision detector: what comes before anchors and NMS."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, image: torch.Tensor) -> Any:
        return self.head(list(self.backbone(image).values()))


class Proposer(nn.Module):
    """Backbone, feature pyramid and region proposal head of a Faster R-CNN."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.rpn.head

    def forward(self, image: torch.Tensor) -> Any:
        return self.head(list(self.backbone(image).values()))


def _detector(name: str, size: int, wrap: type[nn.Module] = Detector) -> Made:
    torch.manual_seed(0)
    module = getattr(detection, name)(weights=None, weights_backbone=None)
    return _settled(wrap(module), torch.rand(1, 3, size, size))


def _video(name: str, frames: int, size: int) -> Made:
    torch.manual_seed(0)
    return _settled(getattr(video, name)(weights=None), torch.rand(1, 3, frames, size, size))


class Flow(nn.Module):
    """RAFT with a few of its refinements, the last flow only."""

    def __init__(self, raft: nn.Module, updates: int) -> None:
        super().__init__()
        self.raft, self.updates = raft, updates

    def forward(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return self.raft(before, after, num_flow_updates=self.updates)[-1]


def raft_small() -> Made:
    torch.manual_seed(0)
    return _settled(
        Flow(optical_flow.raft_small(weights=None), 2), torch.rand(1, 3, 128, 160), torch.rand(1, 3, 128, 160)
    )


FACTORIES: dict[str, Callable[[], Made]] = {
    **{name: partial(_classifier, name) for name in _NAMES},
    "googlenet": partial(_classifier, "googlenet", init_weights=False, aux_logits=False),
    "inception_v3": partial(_classifier, "inception_v3", 299, init_weights=False, aux_logits=False),
    "lraspp_mobilenet_v3_large": partial(_segmentation, "lraspp_mobilenet_v3_large"),
    "deeplabv3_mobilenet_v3_large": partial(_segmentation, "deeplabv3_mobilenet_v3_large"),
    "fcn_resnet50": partial(_segmentation, "fcn_resnet50", 128),
    "ssdlite320_mobilenet_v3_large": partial(_detector, "ssdlite320_mobilenet_v3_large", 320),
    "retinanet_resnet50_fpn": partial(_detector, "retinanet_resnet50_fpn", 256),
    "fasterrcnn_mobilenet_v3_large_fpn": partial(_detector, "fasterrcnn_mobilenet_v3_large_fpn", 256, Proposer),
    "r3d_18": partial(_video, "r3d_18", 8, 112),
    "mc3_18": partial(_video, "mc3_18", 8, 112),
    "r2plus1d_18": partial(_video, "r2plus1d_18", 8, 112),
    "raft_small": raft_small,
}


def __getattr__(name: str) -> Any:
    """The listed ones, and any other classifier of torchvision by its name."""
    if name in FACTORIES:
        return FACTORIES[name]
    if not name.startswith("_") and callable(getattr(torchvision.models, name, None)):
        return partial(_classifier, name)
    raise AttributeError(name)
