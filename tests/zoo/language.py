"""Text: encoders, decoders with and without cache tensors, embedding bags, recurrent nets, routing, recommendation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from conditioning import conditioned
from torch import nn

Example = dict[str, torch.Tensor] | tuple[torch.Tensor, ...]
FACTORIES: dict[str, Callable[[], tuple[nn.Module, Example]]] = {}


def model(example: Callable[[], Example]) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """List a class under its lower-case name, with a function that makes its example inputs."""

    def add(kind: type[nn.Module]) -> type[nn.Module]:
        def make() -> tuple[nn.Module, Example]:
            torch.manual_seed(0)
            inputs = example()
            return conditioned(kind(), inputs), inputs

        FACTORIES[kind.__name__.lower()] = make
        return kind

    return add


def ids(*shape: int, words: int = 500) -> torch.Tensor:
    found = torch.randint(0, words, shape)
    ends = torch.tensor([0, words - 1])  # the example's range is taken as the inputs' range
    found.view(-1)[:2] = ends[: found.numel()]
    return found


def _ids_and_mask() -> Example:
    mask = torch.ones(1, 24, dtype=torch.int64)
    mask[:, 20:] = 0
    return {"ids": ids(1, 24), "mask": mask}


@model(_ids_and_mask)
class Bert(nn.Module):
    """Ids and a mask in; a normalized sentence embedding and the tokens out."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(500, width), nn.Embedding(64, width), nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        layer = [nn.TransformerEncoderLayer(width, 4, 4 * width, activation="gelu", batch_first=True) for _ in range(3)]
        self.layers = nn.ModuleList(layer)
        self.pool = nn.Linear(width, width)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        places = torch.arange(ids.shape[1])[None]
        x = self.norm(self.words(ids) + self.places(places) + self.kinds(torch.zeros_like(ids)))
        hidden = mask == 0
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        weight = mask[..., None].to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return {"embedding": F.normalize(mean, dim=-1), "pooled": torch.tanh(self.pool(x[:, 0])), "tokens": x}


@model(lambda: (ids(1, 16),))
class MaskedBert(nn.Module):
    """An additive mask of large negative numbers, and a tied output matrix."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(500, width, padding_idx=0)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        bias = (1.0 - (ids != 0).to(x.dtype))[:, None, None] * torch.finfo(x.dtype).min
        q, k, v = (part(x).view(1, -1, 4, 16).transpose(1, 2) for part in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / 4.0 + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.norm(x + mixed) @ self.words.weight.T


class Block(nn.Module):
    """A GPT block; with a cache it takes the keys and values before and gives them back longer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.first, self.second = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, past: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        batch, length, width = x.shape
        qkv = self.qkv(self.first(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.second(x)), torch.stack([k, v])


@model(lambda: (ids(1, 16),))
class Gpt(nn.Module):
    """Logits of every place, causal."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(500, width), nn.Embedding(32, width)
        self.blocks = nn.ModuleList([Block(width, 4) for _ in range(2)])
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x) @ self.words.weight.T


@model(lambda: {"ids": ids(1, 1), "place": torch.tensor([7]), "past": torch.randn(2, 2, 1, 4, 7, 24)})
class CachedGpt(Gpt):
    """One token in, with the keys and values of the tokens before; logits and the longer cache out."""

    def forward(self, ids: torch.Tensor, place: torch.Tensor, past: torch.Tensor) -> Any:
        x = self.words(ids) + self.places(place)
        caches = []
        for number, block in enumerate(self.blocks):
            x, cache = block(x, past[number])
            caches.append(cache)
        return {"logits": self.norm(x[:, -1]) @ self.words.weight.T, "cache": torch.stack(caches)}


@model(lambda: {"x": torch.randn(1, 1, 64), "place": torch.tensor([3]), "keys": torch.randn(1, 16, 64)})
class StaticCache(nn.Module):
    """A cache of fixed length, written at a place that is an input, with a mask for what is still empty."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor, place: torch.Tensor, keys: torch.Tensor) -> Any:
        keys = keys.index_copy(1, place, self.k(x))
        seen = torch.arange(16) <= place
        weights = (self.q(x) @ keys.mT / 8.0).masked_fill(~seen, float("-inf")).softmax(-1)
        return weights @ keys, keys


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


@model(lambda: (ids(1, 12),))
class Llama(nn.Module):
    """RMS norms, rotary places, grouped key and value heads, a gated MLP."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.words, self.norms = nn.Embedding(500, width), nn.ModuleList([nn.RMSNorm(width) for _ in range(3)])
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 160, bias=False), nn.Linear(width, 160, bias=False)
        self.down = nn.Linear(160, width, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        length = ids.shape[1]
        angle = torch.arange(length)[:, None] * 10000 ** (-torch.arange(0, 8) / 8)
        angle = torch.cat([angle, angle], -1)
        y = self.norms[0](x)
        q = rotate(self.q(y).view(1, length, 4, 16).transpose(1, 2), angle.cos(), angle.sin())
        k, v = self.kv(y).view(1, length, 2, 2, 16).permute(2, 0, 3, 1, 4)
        k = rotate(k, angle.cos(), angle.sin())
        k, v = (part.repeat_interleave(2, 1) for part in (k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        return self.norms[2](x + self.down(F.silu(self.gate(y)) * self.up(y))) @ self.words.weight.T


@model(lambda: {"source": ids(1, 10), "target": ids(1, 6)})
class T5(nn.Module):
    """Encoder and decoder with bucketed relative places."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.words, self.bias = nn.Embedding(500, width), nn.Embedding(16, 4)
        self.own, self.cross = (nn.MultiheadAttention(width, 4, batch_first=True, bias=False) for _ in range(2))
        self.encoder, self.norm = nn.Linear(width, width), nn.RMSNorm(width, eps=1e-6)

    def relative(self, rows: int, columns: int) -> torch.Tensor:
        distance = torch.arange(columns)[None] - torch.arange(rows)[:, None]
        bucket = (distance > 0).long() * 8 + distance.abs().clamp(min=1).log2().long().clamp(max=7)
        return self.bias(bucket).permute(2, 0, 1)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory = F.relu(self.encoder(self.norm(self.words(source))))
        x = self.words(target)
        x = x + self.own(x, x, x, attn_mask=self.relative(6, 6), need_weights=False)[0]
        x = x + self.cross(self.norm(x), memory, memory, need_weights=False)[0]
        return self.norm(x) @ self.words.weight.T / 8.0


@model(lambda: (torch.randn(1, 10, 32), torch.randn(1, 7, 32)))
class Transformer(nn.Transformer):
    """PyTorch's own, encoder and decoder."""

    def __init__(self) -> None:
        super().__init__(32, 4, 2, 2, 64, batch_first=True, norm_first=True)

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        return super().forward(src, tgt, tgt_mask=self.generate_square_subsequent_mask(7), tgt_is_causal=True)


@model(lambda: (ids(4, 6),))
class Bag(nn.Module):
    """Embedding bags: mean of every row, as fastText has it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.largest = nn.EmbeddingBag(500, 32), nn.EmbeddingBag(500, 32, mode="max")
        self.out = nn.Linear(64, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.mean(ids), self.largest(ids)], -1)).log_softmax(-1)


@model(lambda: (ids(1, 20, words=80),))
class CharCnn(nn.Module):
    """Convs of several widths over characters, the largest of each, a highway."""

    def __init__(self) -> None:
        super().__init__()
        self.chars = nn.Embedding(500, 16)
        self.convs = nn.ModuleList([nn.Conv1d(16, 24, k) for k in (2, 3, 5)])
        self.gate, self.mix = nn.Linear(72, 72), nn.Linear(72, 72)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.chars(ids).transpose(1, 2)
        x = torch.cat([F.relu(conv(x)).amax(-1) for conv in self.convs], 1)
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.mix(x)) + (1 - gate) * x


@model(lambda: (torch.randn(1, 10, 16),))
class Lstm(nn.Module):
    """Two bidirectional layers."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True), nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0][:, -1])


@model(lambda: {"x": torch.randn(1, 10, 16), "state": torch.randn(2, 1, 24)})
class Gru(nn.Module):
    """Two layers, the state in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(16, 24, 2, batch_first=True), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> Any:
        y, state = self.rnn(x, state)
        return self.out(y), state


@model(lambda: (torch.randn(1, 8, 32),))
class Experts(nn.Module):
    """The two best of four experts for each token, all computed, weighted by a scatter."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.up, self.down = nn.Linear(32, 4), nn.Parameter(torch.randn(4, 32, 64) / 6), None
        self.down = nn.Parameter(torch.randn(4, 64, 32) / 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best, index = self.router(x).softmax(-1).topk(2, -1)
        gates = torch.zeros(1, 8, 4).scatter(-1, index, best / best.sum(-1, keepdim=True))
        hidden = F.silu(torch.einsum("btd,edh->beth", x, self.up))
        return torch.einsum("beth,ehd,bte->btd", hidden, self.down, gates)


@model(lambda: (torch.randn(1, 12, 32),))
class LinearAttention(nn.Module):
    """Running sums instead of a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        state = (k[..., :, None] * v[..., None, :]).cumsum(1)
        return torch.einsum("btd,btde->bte", q, state) / (q * k.cumsum(1)).sum(-1, keepdim=True)


@model(lambda: (torch.randn(1, 10, 16),))
class Mamba(nn.Module):
    """A selective scan, unrolled over a fixed length."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.conv = nn.Linear(16, 64), nn.Conv1d(32, 32, 4, groups=32, padding=3)
        self.select, self.step, self.rate = nn.Linear(32, 17), nn.Linear(1, 32), nn.Parameter(torch.rand(32, 8))
        self.out = nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, gate = self.inner(x).chunk(2, -1)
        y = F.silu(self.conv(y.mT)[..., :10].mT)
        b, c, delta = self.select(y).split([8, 8, 1], -1)
        delta = F.softplus(self.step(delta))
        decay = torch.exp(-delta[..., None] * self.rate.exp())
        state, outputs = torch.zeros(1, 32, 8), []
        for t in range(10):
            state = decay[:, t] * state + (delta[:, t] * y[:, t])[..., None] * b[:, t, None]
            outputs.append((state * c[:, t, None]).sum(-1))
        return self.out(torch.stack(outputs, 1) * F.silu(gate))


@model(lambda: (torch.rand(2, 5), ids(2, 3, words=100)))
class Dlrm(nn.Module):
    """Dense and sparse features, all pairs of them multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(100, 16) for _ in range(3)])
        self.dense, self.top = nn.Sequential(nn.Linear(5, 16), nn.ReLU()), nn.Linear(22, 1)

    def forward(self, dense: torch.Tensor, sparse: torch.Tensor) -> torch.Tensor:
        x = self.dense(dense)
        stack = torch.stack([x, *[table(sparse[:, i]) for i, table in enumerate(self.tables)]], 1)
        rows, columns = torch.triu_indices(4, 4, 1)
        return torch.sigmoid(self.top(torch.cat([x, (stack @ stack.mT)[:, rows, columns]], 1))).squeeze(-1)


@model(lambda: (torch.rand(1, 3, 64, 64), ids(1, 12)))
class Clip(nn.Module):
    """Two towers and their cosine similarity."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 16, 16)
        self.image = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True, norm_first=True, activation="gelu")
        self.words, self.text = nn.Embedding(500, 48), nn.Linear(48, 48)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, image: torch.Tensor, ids: torch.Tensor) -> Any:
        seen = F.normalize(self.image(self.patches(image).flatten(2).mT).mean(1), dim=-1)
        end = ids.argmax(-1)
        words = self.text(self.words(ids))
        said = words[torch.arange(1), end]
        said = said / said.norm(dim=-1, keepdim=True)
        return {"logits": self.scale.exp() * seen @ said.T, "image": seen, "text": said}


globals().update(FACTORIES)
