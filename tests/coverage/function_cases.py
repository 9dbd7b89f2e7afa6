"""One small computation a function of torch, torch.nn.functional, torch.special and torch.linalg, and a Tensor method.

Many of them are no core ATen operators, but composites that torch.onnx.export keeps: the exporter may know none.
"""

# ruff: noqa: PLW0108 - torch.export traces a function, not a packet of overloads

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.coverage import aten_cases, indexing_cases, module_cases, overload_cases
from tests.coverage.aten_cases import ABOVE_ONE, IMAGE, POSITIVE, UNIT, VOLUME, B, C, Case, K, M, N, T, X, Y, _draw
from tests.coverage.function_inputs import (
    BATCHED,
    BATCHED2,
    DENSE,
    EMBEDDED,
    ENDLESS,
    HEADS,
    HOLED,
    I32,
    LINE,
    LINEAR,
    NATURAL,
    PLACES,
    R3,
    R4,
    R5,
    SQUARE,
    UNTIED,
    P,
    V,
    W,
)

S, L = torch.special, torch.linalg
_SPACES = {torch: "torch", F: "F", S: "special", L: "linalg"}

CASES: dict[str, Case] = {}


def _of(space: Any, names: str, *inputs: T, about: str = "", **options: Any) -> None:
    """Cases `F.relu`, or `F.relu about` for a second one, of functions called alike."""
    for name in names.split():
        title = f"{_SPACES[space]}.{name} {about}".strip()
        assert title not in CASES, title
        CASES[title] = (functools.partial(getattr(space, name), **options), inputs)


_of(torch, "abs acos asin tan", UNIT)
_of(
    torch,
    "absolute arctan deg2rad rad2deg exp2 expm1 fix frac negative positive square sgn sinc sigmoid erf erfc ceil",
    X,
)
_of(torch, "arcsinh asinh atan sinh cosh tanh sin cos signbit isreal relu selu celu sign trunc floor round exp", X)
_of(torch, "isinf isposinf isneginf isfinite isnan", ENDLESS)
_of(torch, "arccos arcsin arctanh atanh", UNIT)
_of(torch, "log2 log10 log1p rsqrt sqrt reciprocal", POSITIVE)
_of(torch, "arccosh", ABOVE_ONE)
_of(torch, "add sub subtract mul multiply div divide true_divide rsub maximum minimum fmax fmin atan2 arctan2", X, Y)
_of(
    torch,
    "copysign heaviside logaddexp logaddexp2 hypot eq ne gt greater ge less less_equal not_equal isclose fmod",
    X,
    Y,
)
_of(torch, "remainder floor_divide dist", X, Y)
_of(torch, "pow", POSITIVE, Y)
_of(torch, "xlogy", Y, POSITIVE)
_of(torch, "sum prod mean std var amax amin max min argmax argmin any all count_nonzero nansum nanmean median norm", M)
_of(torch, "std_mean var_mean aminmax", M)
_of(torch, "logsumexp softmax log_softmax cumsum cumprod logcumsumexp sort argsort unbind", M, dim=1)
_of(torch, "cummax cummin", UNTIED, dim=1)
_of(torch, "sum prod mean std var amax amin argmax argmin any all nansum nanmean", X, about="dim", dim=1, keepdim=True)
_of(torch, "msort flatten ravel fliplr flipud rot90 t adjoint tril triu diag diagonal diag_embed diagflat trace", M)
_of(torch, "squeeze clone zeros_like ones_like", M)
_of(torch, "mv", M, V)
_of(torch, "matmul", M, V, about="vector")
_of(torch, "dot vdot inner outer ger cartesian_prod block_diag", V, W)
_of(torch, "mm matmul", M, P.t().contiguous())
_of(torch, "bmm", BATCHED, BATCHED2)
_of(torch, "matmul", BATCHED, BATCHED2, about="batch")
_of(torch, "bitwise_and bitwise_or bitwise_xor", N, K)
_of(torch, "bitwise_left_shift bitwise_right_shift", NATURAL, K)
_of(torch, "logical_and logical_or logical_xor", B, C)
_of(torch, "eq ne", B, C, about="bool")
_of(torch, "logical_not", B)
_of(torch, "bitwise_not sum any all", B, about="bool")
_of(torch, "add sub mul floor_divide remainder fmod maximum minimum true_divide eq gt", N, K, about="int")
_of(torch, "abs neg sign square bitwise_not sum amax amin", N, about="int")
for _name in "stack cat concat hstack vstack row_stack dstack column_stack".split():
    CASES[f"torch.{_name}"] = (functools.partial(lambda op, a, b: op([a, b]), getattr(torch, _name)), (M, P))
    if _name != "vstack" and _name != "row_stack":
        CASES[f"torch.{_name} of vectors"] = (
            functools.partial(lambda op, a, b: op([a, b]), getattr(torch, _name)),
            (V, W),
        )

_of(F, "glu", IMAGE, dim=1)
_of(F, "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 rrelu selu", X)
_of(F, "sigmoid silu softplus softshrink softsign tanh tanhshrink normalize", X)
_of(F, "softmax softmin log_softmax", X, dim=1)
_of(F, "dropout alpha_dropout dropout2d feature_alpha_dropout", IMAGE, training=False)
_of(F, "l1_loss mse_loss smooth_l1_loss huber_loss", X, Y)
_of(F, "cosine_similarity pairwise_distance", M, P)
_of(F, "instance_norm", IMAGE)
for _axes, _input in ((1, LINE), (2, IMAGE), (3, VOLUME)):
    _of(F, f"max_pool{_axes}d", _input, kernel_size=3, stride=2, padding=1)
    _of(F, f"avg_pool{_axes}d", _input, kernel_size=3, stride=2, padding=1, count_include_pad=False)
    _of(F, f"adaptive_avg_pool{_axes}d adaptive_max_pool{_axes}d", _input, output_size=3)
    CASES[f"F.max_pool{_axes}d ceil"] = (
        functools.partial(lambda op, x: op(x, 3, 2, ceil_mode=True), getattr(F, f"max_pool{_axes}d")),
        (_input,),
    )
    CASES[f"F.avg_pool{_axes}d ceil"] = (
        functools.partial(lambda op, x: op(x, 3, 2, 1, ceil_mode=True), getattr(F, f"avg_pool{_axes}d")),
        (_input,),
    )
    CASES[f"F.lp_pool{_axes}d"] = (
        functools.partial(lambda op, x: op(x, 2.0, 2), getattr(F, f"lp_pool{_axes}d")),
        (_input,),
    )
    for _mode in "constant reflect replicate circular".split():
        CASES[f"F.pad {_mode} {_axes}d"] = (
            functools.partial(lambda mode, pads, x: F.pad(x, pads, mode), _mode, [1, 2] * _axes),
            (_input,),
        )
    CASES[f"F.conv{_axes}d"] = (
        functools.partial(
            lambda op, w, x: op(x, w, padding="same"),
            getattr(F, f"conv{_axes}d"),
            _draw(4, _input.shape[1], *[3] * _axes, seed=31),
        ),
        (_input,),
    )
    CASES[f"F.conv_transpose{_axes}d"] = (
        functools.partial(
            lambda op, w, x: op(x, w, stride=2, padding=1, output_padding=1),
            getattr(F, f"conv_transpose{_axes}d"),
            _draw(_input.shape[1], 4, *[3] * _axes, seed=31),
        ),
        (_input,),
    )
for _mode, _input in (("nearest", LINE), ("nearest-exact", LINE), ("linear", LINE), ("area", LINE), ("nearest", IMAGE),
                      ("nearest-exact", IMAGE), ("bilinear", IMAGE), ("bicubic", IMAGE), ("area", IMAGE),
                      ("nearest", VOLUME), ("nearest-exact", VOLUME), ("trilinear", VOLUME), ("area", VOLUME)):  # fmt: skip
    _axes = _input.dim() - 2
    CASES[f"F.interpolate {_mode} {_axes}d"] = (functools.partial(F.interpolate, scale_factor=2, mode=_mode), (_input,))
    CASES[f"F.interpolate {_mode} {_axes}d to a size"] = (
        functools.partial(F.interpolate, size=[5, 7, 3][:_axes], mode=_mode),
        (_input,),
    )
    if _mode.endswith("linear") or _mode == "bicubic":
        CASES[f"F.interpolate {_mode} {_axes}d aligned"] = (
            functools.partial(F.interpolate, size=[5, 7, 9][:_axes], mode=_mode, align_corners=True),
            (_input,),
        )
for _mode in "bilinear bicubic".split():
    CASES[f"F.interpolate {_mode} antialias"] = (
        functools.partial(F.interpolate, size=[5, 4], mode=_mode, antialias=True),
        (IMAGE,),
    )

_of(S, "exp2 expit expm1 sinc erf erfc erfcx ndtr log_ndtr round", X)
_of(S, "log1p entr", POSITIVE)
_of(S, "logit", torch.rand(2, 3, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05)
_of(S, "xlogy xlog1py", Y, POSITIVE)
_of(S, "softmax log_softmax logsumexp", M, dim=1)
_of(L, "norm vector_norm matrix_norm", M)
_of(L, "det inv", SQUARE)
_of(L, "cross", _draw(4, 3, seed=34), _draw(4, 3, seed=35))

CASES |= {
    "torch.addmm": (lambda b, x, y: torch.addmm(b, x, y.t(), beta=0.5, alpha=2.0), (_draw(4), M, P)),
    "torch.addmv": (lambda b, x, v: torch.addmv(b, x, v, beta=0.5), (_draw(4), M, V)),
    "torch.addr": (lambda m, a, b: torch.addr(m, a, b, alpha=2.0), (_draw(6, 6), V, W)),
    "torch.addbmm": (lambda b, x, y: torch.addbmm(b, x, y), (_draw(3, 5), BATCHED, BATCHED2)),
    "torch.baddbmm": (lambda b, x, y: torch.baddbmm(b, x, y, beta=2.0), (_draw(2, 3, 5), BATCHED, BATCHED2)),
    "torch.chain_matmul": (lambda x, y: torch.chain_matmul(x, y.t(), x), (M, P)),
    "linalg.multi_dot": (lambda x, y: L.multi_dot([x, y.t(), x]), (M, P)),
    "linalg.vecdot": (L.vecdot, (M, P)),
    "linalg.matrix_power": (lambda x: L.matrix_power(x, 3), (SQUARE,)),
    "linalg.solve": (lambda a, b: L.solve(a, b), (SQUARE, _draw(3, 2, seed=36))),
    "linalg.norm 1": (lambda x: L.norm(x, 1, dim=1), (M,)),
    "linalg.norm inf": (lambda x: L.norm(x, math.inf, dim=1), (M,)),
    "linalg.norm -inf": (lambda x: L.norm(x, -math.inf, dim=1), (M,)),
    "linalg.norm 0": (lambda x: L.norm(x, 0, dim=1), (M,)),
    "linalg.norm 3": (lambda x: L.norm(x, 3, dim=1), (M,)),
    "linalg.matrix_norm 1": (lambda x: L.matrix_norm(x, 1), (M,)),
    "linalg.det 2x2": (L.det, (SQUARE[:2, :2].contiguous(),)),
    "linalg.inv 2x2": (L.inv, (SQUARE[:2, :2].contiguous(),)),
    "linalg.inv batch": (L.inv, (_draw(2, 3, 3, seed=37) + 3 * torch.eye(3),)),
    "linalg.vander": (lambda v: L.vander(v, N=4), (V,)),
    "linalg.diagonal": (L.diagonal, (BATCHED,)),
    "torch.det": (torch.det, (SQUARE,)),
    "torch.logdet": (torch.logdet, (SQUARE @ SQUARE.t(),)),
    "torch.inverse": (torch.inverse, (SQUARE,)),
    "torch.tensordot": (lambda x, y: torch.tensordot(x, y, dims=([1], [1])), (M, P)),
    "torch.einsum": (lambda x, y: torch.einsum("bij,bjk->bik", x, y), (BATCHED, BATCHED2)),
    "torch.einsum trace": (lambda x: torch.einsum("ii->i", x), (SQUARE,)),
    "torch.einsum outer": (lambda x, y: torch.einsum("...i,...j->...ij", x, y), (M, P)),
    "torch.kron": (torch.kron, (M, SQUARE)),
    "torch.cumsum int": (lambda n: torch.cumsum(n, 1), (N,)),
    "torch.cross": (lambda a, b: torch.cross(a, b, dim=1), (_draw(4, 3, seed=34), _draw(4, 3, seed=35))),
    "torch.cdist": (torch.cdist, (M, P)),
    "torch.cdist 1": (lambda x, y: torch.cdist(x, y, p=1.0), (M, P)),
    "torch.cdist batch": (torch.cdist, (BATCHED, _draw(2, 6, 4, seed=38))),
    "F.pdist": (F.pdist, (M,)),
    "torch.renorm": (lambda x: torch.renorm(x, 2, 0, 1.0), (M,)),
    "torch.std correction 0": (lambda x: torch.std(x, dim=1, correction=0), (M,)),
    "torch.var_mean dim": (lambda x: torch.var_mean(x, dim=(1, 2), keepdim=True), (X,)),
    "torch.std_mean dim": (lambda x: torch.std_mean(x, dim=1, unbiased=False), (X,)),
    "torch.aminmax dim": (lambda x: tuple(torch.aminmax(x, dim=1)), (X,)),
    "torch.max dim": (lambda x: tuple(torch.max(x, 1)), (X,)),
    "torch.min dim": (lambda x: tuple(torch.min(x, 1, keepdim=True)), (X,)),
    "torch.median dim": (lambda x: tuple(torch.median(x, 1)), (M,)),
    "torch.quantile": (lambda x: torch.quantile(x, 0.4, dim=1), (M,)),
    "torch.count_nonzero dim": (lambda x: torch.count_nonzero(x, dim=1), (N,)),
    "torch.any dims": (lambda x: torch.any(x, dim=(1, 2)), (B,)),
    "torch.all dims": (lambda x: torch.all(x, dim=(1, 2)), (B,)),
    "torch.nansum holes": (torch.nansum, (HOLED,)),
    "torch.nanmean holes": (lambda x: torch.nanmean(x, 3), (HOLED,)),
    "torch.nan_to_num": (torch.nan_to_num, (HOLED,)),
    "torch.nan_to_num all": (lambda x: torch.nan_to_num(x, nan=1.0, posinf=9.0, neginf=-9.0), (ENDLESS,)),
    "torch.logsumexp dims": (lambda x: torch.logsumexp(x, (1, 2), keepdim=True), (X,)),
    "torch.norm p1 dim": (lambda x: torch.norm(x, p=1, dim=1), (X,)),
    "torch.norm fro dims": (lambda x: torch.norm(x, dim=(1, 2), keepdim=True), (X,)),
    "torch.sort descending": (lambda x: tuple(torch.sort(x, dim=0, descending=True)), (M,)),
    "torch.sort stable": (lambda x: tuple(torch.sort(x, dim=1, stable=True)), (M,)),
    "torch.topk": (lambda x: tuple(torch.topk(x, 3, dim=1)), (M,)),
    "torch.topk smallest": (lambda x: tuple(torch.topk(x, 3, dim=0, largest=False)), (M,)),
    "torch.kthvalue": (lambda x: tuple(torch.kthvalue(x, 2, dim=1)), (M,)),
    "torch.cumulative_trapezoid": (torch.cumulative_trapezoid, (M,)),
    "torch.trapezoid": (torch.trapezoid, (M,)),
    "torch.diff": (torch.diff, (M,)),
    "torch.diff twice": (lambda x: torch.diff(x, n=2, dim=0), (M,)),
    "torch.gradient": (lambda x: tuple(torch.gradient(x, dim=1)), (M,)),
    "torch.clamp both": (lambda x: torch.clamp(x, -0.5, 0.5), (X,)),
    "torch.clamp_min": (lambda x: torch.clamp_min(x, 0.2), (X,)),
    "torch.clamp_max": (lambda x: torch.clamp_max(x, 0.2), (X,)),
    "torch.clamp_min tensor": (torch.clamp_min, (X, Y)),
    "torch.clip": (lambda x: torch.clip(x, min=0.2), (X,)),
    "torch.clamp int": (lambda n: torch.clamp(n, -2, 3), (N,)),
    "torch.lerp": (lambda x, y: torch.lerp(x, y, 0.3), (X, Y)),
    "torch.lerp tensor": (torch.lerp, (X, Y, UNIT)),
    "torch.addcmul": (lambda x, y, z: torch.addcmul(x, y, z, value=0.5), (X, Y, UNIT)),
    "torch.addcdiv": (lambda x, y, z: torch.addcdiv(x, y, z, value=0.5), (X, Y, POSITIVE)),
    "torch.add alpha": (lambda x, y: torch.add(x, y, alpha=2.5), (X, Y)),
    "torch.rsub scalar": (lambda x: torch.rsub(x, 2.0, alpha=3.0), (X,)),
    "torch.div floor": (lambda x, y: torch.div(x, y, rounding_mode="floor"), (X, Y)),
    "torch.div trunc int": (lambda n, k: torch.div(n, k, rounding_mode="trunc"), (N, K)),
    "torch.floor_divide scalar": (lambda n: n // 3, (N,)),
    "torch.remainder scalar": (lambda n: n % 3, (N,)),
    "torch.pow int": (lambda n: n**2, (N,)),
    "torch.pow half": (lambda x: x**0.5, (POSITIVE,)),
    "torch.pow negative": (lambda x: x**-1, (POSITIVE,)),
    "torch.pow scalar base": (lambda x: 2**x, (X,)),
    "torch.float_power scalar": (lambda x: torch.float_power(x, 2).float(), (X,)),
    "torch.ldexp": (lambda x: torch.ldexp(x, torch.tensor(3)), (X,)),
    "torch.logit eps": (lambda x: torch.logit(x, eps=1e-3), (UNIT,)),
    "torch.round decimals": (lambda x: torch.round(x, decimals=2), (X,)),
    "torch.threshold": (lambda x: F.threshold(x, 0.1, 20.0), (X,)),
    "torch.bitwise_left_shift scalar": (lambda n: n << 2, (N,)),
    "torch.bitwise_right_shift negative": (torch.bitwise_right_shift, (N, K)),
    "torch.bitwise_right_shift int32": (torch.bitwise_right_shift, (I32, K.int())),
    "F.avg_pool2d divisor padded": (lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5), (IMAGE,)),
    "torch.scatter_reduce mean without self": (
        lambda x, i, v: torch.scatter_reduce(x, 1, i, v, "mean", include_self=False), (M, PLACES, _draw(4, 2))),
    "torch.bitwise_right_shift scalar": (lambda n: n >> 1, (N,)),
    "torch.bitwise_and bools": (lambda a, b: a & b | ~a ^ b, (B, C)),
    "F.pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (IMAGE,)),
    "F.pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (IMAGE,)),
    "F.unfold": (lambda x: F.unfold(x, 3, padding=1, stride=2), (IMAGE,)),
    "F.fold": (lambda x: F.fold(x, (5, 6), 2), (_draw(1, 12, 20),)),
    "F.one_hot": (lambda n: F.one_hot(n, 8), (NATURAL,)),
    "F.embedding": (lambda n: F.embedding(n, EMBEDDED), (NATURAL,)),
    "F.embedding padding": (lambda n: F.embedding(n, EMBEDDED, padding_idx=1), (NATURAL,)),
    "F.embedding_bag": (lambda n: F.embedding_bag(n, EMBEDDED), (NATURAL[0],)),
    "F.embedding_bag sum": (lambda n: F.embedding_bag(n, EMBEDDED, mode="sum"), (NATURAL[0],)),
    "F.embedding_bag max": (lambda n: F.embedding_bag(n, EMBEDDED, mode="max"), (NATURAL[0],)),
    "F.linear": (lambda x: F.linear(x, LINEAR, R3), (M,)),
    "F.bilinear": (lambda x, y: F.bilinear(x, y, DENSE, R3), (M, P)),
    "F.grid_sample": (lambda x, g: F.grid_sample(x, g, align_corners=False), (IMAGE, _draw(1, 3, 5, 2, seed=7))),
    "F.grid_sample bicubic": (
        lambda x, g: F.grid_sample(x, g, "bicubic", "reflection", False), (IMAGE, _draw(1, 3, 5, 2, seed=7))),
    "F.affine_grid": (lambda t: F.affine_grid(t, [1, 3, 4, 5], align_corners=False), (_draw(1, 2, 3),)),
    "F.affine_grid aligned": (lambda t: F.affine_grid(t, [1, 3, 4, 5], align_corners=True), (_draw(1, 2, 3),)),
    "F.affine_grid 3d": (lambda t: F.affine_grid(t, [1, 3, 4, 5, 2], align_corners=False), (_draw(1, 3, 4),)),
    "F.layer_norm": (lambda x: F.layer_norm(x, [4, 5]), (X,)),
    "F.layer_norm weights": (lambda x: F.layer_norm(x, [5], R5, R5), (X,)),
    "F.group_norm": (lambda x: F.group_norm(x, 2, R4, R4), (IMAGE,)),
    "F.batch_norm": (lambda x: F.batch_norm(x, R4, R4.abs(), R4, R4), (IMAGE,)),
    "F.rms_norm": (lambda x: F.rms_norm(x, [5], R5), (X,)),
    "F.local_response_norm": (lambda x: F.local_response_norm(x, 3), (IMAGE,)),
    "F.normalize 1": (lambda x: F.normalize(x, p=1, dim=2), (X,)),
    "F.instance_norm 1d": (lambda x: F.instance_norm(x), (LINE,)),
    "F.instance_norm 3d": (lambda x: F.instance_norm(x), (VOLUME,)),
    "F.prelu": (lambda x: F.prelu(x, R4), (IMAGE,)),
    "F.gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), (X,)),
    "F.softplus beta": (lambda x: F.softplus(x, beta=2, threshold=1), (X,)),
    "F.max_pool2d indices": (lambda x: F.max_pool2d(x, 2, return_indices=True), (IMAGE,)),
    "F.max_pool2d dilated": (lambda x: F.max_pool2d(x, 2, stride=1, dilation=2), (IMAGE,)),
    "F.max_unpool2d": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), (IMAGE,)),
    "F.adaptive_avg_pool2d 1": (lambda x: F.adaptive_avg_pool2d(x, 1), (IMAGE,)),
    "F.adaptive_avg_pool2d None": (lambda x: F.adaptive_avg_pool2d(x, (None, 2)), (IMAGE,)),
    "F.avg_pool2d divisor": (lambda x: F.avg_pool2d(x, 3, 2, divisor_override=5), (IMAGE,)),
    "F.pad negative": (lambda x: F.pad(x, (-1, 2)), (M,)),
    "F.attention": (F.scaled_dot_product_attention, tuple(HEADS)),
    "F.attention causal": (functools.partial(F.scaled_dot_product_attention, is_causal=True), tuple(HEADS)),
    "F.attention scale": (functools.partial(F.scaled_dot_product_attention, scale=0.3), tuple(HEADS)),
    "F.attention mask": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m), (*HEADS, _draw(5, 5))),
    "F.attention bool mask": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m), (*HEADS, _draw(5, 5) > -1)),
    "F.attention gqa": (
        lambda q, k, v: F.scaled_dot_product_attention(torch.cat([q, q], 1), k, v, enable_gqa=True), tuple(HEADS)),
    "F.attention 3 axes": (lambda q, k, v: F.scaled_dot_product_attention(q[0], k[0], v[0]), tuple(HEADS)),
    "F.cross_entropy": (lambda x, n: F.cross_entropy(x, n), (M, torch.tensor([0, 2, 5, 1]))),
    "F.nll_loss": (lambda x, n: F.nll_loss(x, n), (M, torch.tensor([0, 2, 5, 1]))),
    "F.kl_div": (lambda x, y: F.kl_div(x.log_softmax(1), y.softmax(1), reduction="batchmean"), (M, P)),
    "F.binary_cross_entropy": (lambda x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid()), (M, P)),
    "F.binary_cross_entropy_with_logits": (lambda x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid()), (M, P)),
}  # fmt: skip
CASES |= indexing_cases.CASES | module_cases.CASES | overload_cases.CASES

_SERIES = "a series that TFLite has no builtin for, nor a closed form of its builtins"
_EXPORT = "torch.export itself does not trace it: its shapes, or a branch in it, depend on data"
_SHAPES = "its shapes depend on data"
_BITS = "reads the bits of floating point numbers, which ONNX has no operator for"
#: What TFLite cannot hold, or never sees, with the reason.
CANNOT: dict[str, str] = {
    **dict.fromkeys(
        [f"special.{name}" for name in "bessel_j0 digamma gammaln i0 i0e i1 i1e ndtri polygamma psi".split()],
        _SERIES,
    ),
    **dict.fromkeys("combinations corrcoef cov nn.AdaptiveLogSoftmaxWithLoss F.gaussian_nll_loss".split(), _EXPORT),
    **dict.fromkeys("bincount masked_select".split(), _SHAPES),
    **dict.fromkeys("frexp nextafter Tensor.view(dtype)".split(), _BITS),
    "gcd": "a loop whose length depends on data",
    "linalg.pinv": "singular values: iterations until they converge",
    "nn.CrossMapLRN2d": "PyTorch computes it in an autograd function of its own, which torch.export cannot trace",
}
#: What TFLite could hold but is refused so far.
LEFT: dict[str, str] = {
    "linalg.matrix_exp": "a sum of matrix powers",
    "matmul of int64": "TFLite multiplies matrices of 32 bits",
    "torch.erfinv, nanmedian, mode": "no model that was met has them",
}


def model(names: list[str]) -> tuple[nn.Module, dict[str, T]]:
    """A factory's result for the cases of these names."""
    return aten_cases.model(names, CASES)
