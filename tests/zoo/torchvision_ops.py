"""Defines the two operators that torchvision's Python asks for at import: it is installed without its compiled part."""

import torch

_fragment = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _fragment.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
