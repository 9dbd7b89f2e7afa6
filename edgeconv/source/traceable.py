"""Ways through PyTorch's own modules that torch.export can take, where they have several that compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def prefer() -> Callable[[], None]:
    """Choose them in this process; returns what takes it back.

    The fast path of transformers in eval mode is an operator of its own, which has no other form, and leaves zeros where a
    padding mask says so. Whether a mask is the causal one is found out by comparing its values, only to be computed faster.
    """
    import torch
    from torch.nn.modules import transformer

    enabled = torch.backends.mha.get_fastpath_enabled()
    detect = transformer._detect_is_causal_mask

    def as_told(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        del mask, size
        return is_causal is True

    torch.backends.mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = as_told

    def restore() -> None:
        torch.backends.mha.set_fastpath_enabled(enabled)
        transformer._detect_is_causal_mask = detect

    return restore
