"""One small computation an ATen operator of PyTorch's core set, as a model that the chain takes."""

# ruff: noqa: PLW0108 - torch.export traces a function, not a packet of overloads

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

A = torch.ops.aten
T = torch.Tensor


def core() -> list[str]:
    """Names of the overloads that PyTorch tags as core, sorted: `abs.default`.

    From the schemas: `dir(torch.ops.aten)` knows only what was asked for before.
    """
    names = {
        schema.name.removeprefix("aten::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("aten::")
    }
    found = []
    for name in names:
        packet = getattr(A, name, None)
        overloads = packet.overloads() if hasattr(packet, "overloads") else []
        found += [f"{name}.{one}" for one in overloads if torch.Tag.core in getattr(packet, one).tags]
    return sorted(found)


def _draw(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> T:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


X = _draw(2, 3, 4, 5)
Y = _draw(2, 3, 4, 5, seed=1)
M = _draw(4, 6)
POSITIVE = _draw(2, 3, 4, 5, low=0.1, high=3.0)
UNIT = _draw(2, 3, 4, 5, low=-0.95, high=0.95)
ABOVE_ONE = _draw(2, 3, 4, 5, low=1.1, high=4.0)
IMAGE = _draw(1, 4, 8, 8)
VOLUME = _draw(1, 2, 4, 6, 6)
W63, KERNEL = _draw(6, 3, seed=5), _draw(6, 4, 3, 3, seed=6)
N = torch.randint(-7, 8, (2, 3, 4), generator=torch.Generator().manual_seed(2))
K = torch.randint(1, 8, (2, 3, 4), generator=torch.Generator().manual_seed(3))
B = X > 0
C = Y > 0
INDEX = torch.tensor([2, 0, 1])

Case = tuple[Callable[..., Any], tuple[T, ...]]
CASES: dict[str, Case] = {}

for _name in (
    "abs asinh atan ceil cos cosh elu erf exp expm1 floor isinf isnan neg relu round sigmoid sign sin sinh tanh trunc"
).split():
    CASES[f"{_name}.default"] = (getattr(A, _name).default, (X,))
for _name in "log log10 log1p log2 reciprocal rsqrt sqrt".split():
    CASES[f"{_name}.default"] = (getattr(A, _name).default, (POSITIVE,))
for _name in "acos asin atanh".split():
    CASES[f"{_name}.default"] = (getattr(A, _name).default, (UNIT,))
CASES["tan.default"] = (A.tan.default, (UNIT,))
CASES["acosh.default"] = (A.acosh.default, (ABOVE_ONE,))
for _name in "add sub mul div eq ge gt le lt ne fmod remainder".split():
    CASES[f"{_name}.Scalar"] = (functools.partial(lambda op, x: op(x, 1.5), getattr(A, _name).Scalar), (X,))
    CASES[f"{_name}.Tensor"] = (getattr(A, _name).Tensor, (X, Y))
for _name in "bitwise_and bitwise_or bitwise_xor".split():
    CASES[f"{_name}.Scalar"] = (functools.partial(lambda op, n: op(n, 5), getattr(A, _name).Scalar), (N,))
    CASES[f"{_name}.Tensor"] = (getattr(A, _name).Tensor, (N, K))
for _name in "logical_and logical_or logical_xor".split():
    CASES[f"{_name}.default"] = (getattr(A, _name).default, (B, C))
for _name in "maximum minimum atan2".split():
    CASES[f"{_name}.default"] = (getattr(A, _name).default, (X, Y))
for _name in "reflection_pad1d replication_pad2d reflection_pad2d reflection_pad3d replication_pad3d".split():
    _axes = int(_name[-2])
    CASES[f"{_name}.default"] = (
        functools.partial(lambda op, pads, x: op(x, pads), getattr(A, _name).default, [1, 2] * _axes),
        (_draw(1, 2, *[5] * _axes),),
    )

CASES |= {
    "_adaptive_avg_pool2d.default": (lambda x: A._adaptive_avg_pool2d(x, [2, 4]), (IMAGE,)),
    "_adaptive_avg_pool3d.default": (lambda x: A._adaptive_avg_pool3d(x, [2, 3, 3]), (VOLUME,)),
    "_cdist_forward.default": (lambda a, b: A._cdist_forward(a, b, 2.0, None), (M, _draw(5, 6, seed=4))),
    "_embedding_bag.default": (
        lambda w, i: A._embedding_bag(w, i, torch.tensor([0, 2]), False, 1)[0], (M, torch.tensor([0, 3, 2, 1]))
    ),
    "_fft_c2r.default": (lambda x: torch.fft.irfft(torch.fft.rfft(x)), (_draw(2, 8),)),
    "_fft_r2c.default": (lambda x: torch.view_as_real(torch.fft.rfft(x)), (_draw(2, 8),)),
    "_log_softmax.default": (lambda x: A._log_softmax(x, -1, False), (X,)),
    "_native_batch_norm_legit.no_stats": (
        lambda x: A._native_batch_norm_legit(x, None, None, True, 0.1, 1e-5)[0], (IMAGE,)
    ),
    "_native_batch_norm_legit_no_training.default": (
        lambda x: A._native_batch_norm_legit_no_training(x, torch.ones(4) * 2, torch.ones(4), torch.zeros(4),
                                                          torch.ones(4) * 3, 0.1, 1e-5)[0], (IMAGE,)
    ),
    "_pdist_forward.default": (lambda x: A._pdist_forward(x, 2.0), (M,)),
    "_softmax.default": (lambda x: A._softmax(x, 1, False), (X,)),
    "_to_copy.default": (lambda x: A._to_copy(x, dtype=torch.int32), (X,)),
    "addmm.default": (lambda b, x: A.addmm(b, x, W63, beta=0.5, alpha=2.0), (_draw(3), M)),
    "alias.default": (lambda x: A.alias(x) + 1, (X,)),
    "amax.default": (lambda x: A.amax(x, [1, -1], True), (X,)),
    "amin.default": (lambda x: A.amin(x, [1, -1]), (X,)),
    "any.default": (lambda b: A.any(b), (B,)),
    "any.dim": (lambda b: A.any.dim(b, 1), (B,)),
    "any.dims": (lambda b: A.any.dims(b, [1, 2]), (B,)),
    "arange.start_step": (lambda x: x + A.arange.start_step(0, 10, 2, dtype=torch.float32), (X,)),
    "argmax.default": (lambda x: A.argmax(x, 1), (X,)),
    "argmin.default": (lambda x: A.argmin(x), (X,)),
    "as_strided.default": (lambda x: A.as_strided(x, [3, 4], [6, 1], 0), (M,)),
    "adaptive_avg_pool1d.default": (lambda x: A.adaptive_avg_pool1d(x, [3]), (IMAGE[0],)),
    "avg_pool1d.default": (lambda x: A.avg_pool1d(x, [3], [2], [1], True, False), (IMAGE[0],)),
    "avg_pool2d.default": (lambda x: A.avg_pool2d(x, [3, 3], [2, 2], [1, 1], True, False), (IMAGE,)),
    "avg_pool3d.default": (lambda x: A.avg_pool3d(x, [2, 3, 3], [2, 2, 2], [0, 1, 1], False, True), (VOLUME,)),
    "bitwise_not.default": (A.bitwise_not.default, (N,)),
    "bmm.default": (A.bmm.default, (_draw(3, 4, 5), _draw(3, 5, 2))),
    "cat.default": (lambda a, b: A.cat([a, b], 1), (X, Y)),
    "clamp.Tensor": (lambda x, y: A.clamp.Tensor(x, y - 1, y + 1), (X, Y)),
    "clamp.default": (lambda x: A.clamp(x, -1.0, 0.5), (X,)),
    "clone.default": (lambda x: A.clone(x), (X,)),
    "col2im.default": (lambda x: A.col2im(x, [5, 6], [2, 2], [1, 1], [0, 0], [1, 2]), (_draw(1, 12, 12),)),
    "constant_pad_nd.default": (lambda x: A.constant_pad_nd(x, [1, 2, -1, 0], 0.5), (X,)),
    "convolution.default": (
        lambda x: A.convolution(x, KERNEL, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1), (IMAGE,)
    ),
    "copy.default": (lambda x, y: A.copy(x, y), (X, Y)),
    "cumsum.default": (lambda x: A.cumsum(x, 2), (X,)),
    "diagonal.default": (lambda x: A.diagonal(x, 1, 2, 3), (X,)),
    "div.Scalar_mode": (lambda x: A.div.Scalar_mode(x, 0.7, rounding_mode="floor"), (X,)),
    "div.Tensor_mode": (lambda x, y: A.div.Tensor_mode(x, y, rounding_mode="trunc"), (X, Y)),
    "embedding.default": (lambda i: A.embedding(M, i), (INDEX,)),
    "empty.memory_format": (lambda x: torch.cat([x, torch.empty(0, 6)]), (M,)),
    "empty_strided.default": (lambda x: torch.cat([x, torch.empty_strided((0, 6), (6, 1))]), (M,)),
    "expand.default": (lambda x: A.expand(x, [3, 4, 6]), (M,)),
    "fill.Scalar": (lambda x: A.fill(x, 2.0) + x, (X,)),
    "flip.default": (lambda x: A.flip(x, [1, 3]), (X,)),
    "full.default": (lambda x: x + A.full([5], 2.0), (X,)),
    "full_like.default": (lambda x: x + A.full_like(x, 2.0), (X,)),
    "gather.default": (lambda x, i: A.gather(x, 1, i), (M, torch.tensor([[0, 2], [5, 1], [3, 3], [4, 0]]))),
    "gelu.default": (lambda x: A.gelu(x), (X,)),
    "grid_sampler_2d.default": (lambda x, g: A.grid_sampler_2d(x, g, 0, 0, False), (IMAGE, _draw(1, 3, 5, 2, seed=7))),
    "hardtanh.default": (lambda x: A.hardtanh(x, -0.5, 1.0), (X,)),
    "index.Tensor": (lambda x, i: A.index(x, [None, i]), (X, INDEX)),
    "index_put.default": (lambda x, v: A.index_put(x, [torch.tensor([1, 3])], v), (M, _draw(2, 6, seed=8))),
    "index_select.default": (lambda x, i: A.index_select(x, 1, i), (X, INDEX)),
    "leaky_relu.default": (lambda x: A.leaky_relu(x, 0.1), (X,)),
    "logical_not.default": (lambda b: A.logical_not(b), (B,)),
    "masked_scatter.default": (lambda x, v: A.masked_scatter(x, torch.arange(6) % 2 == 0, v), (M, _draw(4, 6, seed=9))),
    "max.dim": (lambda x: tuple(A.max.dim(x, 1)), (X,)),
    "max_pool2d_with_indices.default": (lambda x: A.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])[0], (IMAGE,)),
    "max_pool3d_with_indices.default": (lambda x: A.max_pool3d_with_indices(x, [2, 2, 2], [2, 2, 2])[0], (VOLUME,)),
    "mean.default": (lambda x: A.mean(x), (X,)),
    "mean.dim": (lambda x: A.mean.dim(x, [2, 3], True), (X,)),
    "min.dim": (lambda x: tuple(A.min.dim(x, -1, True)), (X,)),
    "mm.default": (A.mm.default, (M, _draw(6, 5, seed=10))),
    "native_dropout.default": (lambda x: A.native_dropout(x, 0.5, False)[0], (X,)),
    "native_group_norm.default": (
        lambda x: A.native_group_norm(x, torch.ones(4) * 2, torch.ones(4), 1, 4, 64, 2, 1e-5)[0], (IMAGE,)
    ),
    "native_layer_norm.default": (
        lambda x: A.native_layer_norm(x, [6], torch.ones(6) * 2, torch.ones(6), 1e-5)[0], (M,)
    ),
    "nonzero.default": (lambda x: A.nonzero(x), (torch.tensor([[1.0, 0.0], [0.0, 2.0]]),)),
    "permute.default": (lambda x: A.permute(x, [0, 2, 3, 1]), (X,)),
    "pow.Scalar": (lambda x: A.pow.Scalar(2.0, x), (X,)),
    "pow.Tensor_Scalar": (lambda x: A.pow.Tensor_Scalar(x, 3), (X,)),
    "pow.Tensor_Tensor": (A.pow.Tensor_Tensor, (POSITIVE, Y)),
    "prod.default": (lambda x: A.prod(x), (UNIT[0, 0],)),
    "prod.dim_int": (lambda x: A.prod.dim_int(x, 1), (X,)),
    "repeat.default": (lambda x: A.repeat(x, [2, 1, 3]), (M,)),
    "scalar_tensor.default": (lambda x: x + A.scalar_tensor(2.0), (X,)),
    "scatter.src": (lambda x, v: A.scatter(x, 1, torch.tensor([[0, 2], [5, 1]]), v), (M, _draw(2, 2, seed=11))),
    "scatter.value": (lambda x: A.scatter(x, 1, torch.tensor([[0, 2], [5, 1]]), 3.0), (M,)),
    "scatter_add.default": (
        lambda x, v: A.scatter_add(x, 1, torch.tensor([[0, 2, 0], [5, 1, 1]]), v), (M, _draw(2, 3, seed=12))
    ),
    "scatter_reduce.two": (
        lambda x, v: A.scatter_reduce(x, 1, torch.tensor([[0, 2], [5, 1]]), v, "amax"), (M, _draw(2, 2, seed=13))
    ),
    "select.int": (lambda x: A.select(x, 1, 2), (X,)),
    "select_scatter.default": (lambda x, v: A.select_scatter(x, v, 1, 2), (M, _draw(4, seed=14))),
    "slice.Tensor": (lambda x: A.slice(x, 3, 1, 5, 2), (X,)),
    "slice_scatter.default": (lambda x, v: A.slice_scatter(x, v, 1, 1, 5, 2), (M, _draw(4, 2, seed=15))),
    "sort.default": (lambda x: tuple(A.sort(x, 1, True)), (X,)),
    "split_with_sizes.default": (lambda x: tuple(A.split_with_sizes(x, [1, 2, 2], 3)), (X,)),
    "squeeze.dim": (lambda x: A.squeeze.dim(x, 0), (IMAGE,)),
    "squeeze.dims": (lambda x: A.squeeze.dims(x, [0]), (IMAGE,)),
    "sum.dim_IntList": (lambda x: A.sum.dim_IntList(x, [1, 3]), (X,)),
    "topk.default": (lambda x: tuple(A.topk(x, 2, 1, True, True)), (X,)),
    "unsqueeze.default": (lambda x: A.unsqueeze(x, 1), (X,)),
    "upsample_bilinear2d.vec": (lambda x: A.upsample_bilinear2d.vec(x, [16, 12], False, None), (IMAGE,)),
    "upsample_nearest2d.vec": (lambda x: A.upsample_nearest2d.vec(x, None, [2.0, 3.0]), (IMAGE,)),
    "var.correction": (lambda x: A.var.correction(x, [1, 2], correction=1), (X,)),
    "var.dim": (lambda x: A.var.dim(x, [3], False), (X,)),
    "view.default": (lambda x: A.view(x, [2, 12, 5]), (X,)),
    "where.self": (lambda b, x, y: A.where(b, x, y), (B, X, Y)),
}  # fmt: skip

#: Overloads that no inference graph can hold in TFLite builtins, or that are none, with the reason.
CANNOT: dict[str, str] = {
    **dict.fromkeys(
        (name for name in core() if name.endswith("_backward.default")), "a gradient: only training computes it"
    ),
    "_local_scalar_dense.default": "a tensor's value as a Python number: control flow that depends on data",
    "_native_batch_norm_legit.default": "updates running statistics: only training does",
    "atan2.out": "writes into a given tensor; torch.export turns it into atan2.default",
    "rand.default": "random numbers",
    "randn.default": "random numbers",
    "randperm.default": "random numbers",
    "resize_.default": "changes a tensor's memory in place, to elements that nothing has set",
    "sym_is_contiguous.default": "memory layout: a truth in a graph of fixed shapes",
    "sym_numel.default": "a size: a number in a graph of fixed shapes",
    "sym_size.int": "a size: a number in a graph of fixed shapes",
    "sym_storage_offset.default": "memory layout: a number in a graph of fixed shapes",
    "sym_stride.int": "memory layout: a number in a graph of fixed shapes",
}


class Cases(nn.Module):
    """Several cases side by side: the inputs of all in, a dict of the outputs of all out."""

    def __init__(self, cases: list[Case]) -> None:
        super().__init__()
        self.cases = cases

    def forward(self, **inputs: T) -> dict[str, T]:
        """Inputs `i<case>_<position>`, outputs `o<case>_<position>`."""
        found = {}
        for number, (run, given) in enumerate(self.cases):
            made = run(*[inputs[f"i{number}_{place}"] for place in range(len(given))])
            for place, one in enumerate(made if isinstance(made, tuple) else (made,)):
                found[f"o{number}_{place}"] = one
        return found


def model(names: list[str], cases: dict[str, Case] = CASES) -> tuple[nn.Module, dict[str, T]]:
    """A factory's result for the cases of these names."""
    chosen = [cases[name] for name in names]
    inputs = {f"i{n}_{place}": value for n, (_, given) in enumerate(chosen) for place, value in enumerate(given)}
    return Cases(chosen).eval(), inputs
