"""What models take and give: several inputs and outputs, containers, integers, booleans, scalars, other ranks, batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

Example = dict[str, Any]
FACTORIES: dict[str, Callable[[], tuple[nn.Module, Example]]] = {}


def model(**inputs: Any) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """List a class under its lower-case name, with its inputs by name."""

    def add(kind: type[nn.Module]) -> type[nn.Module]:
        def make() -> tuple[nn.Module, Example]:
            torch.manual_seed(0)
            return kind().eval(), inputs

        FACTORIES[kind.__name__.lower()] = make
        return kind

    return add


torch.manual_seed(0)
_TABLE = torch.rand(2, 3)


@model(a=_TABLE, b=torch.rand(2, 3), flag=torch.rand(2, 3) > 0.5, n=torch.randint(0, 5, (2, 3)))
class Ends(nn.Module):
    """A scalar output, an input returned unchanged, an output twice, integers out of comparisons."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, flag: torch.Tensor, n: torch.Tensor) -> Any:
        total = a + b
        chosen = torch.where(flag, a, b)
        return {"total": total, "again": total, "chosen": chosen, "sum": (a * n).sum(), "same": a, "more": a > b}


@model(image=torch.rand(1, 3, 8, 8))
class Same(nn.Module):
    """Returns its input."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


class Pair(NamedTuple):
    """An output with names."""

    mean: torch.Tensor
    parts: list[torch.Tensor]


@model(x=torch.randn(1, 8))
class Nested(nn.Module):
    """A named tuple with a list in it, as one of two."""

    def forward(self, x: torch.Tensor) -> Any:
        return Pair(x.mean(-1), list(x.split(4, -1))), {"square": x * x, "deeper": {"half": x / 2}}


@model(image=torch.rand(3, 3, 24, 24))
class Batched(nn.Module):
    """Three images at once, a hard swish, an adaptive pool that does not divide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16 * 25, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.out(F.adaptive_avg_pool2d(F.hardswish(self.conv(image)), 5).flatten(1))


@model(x=torch.rand(1, 16))
class Shared(nn.Module):
    """One linear layer in three places, one conv weight in two."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.conv = nn.Linear(16, 16), nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = F.relu(self.mix(x)) + x
        return self.conv(self.conv(x[:, None]))[:, 0]


@model(x=torch.randn(2, 6))
class Buffers(nn.Module):
    """Constant buffers of several dtypes, one of them an output."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.arange(12.0).view(2, 6))
        self.register_buffer("order", torch.tensor([5, 0, 3]))
        self.register_buffer("keep", torch.tensor([True, False, True]))

    def forward(self, x: torch.Tensor) -> Any:
        return (x * self.anchors)[:, self.order] * self.keep, self.anchors, self.order


def _kept() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)


@model(
    levels=[torch.rand(1, 4, 8, 8), torch.rand(1, 6, 4, 4)],
    kept=(_kept(), _kept()),
    extra={"bias": torch.randn(1, 16)},
    gain=2.0,
)
class Containers(nn.Module):
    """Feature maps as a list, a cache of keys and values as pairs a layer, a dict, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in (4, 6))
        self.query = nn.Linear(16, 16)

    def forward(self, levels: Any, kept: Any, extra: Any = None, gain: float = 1.0) -> Any:
        x = (
            sum(conv(level).mean((2, 3)) for conv, level in zip(self.lateral, levels, strict=True)) * gain
            + extra["bias"]
        )
        grown = []
        for old_keys, old_values in kept:
            query = self.query(x).view(1, 2, 1, 8)
            keys = torch.cat([old_keys[:, :, 1:], query], 2)
            values = torch.cat([old_values[:, :, 1:], query.relu()], 2)
            x = x + F.scaled_dot_product_attention(query, keys, values).reshape(1, 16)
            grown.append((keys, values))
        return {"x": x, "kept": grown}


@model(x=torch.randn(2, 6, 16), mask=torch.rand(2, 6) > 0.5)
class Masked(nn.Module):
    """Rows that a mask selects are computed alone, written back, and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Any:
        y = torch.zeros_like(x)
        y[mask] = F.gelu(self.mix(self.norm(x[mask])).view(-1, 2, 8).flatten(1))
        y[x > 1] += 1
        y[~mask] *= 0.5
        return y, x[mask].mean(0), x[mask].amax(0)


@model(x=torch.randn(1, 12, 16))
class Experts(nn.Module):
    """A mixture of experts that takes each one's tokens out, as published language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(16, 24), nn.SiLU(), nn.Linear(24, 16)) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.view(-1, 16)
        weights, chosen = torch.topk(self.gate(tokens).softmax(-1), 2, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(tokens)
        mask = F.one_hot(chosen, 4).permute(2, 1, 0)
        for number, expert in enumerate(self.experts):
            rank, token = torch.where(mask[number])
            out.index_add_(0, token, expert(tokens[token]) * weights[token, rank, None])
        return out.view_as(x)


@model(source=torch.randn(1, 6, 16), target=torch.randn(1, 5, 16), padding=torch.tensor([[False] * 5 + [True]]))
class Translator(nn.Module):
    """PyTorch's own transformer with a causal mask and a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)

    def forward(self, source: torch.Tensor, target: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.transformer(source, target, tgt_mask=mask, src_key_padding_mask=padding)


@model(image=torch.rand(1, 3, 16, 16))
class Scripted(nn.Module):
    """A scripted part in a module that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = (
            nn.Conv2d(3, 8, 3, 2, 1),
            torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardswish())),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.gate(self.conv(image)).mean((2, 3))


@model(clip=torch.rand(1, 3, 4, 16, 16))
class Clip5(nn.Module):
    """Five axes in and out, mixed 2-D and 3-D work, a permute over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.flat = nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0)), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, clip: torch.Tensor) -> Any:
        x = F.relu(self.deep(clip))
        y = self.flat(x.transpose(1, 2).flatten(0, 1)).view(1, 4, 8, 16, 16)
        return {"frames": y, "mean": F.avg_pool3d(x, 2), "most": F.max_pool3d(x, (1, 2, 2))}


@model(levels=torch.randint(0, 256, (1, 3, 12, 12), dtype=torch.uint8), scale=torch.tensor(0.5))
class Bytes(nn.Module):
    """Bytes of an image and a scalar in; bytes out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, levels: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        x = self.conv(levels.float() / 255 - 0.5) * scale
        return (x.sigmoid() * 255).round().to(torch.uint8)


@model(x=torch.randint(-100, 100, (4, 5), dtype=torch.int32), y=torch.randint(1, 9, (4, 5), dtype=torch.int32))
class Integers(nn.Module):
    """Arithmetic of integers, sorting by them, counting."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return {
            "floor": torch.div(x, y, rounding_mode="floor"), "left": torch.remainder(x, y), "least": torch.minimum(x, y),
            "largest": x.amax(1), "where": x.argmax(1), "count": (x > 0).sum(), "any": (x > 90).any(1), "total": x.sum(),
        }  # fmt: skip


@model(x=torch.randn(3, 10))
class Order(nn.Module):
    """Top entries, sorting, their places, one-hot, gather, flips, rolls."""

    def forward(self, x: torch.Tensor) -> Any:
        best, where = x.topk(4)
        ordered, places = x.sort(descending=True)
        hot = F.one_hot(where[:, 0], 10).float()
        return {"best": best, "where": where, "ordered": ordered, "back": x.gather(1, places), "hot": hot,
                "flip": x.flip(1), "roll": x.roll((1, 3), (0, 1)), "sum": x.cumsum(1)}  # fmt: skip


@model(x=torch.randn(2, 3, 4, 4), half=torch.randn(2, 3).half())
class Types(nn.Module):
    """Half precision in, double precision within."""

    def forward(self, x: torch.Tensor, half: torch.Tensor) -> Any:
        return x.double().mean((2, 3)).float() + half.float(), half * 2


@model(x=torch.rand(2, 3, 2, 2, 3, 2))
class SixAxes(nn.Module):
    """Six axes, as windows make them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 4, 1, 3, 5).reshape(2, 6, 12).softmax(-1)


@model(x=torch.tensor([0.5, 1.5, -2.0]))
class Vector(nn.Module):
    """One axis in, a scalar and a matrix out."""

    def forward(self, x: torch.Tensor) -> Any:
        return x.norm(), torch.outer(x, x), torch.stack([x.min(), x.max(), x.std()])


@model(x=torch.randn(1, 6, 8), lengths=torch.tensor([4]))
class Lengths(nn.Module):
    """A sequence and how much of it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        keep = torch.arange(6)[None] < lengths[:, None]
        y = self.mix(x).masked_fill(~keep[..., None], 0.0)
        last = y.gather(1, (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, 8))[:, 0]
        return torch.cat([y.sum(1) / lengths[:, None], last], -1)


@model(x=torch.randn(2, 8))
class Maths(nn.Module):
    """Functions that few networks use."""

    def forward(self, x: torch.Tensor) -> Any:
        p = x.abs() + 0.1
        return {
            "a": torch.log1p(p) + torch.expm1(x.clamp(-1, 1)) + torch.rsqrt(p) + torch.atan2(x, p),
            "b": torch.erf(x) + F.softsign(x) + F.mish(x) + F.selu(x) + F.celu(x) + F.hardtanh(x) + F.relu6(x),
            "c": torch.logsumexp(x, 1) + x.var(1) + x.prod(1) + torch.log2(p).sum(1) + x.abs().amax(1).ceil(),
            "d": torch.lerp(x, p, 0.3) + torch.addcmul(x, x, p) + x.sign() + x.frac() + x.trunc() + torch.hypot(x, p),
            "e": F.logsigmoid(x) + F.tanhshrink(x) + F.softshrink(x) + F.hardshrink(x) + F.threshold(x, 0.1, -1.0),
            "f": torch.sinh(x)
            + torch.cosh(x)
            + torch.tan(x * 0.3)
            + torch.asin(x.tanh())
            + torch.atan(x)
            + x.acos().nan_to_num(),
        }


globals().update(FACTORIES)
