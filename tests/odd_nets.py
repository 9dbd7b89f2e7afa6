"""Small networks with what real ones have: several inputs and outputs, groups, transposed convs, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Ends(nn.Module):
    """Integer and bool inputs, a scalar output, an input returned unchanged, an output returned twice."""

    def forward(self, a, b, flag, n):
        total = a + b
        return {"total": total, "again": total, "chosen": torch.where(flag, a, b), "sum": (a * n).sum(), "same": a}


def ends():
    return Ends().eval(), {
        "a": torch.rand(2, 3),
        "b": torch.rand(2, 3),
        "flag": torch.rand(2, 3) > 0.5,
        "n": torch.randint(0, 5, (2, 3)),
    }


class Unet(nn.Module):
    """Convs, a transposed conv, a concat, a resize."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, image):
        down = self.down(image)
        up = self.up(F.relu(self.deep(F.max_pool2d(down, 2))))
        merged = self.out(torch.cat([down, up], 1))
        return F.interpolate(merged, scale_factor=2, mode="bilinear", align_corners=False)


def unet():
    torch.manual_seed(0)
    return Unet().eval(), (torch.rand(1, 3, 32, 32),)


class Sound(nn.Module):
    """1-D convs with groups and dilation."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(8, 16, 5, padding=2, groups=4)
        self.second = nn.Conv1d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.norm, self.gate = nn.BatchNorm1d(16), nn.GLU(1)

    def forward(self, wave):
        return self.gate(self.norm(self.second(F.silu(self.first(wave)))))


def sound():
    torch.manual_seed(0)
    return Sound().eval(), (torch.randn(1, 8, 40),)


class Encoder(nn.Module):
    """Ids and a mask in, a sentence embedding and the tokens out."""

    def __init__(self, width=64):
        super().__init__()
        self.words, self.places = nn.Embedding(500, width), nn.Embedding(64, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, activation="gelu", batch_first=True) for _ in range(2)
        )

    def forward(self, ids, mask):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))[None]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0)
        weight = mask[..., None].float()
        return {"embedding": F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1), "tokens": x}


def encoder():
    torch.manual_seed(0)
    return Encoder().eval(), {"ids": torch.randint(0, 500, (1, 16)), "mask": torch.ones(1, 16, dtype=torch.int64)}


class Decoder(nn.Module):
    """Causal attention by scaled_dot_product_attention, tanh GELU."""

    def __init__(self, width=64):
        super().__init__()
        self.words, self.qkv, self.out = nn.Embedding(300, width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, 300, bias=False)

    def forward(self, ids):
        x = self.words(ids)
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        return self.logits(F.gelu(x + self.out(mixed), approximate="tanh"))


def decoder():
    torch.manual_seed(0)
    return Decoder().eval(), (torch.randint(0, 300, (1, 12)),)
