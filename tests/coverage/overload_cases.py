"""Functions called otherwise: other dtypes, in place, over other axes; complex numbers, Fourier transforms, nn modules."""

# ruff: noqa: PLW0108 - torch.export traces a function, not a packet of overloads

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.coverage.aten_cases import IMAGE, INDEX, POSITIVE, UNIT, VOLUME, B, C, Case, K, M, N, T, X, Y, _draw
from tests.coverage.function_inputs import BATCHED, HEADS, I32, LINE, MASK, NATURAL, PLACES, SQUARE, P, V, W

SPIN = _draw(4, 3, 2, seed=50)
TURN = _draw(4, 3, 2, seed=51)


def _low_pass(spectrum: T) -> T:
    spectrum[..., 3:] = 0
    spectrum[..., 0].mul_(0.5j)
    return torch.fft.irfft(spectrum)


def _modes(spectrum: T) -> T:
    """Some of a spectrum in a new one, as neural operators do."""
    out = torch.zeros_like(spectrum)
    more = torch.zeros(spectrum.shape, dtype=spectrum.dtype)
    out[..., :2, :2] = spectrum[..., :2, :2] * (1 + 1j)
    more[..., -2:, :2] = spectrum[..., -2:, :2]
    return torch.fft.irfft2(out + more)


COLUMN = _draw(6, 1, seed=54)
TURNS = torch.polar(torch.ones(4, 3), _draw(4, 3, seed=52))
CLASSES = torch.tensor([0, 2, 5, 1])
KERNELS = _draw(3, 4, 3, 3, seed=66)
SIGNAL = _draw(2, 32, seed=52)
SPD = SQUARE @ SQUARE.t()
FIXED = torch.tensor([True, False, True, True, False, False])


def _write(function: Any) -> Any:
    """What `function` leaves of a copy of its first argument."""

    def written(x: T, *others: T) -> T:
        x = x.clone()
        function(x, *others)
        return x

    return written


def _item(x: T, place: Any, value: Any) -> None:
    x[place] = value


def _grown(x: T, place: Any, value: Any) -> None:
    x[place] += value


SHIFTED = torch.tensor([-100, 7, -1, 0], dtype=torch.int32)
BYTES = torch.tensor([[0], [255], [129]], dtype=torch.uint8)

CASES: dict[str, Case] = {
    "logcumsumexp of nothing": (
        lambda x: torch.logcumsumexp(torch.cat([x * 0 - torch.inf, x * 0 - torch.inf, x], 1), 1)[:, -6:], (M,)),
    "shift to the sign": (lambda n: (n >> 31, n >> torch.tensor([31, 1, 0, 4], dtype=torch.int32)), (SHIFTED,)),
    "bits of bytes": (lambda n: ((n >> torch.arange(8, dtype=torch.uint8)) & 1).int(), (BYTES,)),
    "solve one system": (lambda b: torch.linalg.solve(SQUARE, torch.stack([b, b + 1])), (_draw(*SQUARE.shape, seed=80),)),
    "solve_triangular one system": (
        lambda b: torch.linalg.solve_triangular(SPD, torch.stack([b, b + 1]), upper=True), (_draw(*SQUARE.shape, seed=81),)),
    "searchsorted a number": (lambda x: torch.searchsorted(x.flatten().cumsum(0).abs().cumsum(0), 0.3), (P,)),
    "searchsorted with an order": (
        lambda x, y: torch.searchsorted(x, y, sorter=torch.tensor([2, 0, 1])), (torch.tensor([0.5, 0.9, 0.1]), UNIT)),
    "repeat_interleave one count": (
        lambda x: torch.repeat_interleave(x, torch.tensor([2]), dim=0, output_size=2 * x.shape[0]), (M,)),
    "scatter_ multiply of a part": (
        lambda x, y: x.clone().scatter_(1, torch.tensor([[0, 2], [1, 0]]), y, reduce="multiply"), (M, M + 1)),
    "scatter at the largest": (
        lambda x, n: x.clone().scatter(0, torch.topk(n, 3)[0], torch.arange(3.0)),
        (_draw(8, seed=82), torch.tensor([1, 5, 5, 2]))),
    "max of two": (lambda x, y: torch.max(x, y), (X, Y)),
    "max all": (lambda x: torch.max(x), (X,)),
    "min int dim": (lambda n: tuple(torch.min(n, 1)), (torch.argsort(M, 1),)),
    "argmax int": (lambda n: n.argmax(-1), (torch.argsort(M, 1),)),
    "argmax bool": (lambda b: b.int().argmax(-1), (B,)),
    "argmin keepdim": (lambda x: x.argmin(1, keepdim=True), (X,)),
    "topk int": (lambda n: n.topk(2)[0], (N,)),
    "topk unsorted": (lambda x: x.topk(2, sorted=False)[0].sum(-1), (M,)),
    "sort int": (lambda n: n.sort(-1)[0], (N,)),
    "argsort int": (lambda n: n.argsort(1), (torch.argsort(M, 1),)),
    "argsort stable": (lambda n: torch.argsort(n, dim=1, stable=True), (N,)),
    "sort bool": (lambda b: b.int().sort(-1)[0], (B,)),
    "prod int": (lambda n: n.prod(-1), (N,)),
    "cumsum int32": (lambda n: n.cumsum(-1, dtype=torch.int32), (I32,)),
    "cumsum float of int": (lambda n: n.cumsum(-1, dtype=torch.float32), (N,)),
    "sum int32": (lambda n: n.sum(-1), (I32,)),
    "mean of bool as float": (lambda b: b.float().mean((1, 2)), (B,)),
    "std all dims": (lambda x: x.std((0, 1, 2, 3)), (X,)),
    "var keepdim": (lambda x: x.var(-1, keepdim=True, correction=0), (X,)),
    "any keepdim": (lambda b: b.any(1, keepdim=True), (B,)),
    "any float": (lambda x: (x > 1).any(-1), (X,)),
    "all int": (lambda n: n.all(-1), (N,)),
    "pow int tensor": (lambda n, k: n**k, (K, K % 3)),
    "pow scalar of int": (lambda n: 2**n, (NATURAL,)),
    "pow cube": (lambda x: x**3, (X,)),
    "pow 1.5": (lambda x: x**1.5, (POSITIVE,)),
    "pow even": (lambda x: x**4.0, (X,)),
    "pow of int by float": (lambda n: n**0.5, (K,)),
    "divide ints": (lambda n, k: n / k, (N, K)),
    "divide int by scalar": (lambda n: n / 4, (N,)),
    "floor divide floats": (lambda x, y: x // y, (X, POSITIVE)),
    "floor divide negative": (lambda n: n // -3, (N,)),
    "remainder floats": (lambda x: x % 0.7, (X,)),
    "remainder negative": (lambda n: n % -3, (N,)),
    "remainder int32": (lambda n: n % 3, (I32,)),
    "divmod": (lambda n: (n // 4, n % 4), (NATURAL,)),
    "rpow": (lambda x: 10.0**x, (X,)),
    "rdiv": (lambda x: 1 / x, (POSITIVE,)),
    "bool times float": (lambda b, x: b * x, (B, X)),
    "bool plus bool": (lambda b, c: b + c, (B, C)),
    "bool times bool": (lambda b, c: b * c, (B, C)),
    "one minus bool": (lambda b: 1 - b.float(), (B,)),
    "bool compare": (lambda b: b == True, (B,)),  # noqa: E712 - people write it
    "int compare float": (lambda n: n > 0.5, (N,)),
    "int plus float": (lambda n, x: n + x, (N, _draw(3, 4))),
    "int times scalar": (lambda n: n * 0.5, (N,)),
    "not of float": (lambda x: ~(x > 0), (X,)),
    "abs int32": (lambda n: n.abs(), (I32,)),
    "sign int32": (lambda n: n.sign(), (I32,)),
    "relu int": (lambda n: F.relu(n), (N,)),
    "clamp tensors int": (lambda n, k: n.clamp(max=k), (N, K)),
    "clamp one tensor": (lambda x, y: torch.clamp(x, min=y), (X, Y)),
    "masked fill int": (lambda n: n.masked_fill(n > 2, -1), (N,)),
    "masked fill inf": (lambda x, m: x.masked_fill(m, float("-inf")).softmax(-1), (M, MASK & (torch.arange(6) > 0))),
    "where mixed": (lambda b, x: torch.where(b, x, 1), (B, X)),
    "where broadcast": (lambda b, x: torch.where(b, x, torch.zeros(1)), (MASK[:, :1].contiguous(), M)),
    "triu int": (lambda n: n.triu(1), (N,)),
    "tril mask": (lambda x: x.masked_fill(torch.ones(4, 6).tril() == 0, -1.0), (M,)),
    "zeros_like bool": (lambda b: torch.zeros_like(b) | b, (B,)),
    "full bool": (lambda b: torch.full((5,), True) & b, (B,)),
    "arange float": (lambda x: x + torch.arange(0, 3, 0.5), (M,)),
    "arange of size": (lambda x: x * torch.arange(x.shape[1], dtype=x.dtype), (M,)),
    "new_tensor": (lambda x: x + x.new_tensor([1.0, 2, 3, 4, 5, 6]), (M,)),
    "one_hot float": (lambda n: F.one_hot(n, 8).float() @ torch.ones(8, 2), (NATURAL,)),
    "one_hot int32": (lambda n: F.one_hot(n.long(), 8), (NATURAL.int(),)),
    "embedding int32": (lambda n: F.embedding(n, M.repeat(2, 1)), (NATURAL.int(),)),
    "float to uint8": (lambda x: x.abs().byte(), (X,)),
    "float to bool": (lambda x: x.floor().bool(), (X,)),
    "int to bool and": (lambda n: n.bool() & (n > 1), (N,)),
    "trunc to int": (lambda x: (x * 3).to(torch.int64), (X,)),
    "round to int": (lambda x: x.round().int(), (X,)),
    "half inside": (lambda x: (x.half() * 2).float(), (X.half().float(),)),
    "long of bool": (lambda b: b.long() * 3, (B,)),
    "eq and sum": (lambda n, k: (n == k).sum(-1), (N, K)),
    "pad int": (lambda n: F.pad(n, (1, 1), value=7), (N,)),
    "pad bool": (lambda b: F.pad(b, (1, 1), value=True), (B,)),
    "cat ints": (lambda n, k: torch.cat([n, k], -1), (N, K)),
    "cat mixed": (lambda n, x: torch.cat([n, x], -1), (N, BATCHED)),
    "stack last": (lambda x, y: torch.stack([x, y], -1), (X, Y)),
    "stack bools": (lambda b, c: torch.stack([b, c]), (B, C)),
    "roll int": (lambda n: n.roll(1, -1), (N,)),
    "flip bool": (lambda b: b.flip(-1), (B,)),
    "gather int": (lambda n: n.gather(1, (n % 3)), (N,)),
    "index bool mask fixed": (lambda x: x[:, FIXED], (M,)),
    "index negative": (lambda x, i: x[:, -i - 1], (M, INDEX)),
    "index two apart": (lambda x, i: x[i % 2, :, i], (X, INDEX)),
    "index list": (lambda x: x[:, [0, 2, 5]], (M,)),
    "index empty": (lambda x: torch.cat([x[:0], x]), (M,)),
    "index last": (lambda x: x[..., -1], (X,)),
    "index row by argmax": (lambda x, n: x[torch.arange(2), n.argmax(-1)], (BATCHED, _draw(2, 3, seed=60))),
    "gather last": (lambda x, n: x.gather(1, n.view(2, 1, 1).expand(2, 1, 4)), (BATCHED, torch.tensor([2, 1]))),
    "write rows grown": (_write(lambda x, v: _grown(x, (slice(None), 2), v)), (M, _draw(4))),
    "write fixed mask": (_write(lambda x: _item(x, (slice(None), FIXED), 0.0)), (M,)),
    "write two slices": (_write(lambda x: _item(x, (slice(1, 3), slice(0, None, 2)), 9.0)), (M,)),
    "write last": (_write(lambda x, v: _item(x, (Ellipsis, -1), v)), (M, _draw(4))),
    "write rows by index": (_write(lambda x, i, v: _item(x, i, v)), (M, INDEX, V)),
    "write rows by int32": (_write(lambda x, i, v: _item(x, i, v)), (M, INDEX.int(), V)),
    "write pairs by int32": (_write(lambda x, i, v: _item(x, (i, i), v)), (M, INDEX.int(), _draw(3))),
    "write pairs grown": (_write(lambda x, i, v: _grown(x, (i, i), v)), (M, INDEX, _draw(3))),
    "index by int32": (lambda x, i: x[i], (M, INDEX.int())),
    "index pairs by int32": (lambda x, i: x[i, i], (M, INDEX.int())),
    "write int": (_write(lambda n: _item(n, (slice(None), 0), 5)), (N,)),
    "write int mask": (_write(lambda n: _item(n, n < 0, 0)), (N,)),
    "write bool": (_write(lambda b: _item(b, (slice(None), 0), True)), (B,)),
    "write diagonal": (_write(lambda x: x.diagonal().fill_(2.0)), (M,)),
    "add_": (_write(lambda x, y: x.add_(y, alpha=2).mul_(y).sub_(1).div_(2)), (X, Y)),
    "relu_": (_write(lambda x: F.relu_(x)), (X,)),
    "zero_": (_write(lambda x: x[:, :2].zero_()), (M,)),
    "fill_": (_write(lambda x: x[1].fill_(3.0)), (M,)),
    "scatter_": (_write(lambda x, i: x.scatter_(1, i, 1.0)), (M, PLACES)),
    "scatter_add_": (_write(lambda x, i, v: x.scatter_add_(1, i, v)), (M, PLACES, _draw(4, 2))),
    "scatter_ multiply": (_write(lambda x, i, v: x.scatter_(1, i, v, reduce="multiply")), (M, PLACES, _draw(4, 2))),
    "index_fill_": (_write(lambda x, i: x.index_fill_(1, i, 0.5)), (M, INDEX)),
    "index_copy_": (_write(lambda x, i, v: x.index_copy_(0, i, v)), (M, INDEX, _draw(3, 6))),
    "masked_scatter_": (_write(lambda x, m, v: x.masked_scatter_(m, v)), (M, MASK, P)),
    "dropout twice": (lambda x: F.dropout(x, 0.5, training=False, inplace=False) * 2, (M,)),
    "unsqueeze_": (lambda x: x.clone().unsqueeze_(1).squeeze_(1).t_(), (M,)),
    "clamp_min_": (_write(lambda x: x.clamp_min_(0.3).clamp_max_(1.0)), (M,)),
    "lerp_": (_write(lambda x, y: x.lerp_(y, 0.9)), (M, P)),
    "rotary complex": (
        lambda x, y: torch.view_as_real(torch.view_as_complex(x) * torch.view_as_complex(y)), (SPIN, TURN)),
    "complex abs": (lambda x: torch.view_as_complex(x).abs(), (SPIN,)),
    "complex real imag": (lambda x: torch.view_as_complex(x).real + torch.view_as_complex(x).imag, (SPIN,)),
    "complex conj": (lambda x: torch.view_as_real(torch.view_as_complex(x).conj() * 2), (SPIN,)),
    "complex angle": (lambda x: torch.view_as_complex(x).angle(), (SPIN,)),
    "complex made": (lambda x, y: torch.view_as_real(torch.complex(x, y) * torch.complex(y, x)), (M, P)),
    "number minus integers": (lambda n: 1.0 - n, (N,)),
    "number minus int32": (lambda n: 0.5 - n, (N.int(),)),
    "integers // float": (lambda n: n // 1.5, (N,)),
    "number // integers": (lambda n: 9 // n, (POSITIVE.int().abs() + 1,)),
    "number // floats": (lambda x: 1.5 // x, (POSITIVE,)),
    "mask // integers": (lambda b, n: b // n, (B, N.abs() + 1)) if B.shape == N.shape else (lambda n: n // 2, (N,)),
    "integers ** floats": (lambda n, x: n ** x, (N.abs() + 1, _draw(2, 3, 4, seed=55))),
    "int32 ** int64": (lambda n, m: n.int() ** m, (N.abs(), (N % 3).abs())),
    "turned: number minus": (lambda x: 1.0 - x.mT, (M,)),
    "turned: number minus scaled": (lambda x: 3 * (1.0 - (2 * x.permute(1, 0)).relu()), (M,)),
    "turned: integer minus": (lambda n: 7 - n.permute(2, 0, 1), (N,)),
    "turned: column minus": (lambda x: COLUMN - x.mT, (M,)),
    "turned: row minus": (lambda x: COLUMN.view(1, -1) - x.mT[:, :1], (M,)),
    "turned: number over": (lambda x: 2.0 / x.mT, (POSITIVE,)),
    "turned: column over": (lambda x: COLUMN[:5] / x.mT, (POSITIVE,)),
    "turned: reciprocal": (lambda x: x.mT.reciprocal(), (POSITIVE,)),
    "turned: erf": (lambda x: torch.erf(x.mT), (M,)),
    "turned: arcs": (lambda x: torch.stack([torch.asin(x.mT / 9), torch.acos(x.mT / 9), torch.atanh(x.mT / 9)]), (M,)),
    "turned: mask": (lambda x, y: (1.0 - x.mT)[None] + y.permute(1, 2, 0), (M, _draw(4, 3, 6, seed=53))),
    "complex of a number": (lambda x, y: torch.view_as_real((x + 1j * y) * (0.5 - 2j) / (1 + 3j)), (M, P)),
    "complex exp": (lambda x: torch.view_as_real(torch.exp(-x.abs() + 1j * x)), (M,)),
    "complex log": (lambda x: torch.view_as_real(torch.log(torch.view_as_complex(x))), (SPIN,)),
    "complex slices": (lambda x: torch.view_as_complex(x)[..., 1:].sum(-1).abs(), (SPIN,)),
    "complex rows": (lambda i: torch.view_as_real(TURNS[i]), (INDEX,)),
    "complex table": (lambda x: torch.view_as_real(torch.view_as_complex(x) * TURNS[:1, :1]), (SPIN,)),
    "complex matmul": (lambda x, y: torch.matmul(torch.complex(x, -x), torch.complex(y, x).mT).abs(), (M, P)),
    "complex by real": (lambda x, y: torch.view_as_real(torch.complex(x, y) @ (x.mT * (2 + 0j))), (M, P)),
    "complex einsum": (lambda x, y: torch.einsum("ij,kj->ik", torch.complex(x, y), y + 0j).real, (M, P)),
    "complex cat": (lambda x, y: torch.view_as_real(torch.cat([torch.complex(x, y), x + 0j])).flatten(1), (M, P)),
    "complex where": (lambda x, y: torch.view_as_real(torch.where(x > 0, torch.complex(x, y), 1j * y)), (M, P)),
    "complex quotient": (lambda x, y: torch.view_as_real(torch.complex(x, y) / torch.complex(y, 1 + x * x)), (M, P)),
    "complex square": (lambda x, y: torch.view_as_real(torch.complex(x, y) ** 2 - torch.complex(y, x).square()), (M, P)),
    "complex root": (lambda x, y: torch.view_as_real(torch.complex(x, y) ** 0.5), (M, P)),
    "complex written": (_write(lambda x: torch.view_as_complex(x)[..., 0].mul_(1j)), (SPIN,)),
    "complex mean": (lambda x: torch.view_as_complex(x).mean(0).angle(), (SPIN,)),
    "complex parts": (lambda x: torch.stack([part.abs() for part in torch.view_as_complex(x).chunk(2, 0)]), (SPIN,)),
    "complex low pass": (lambda x: _low_pass(torch.fft.rfft(x)), (SIGNAL,)),
    "complex modes": (lambda x: _modes(torch.fft.rfft2(x)), (IMAGE,)),
    "complex masked": (
        lambda x: torch.view_as_real(torch.view_as_complex(x).masked_fill(torch.tensor([True, False, False]), 0)), (SPIN,)),
    "complex filter": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(x.flip(-1)).conj()), (SIGNAL,)),
    "complex rolled": (lambda x: torch.fft.fft(torch.view_as_complex(x).roll(1, -1), norm="ortho").abs(), (SPIN,)),
    "polar": (lambda x, y: torch.view_as_real(torch.polar(x, y)), (POSITIVE, Y)),
    "fft": (lambda x: torch.view_as_real(torch.fft.fft(x)), (SIGNAL,)),
    "fft abs": (lambda x: torch.fft.rfft(x).abs(), (SIGNAL,)),
    "fft ifft": (lambda x: torch.fft.ifft(torch.fft.fft(x)).real, (SIGNAL,)),
    "fft2": (lambda x: torch.fft.fft2(x).abs(), (IMAGE,)),
    "rfft2": (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), (IMAGE,)),
    "rfft ortho": (lambda x: torch.view_as_real(torch.fft.rfft(x, norm="ortho")), (SIGNAL,)),
    "fftshift": (lambda x: torch.fft.fftshift(x), (SIGNAL,)),
    "stft": (lambda x: torch.view_as_real(
        torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True)), (SIGNAL,)),
    "stft power": (lambda x: torch.stft(x, 16, 8, return_complex=True).abs() ** 2, (SIGNAL,)),
    "istft": (lambda x: torch.istft(
        torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True), 16, 4,
        window=torch.hann_window(16)), (SIGNAL,)),
    "cholesky": (lambda x: torch.linalg.cholesky(x), (SPD,)),
    "slogdet": (lambda x: tuple(torch.linalg.slogdet(x)), (SPD,)),
    "solve vector": (lambda a, b: torch.linalg.solve(a, b), (SQUARE, _draw(3, seed=61))),
    "solve batch": (lambda a, b: torch.linalg.solve(a, b), (torch.stack([SQUARE, SPD]), _draw(2, 3, 2, seed=62))),
    "solve right": (lambda a, b: torch.linalg.solve(a, b, left=False), (SQUARE, _draw(2, 3, seed=63))),
    "solve_triangular": (lambda a, b: torch.linalg.solve_triangular(a.triu(), b, upper=True), (SPD, _draw(3, 2))),
    "inv 8": (lambda x: torch.linalg.inv(x), (_draw(8, 8, seed=64) + 8 * torch.eye(8),)),
    "det 4": (lambda x: torch.linalg.det(x), (_draw(4, 4, seed=65),)),
    "interpolate half": (lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"), (IMAGE,)),
    "interpolate 1.5": (lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), (IMAGE,)),
    "interpolate 1.5 nearest": (lambda x: F.interpolate(x, scale_factor=1.5), (IMAGE,)),
    "interpolate recomputed": (
        lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear", recompute_scale_factor=True), (IMAGE,)),
    "interpolate bicubic half": (lambda x: F.interpolate(x, scale_factor=0.5, mode="bicubic"), (IMAGE,)),
    "grid nearest": (lambda x, g: F.grid_sample(x, g, mode="nearest", align_corners=True), (IMAGE, _draw(1, 3, 5, 2))),
    "grid border": (lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=True), (IMAGE, _draw(1, 3, 5, 2))),
    "max_pool ceil padded": (lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), (IMAGE,)),
    "avg_pool ceil padded": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), (IMAGE,)),
    "avg_pool oblong": (lambda x: F.avg_pool2d(x, (2, 3), (1, 2), (1, 0)), (IMAGE,)),
    "max_pool unbatched": (lambda x: F.max_pool2d(x[0], 2), (IMAGE,)),
    "conv unbatched": (lambda x: F.conv2d(x[0], KERNELS), (IMAGE,)),
    "avg_pool unbatched": (lambda x: F.avg_pool2d(x[0], 2), (IMAGE,)),
    "adaptive unbatched": (lambda x: F.adaptive_avg_pool2d(x[0], 1), (IMAGE,)),
    "poisson_nll": (lambda x, y: F.poisson_nll_loss(x, y), (X, POSITIVE)),
    "margin_ranking": (lambda x, y: F.margin_ranking_loss(x, y, torch.ones(6), margin=0.1), (V, W)),
    "triplet": (lambda x, y: F.triplet_margin_loss(x, y, x * 0.5), (M, P)),
    "soft_margin": (lambda x, y: F.soft_margin_loss(x, y.sign()), (M, P)),
    "hinge": (lambda x, y: F.hinge_embedding_loss(x, y.sign()), (M, P)),
    "cosine_embedding": (lambda x, y: F.cosine_embedding_loss(x, y, torch.ones(4)), (M, P)),
    "masked mean": (lambda x, m: (x * m).sum(1) / m.sum(1).clamp(min=1), (M, MASK)),
    "softmax of none": (lambda x: F.softmax(x, -1, dtype=torch.float32), (M,)),
    "gelu unit": (lambda x: F.gelu(x) * torch.sigmoid(1.702 * x), (UNIT,)),
    "unfold twice": (lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2), (IMAGE,)),
    "volume unfold": (lambda x: x.unfold(2, 2, 2).mean(-1), (VOLUME,)),
    "expand minus": (lambda v: v.expand(2, 3, -1), (V,)),
    "unravel_index": (lambda n: torch.unravel_index(n, (3, 4)), (NATURAL,)),
    "isin scalars": (lambda n: torch.isin(n, 3), (N,)),
    "histogram by compare": (lambda n: (n.flatten()[:, None] == torch.arange(8)).sum(0), (NATURAL,)),
    "vmap": (lambda x: torch.vmap(lambda row: row.softmax(0) * row.sum())(x), (M,)),
    "einsum attention": (lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k), (HEADS[0], HEADS[1])),
}  # fmt: skip


def _module(name: str, module: nn.Module, *inputs: T) -> None:
    module.eval().requires_grad_(False)
    CASES[f"nn.{name}"] = (lambda *given: module(*given), inputs)


torch.manual_seed(0)
_module("LSTMCell", nn.LSTMCell(6, 5), M)
_module("GRUCell", nn.GRUCell(6, 5), M)
_module("RNNCell", nn.RNNCell(6, 5), M)
_module("Bilinear", nn.Bilinear(6, 6, 3), M, P)
_module("Softmax2d", nn.Softmax2d(), IMAGE)
_module("PReLU", nn.PReLU(4), IMAGE)
_module("RReLU", nn.RReLU(), X)
_module("Threshold", nn.Threshold(0.1, 20), X)
_module("Hardtanh", nn.Hardtanh(-0.5, 0.7), X)
_module("ConstantPad3d", nn.ConstantPad3d(1, 0.5), VOLUME)
_module("ZeroPad1d", nn.ZeroPad1d(2), LINE)
_module("CircularPad2d", nn.CircularPad2d((1, 2, 3, 0)), IMAGE)
_module("Conv2d circular", nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), IMAGE)
_module("Conv2d reflect", nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), IMAGE)
_module("Conv2d same even", nn.Conv2d(4, 4, 4, padding="same", dilation=1), IMAGE)
_module("Conv1d grouped", nn.Conv1d(4, 8, 3, groups=4, dilation=2), LINE)
_module("ConvTranspose2d grouped", nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2, dilation=2), IMAGE)
_module("ConvTranspose1d depthwise", nn.ConvTranspose1d(4, 4, 4, 2, 1, groups=4), LINE)
_module("BatchNorm1d", nn.BatchNorm1d(6), M)
_module("BatchNorm3d", nn.BatchNorm3d(2), VOLUME)
_module("BatchNorm2d untracked", nn.BatchNorm2d(4, track_running_stats=False), IMAGE)
_module("InstanceNorm2d tracked", nn.InstanceNorm2d(4, affine=True, track_running_stats=True), IMAGE)
_module("GroupNorm 1", nn.GroupNorm(1, 4, affine=False), LINE)
_module("RMSNorm", nn.RMSNorm(6), M)
_module("MultiheadAttention", nn.MultiheadAttention(4, 2, batch_first=True), BATCHED, BATCHED, BATCHED)
_module("TransformerEncoderLayer", nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), BATCHED)
_module("TransformerDecoderLayer", nn.TransformerDecoderLayer(4, 2, 8, batch_first=True), BATCHED, BATCHED)
_module("Upsample", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGE)
_module("Fold", nn.Fold((4, 5), (2, 3), padding=0), _draw(1, 12, 9))
_module("PixelUnshuffle", nn.PixelUnshuffle(4), IMAGE)
_module("EmbeddingBag", nn.EmbeddingBag(8, 3, mode="sum"), NATURAL[0])
_module("LPPool2d", nn.LPPool2d(1.5, 3, ceil_mode=True), POSITIVE)
_module("CosineSimilarity", nn.CosineSimilarity(2), X, Y)
_module("PairwiseDistance", nn.PairwiseDistance(1), M, P)
