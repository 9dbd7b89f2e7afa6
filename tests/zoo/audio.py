"""Sound and other signals: 1-D conv stacks, Conformer, Whisper's encoder, spectrogram front ends, vocoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from conditioning import conditioned
from torch import nn
from torch.nn.utils import parametrizations

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


@model(lambda: (torch.randn(1, 8, 40),))
class Stack(nn.Module):
    """Groups, dilation, a gate, strides, pools over one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 16, 5, padding=2, groups=4)
        self.second = nn.Conv1d(16, 32, 3, padding=2, dilation=2, groups=16)
        self.norm, self.gate, self.third = nn.BatchNorm1d(32), nn.GLU(1), nn.Conv1d(16, 24, 3, 2, padding="valid")
        self.pool, self.mean, self.fit = nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        x = self.gate(self.norm(self.second(F.silu(self.first(wave)))))
        return self.fit(self.mean(self.pool(F.leaky_relu(self.third(x), 0.2)))).squeeze(-1)


class ConvModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, 1)
        self.depth, self.batch = nn.Conv1d(width, width, 15, padding=7, groups=width), nn.BatchNorm1d(width)
        self.outer = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.glu(self.inner(self.norm(x).transpose(1, 2)), 1)
        return self.outer(F.silu(self.batch(self.depth(y)))).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Scores of content and of distance, the latter by the shift of Transformer-XL."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.places = nn.Parameter(torch.randn(heads, 2 * length - 1, width // heads) / 4)
        self.u, self.v = (nn.Parameter(torch.randn(heads, 1, width // heads) / 8) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        content = (q + self.u) @ k.mT
        place = (q + self.v) @ self.places.mT
        place = F.pad(place, (1, 0)).view(batch, self.heads, 2 * length, length)[:, :, 1:]
        place = place.reshape(batch, self.heads, length, 2 * length - 1)[..., :length]
        weights = ((content + place) / (width // self.heads) ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))


@model(lambda: (torch.randn(1, 20, 64),))
class Conformer(nn.Module):
    """Half-step feed-forward, relative attention, conv module."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        forwards = [nn.Sequential(nn.Linear(width, 128), nn.SiLU(), nn.Linear(128, width)) for _ in range(2)]
        self.forwards, self.attention = nn.ModuleList(forwards), RelativeAttention(width, 4, 20)
        self.conv = ConvModule(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 0.5 * self.forwards[0](self.norms[0](x))
        x = x + self.attention(self.norms[1](x))
        x = x + self.conv(x)
        x = x + 0.5 * self.forwards[1](self.norms[2](x))
        return self.norms[3](x)


@model(lambda: (torch.randn(1, 80, 200),))
class Whisper(nn.Module):
    """Whisper's encoder: two convs, sinusoids, pre-norm attention."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(80, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, 1)
        angle = torch.arange(100)[:, None] * torch.exp(-torch.arange(48) * 0.19)
        self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], 1))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.second(F.gelu(self.first(mel)))).permute(0, 2, 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


@model(lambda: (torch.randn(1, 4000),))
class Spectrogram(nn.Module):
    """torch.stft, power, mel bands, logarithm, a conv classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(400))
        self.register_buffer("mel", torch.rand(40, 201) * (torch.rand(40, 201) > 0.9) + 1e-3)
        self.conv, self.out = nn.Conv2d(1, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(wave, 400, 160, window=self.window, center=True, return_complex=True)
        mel = self.mel @ spectrum.abs().square()
        return self.out(F.relu(self.conv(torch.log10(mel.clamp(min=1e-5))[:, None])).mean((2, 3)))


@model(lambda: (torch.randn(1, 1, 2000),))
class ConvSpectrogram(nn.Module):
    """The same transform as a conv with sines and cosines."""

    def __init__(self) -> None:
        super().__init__()
        angle = 2 * torch.pi * torch.arange(101)[:, None] * torch.arange(200) / 200
        basis = torch.cat([angle.cos(), -angle.sin()]) * torch.hann_window(200)
        self.register_buffer("basis", basis[:, None])

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        real, imaginary = F.conv1d(F.pad(wave, (100, 100), mode="reflect"), self.basis, stride=80).chunk(2, 1)
        return torch.log(real.square() + imaginary.square() + 1e-3)


@model(lambda: (torch.randn(1, 16, 32),))
class Fnet(nn.Module):
    """Mixes tokens by a two-dimensional Fourier transform, real part only."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(32), nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real / 16)
        return x + self.mlp(x)


@model(lambda: (torch.randn(1, 2000),))
class Wav2Vec(nn.Module):
    """Strided convs with group norm, a weight-normed positional conv, a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv1d(1, 32, 10, 5), nn.GroupNorm(32, 32), nn.Conv1d(32, 32, 3, 2)
        self.places = parametrizations.weight_norm(nn.Conv1d(32, 32, 16, padding=8, groups=4), dim=2)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        wave = (wave - wave.mean(-1, keepdim=True)) / torch.sqrt(wave.var(-1, keepdim=True) + 1e-7)
        x = F.gelu(self.second(F.gelu(self.norm(self.first(wave[:, None])))))
        x = x + F.gelu(self.places(x)[..., :-1])
        return self.layer(x.transpose(1, 2))


class Snake(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, channels, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.alpha * x).pow(2) / (self.alpha + 1e-9)


@model(lambda: (torch.randn(1, 20, 16),))
class Vocoder(nn.Module):
    """Transposed 1-D convs, snakes, dilated residual branches, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.first = parametrizations.weight_norm(nn.Conv1d(20, 32, 7, padding=3))
        self.ups = nn.ModuleList([nn.ConvTranspose1d(32, 16, 8, 4, 2), nn.ConvTranspose1d(16, 8, 4, 2, 1)])
        self.snakes = nn.ModuleList([Snake(16), Snake(8)])
        self.branches = nn.ModuleList([nn.Conv1d(c, c, 3, padding=d, dilation=d) for c, d in ((16, 3), (8, 5))])
        self.last = nn.Conv1d(8, 1, 7, padding=3)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.first(mel)
        for up, snake, branch in zip(self.ups, self.snakes, self.branches, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = x + branch(snake(x))
        return torch.tanh(self.last(x))


@model(lambda: (torch.randn(1, 1, 800),))
class ConvTasNet(nn.Module):
    """A learned filter bank, global layer norm over two axes, masks, and the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv1d(1, 32, 16, 8, bias=False), nn.ConvTranspose1d(32, 1, 16, 8, bias=False)
        self.norm, self.inner = nn.GroupNorm(1, 32), nn.Conv1d(32, 48, 1)
        self.act, self.depth = nn.PReLU(), nn.Conv1d(48, 48, 3, padding=4, dilation=4, groups=48)
        self.masks = nn.Conv1d(48, 64, 1)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.encode(wave))
        masks = torch.sigmoid(self.masks(self.depth(self.act(self.inner(self.norm(x)))))).view(1, 2, 32, -1)
        return torch.stack([self.decode(x * masks[:, i]) for i in range(2)], 1).squeeze(2)


@model(lambda: (torch.randint(0, 256, (1, 64)),))
class WaveNet(nn.Module):
    """Causal dilated convs with gates and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 16)
        self.convs = nn.ModuleList([nn.Conv1d(16, 32, 2, dilation=2**i) for i in range(5)])
        self.skips, self.rests = (nn.ModuleList([nn.Conv1d(16, 16, 1) for _ in range(5)]) for _ in range(2))
        self.out = nn.Conv1d(16, 256, 1)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        x, total = self.embed(levels).transpose(1, 2), 0
        for i, conv in enumerate(self.convs):
            filter_, gate = conv(F.pad(x, (2**i, 0))).chunk(2, 1)
            y = torch.tanh(filter_) * torch.sigmoid(gate)
            total, x = total + self.skips[i](y), x + self.rests[i](y)
        return self.out(F.relu(total))


@model(lambda: (torch.randn(1, 1, 22, 128),))
class EegNet(nn.Module):
    """Long thin convs over time, depthwise over electrodes."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Conv2d(1, 8, (1, 32), padding="same", bias=False)
        self.space = nn.Conv2d(8, 16, (22, 1), groups=8, bias=False)
        self.deep = nn.Conv2d(16, 16, (1, 16), padding="same", groups=16, bias=False)
        self.point, self.norms = nn.Conv2d(16, 16, 1), nn.ModuleList([nn.BatchNorm2d(c) for c in (8, 16, 16)])
        self.out = nn.Linear(16 * 4, 4)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        x = self.norms[1](self.space(self.norms[0](self.time(signal))))
        x = F.avg_pool2d(F.elu(x), (1, 4))
        x = F.avg_pool2d(F.elu(self.norms[2](self.point(self.deep(x)))), (1, 8))
        return self.out(x.flatten(1))


@model(lambda: (torch.randn(1, 12, 250),))
class Ecg(nn.Module):
    """A residual 1-D net with statistics pooling, as speaker models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(12, 32, 15, 2, 7), nn.BatchNorm1d(32)
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.attention, self.out = nn.Conv1d(32, 32, 1), nn.Linear(64, 6)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(signal)))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(-1)))))[..., None]
        weight = self.attention(x).softmax(-1)
        mean = (x * weight).sum(-1)
        spread = ((x.square() * weight).sum(-1) - mean.square()).clamp(min=1e-4).sqrt()
        return F.normalize(self.out(torch.cat([mean, spread], 1)))


def _deep_filter() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 16, (3, 3), (1, 2), (1, 1)), nn.ELU(), nn.Conv2d(16, 32, (1, 3), (1, 2)), nn.ELU(),
        nn.ConvTranspose2d(32, 16, (1, 3), (1, 2)), nn.ELU(), nn.ConvTranspose2d(16, 2, (1, 4), (1, 2)),
    )  # fmt: skip
    return net.eval(), (torch.randn(1, 2, 10, 65),)


FACTORIES["deep_filter"] = _deep_filter
globals().update(FACTORIES)
