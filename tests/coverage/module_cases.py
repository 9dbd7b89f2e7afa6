"""torch.nn's modules as projects use them: masks, cells in loops, rows that masks select, bounds of two kinds, many axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.coverage.aten_cases import Case, M, T, _draw
from tests.coverage.function_inputs import MASK

TOKENS, MEMORY = _draw(2, 5, 16, seed=90), _draw(2, 7, 16, seed=91)
PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
MEMORY_PADDED = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
ROWS = torch.tensor([[True, False, True, True, False], [False, False, True, False, True]])
SEVEN, OTHER = _draw(1, 2, 1, 3, 2, 1, 4, seed=92), _draw(1, 1, 2, 3, 1, 2, 4, seed=93)
STEPS, STATE = _draw(2, 5, 8, seed=94), _draw(2, 6, seed=95)
CLASSES, SCORES = torch.tensor([0, 4, 2, 1]), _draw(4, 5, seed=96)

CASES: dict[str, Case] = {}


def _causal(size: int = 5) -> T:
    return nn.Transformer.generate_square_subsequent_mask(size)


def _add(name: str, module: nn.Module, call: Callable[..., Any], *inputs: T) -> None:
    module.eval()
    CASES[f"nn.{name}"] = (lambda *given: call(module, *given), inputs)


def _unpacked(packed: Any, states: Any) -> tuple[T, ...]:
    padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0, total_length=6)
    return padded, lengths, *(states if isinstance(states, tuple) else [states])


torch.manual_seed(0)
for _name, _options, _call, _more in (
    ("", {}, lambda m, x: m(x, x, x), ()),
    (" heads", {"bias": False}, lambda m, x: m(x, x, x, average_attn_weights=False), ()),
    (" padded", {}, lambda m, x, p: m(x, x, x, key_padding_mask=p)[0], (PADDED,)),
    (" causal", {}, lambda m, x: m(x, x, x, attn_mask=_causal(), is_causal=True, need_weights=False)[0], ()),
    (" hidden", {}, lambda m, x: m(x, x, x, attn_mask=torch.triu(torch.ones(5, 5), 1) > 0)[0], ()),
    (" biases", {"add_bias_kv": True, "add_zero_attn": True}, lambda m, x: m(x, x, x)[0], ()),
    (" other sizes", {"kdim": 16, "vdim": 16}, lambda m, x, y: m(x, y, y)[0], (MEMORY,)),
):
    _add(
        f"MultiheadAttention{_name}", nn.MultiheadAttention(16, 4, batch_first=True, **_options), _call, TOKENS, *_more
    )


def _encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not options)


_decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 32, batch_first=True, norm_first=True), 2)
_add("TransformerEncoder", _encoder(), lambda m, x: m(x), TOKENS)
_add("TransformerEncoder gelu", _encoder(activation="gelu", norm_first=True), lambda m, x: m(x), TOKENS)
_add("TransformerEncoder padded", _encoder(), lambda m, x, p: m(x, src_key_padding_mask=p), TOKENS, PADDED)
_add("TransformerEncoder causal", _encoder(), lambda m, x: m(x, mask=_causal()), TOKENS)
_add(
    "TransformerEncoder both", _encoder(), lambda m, x, p: m(x, mask=_causal(), src_key_padding_mask=p), TOKENS, PADDED
)
_add("TransformerDecoder", _decoder, lambda m, x, y: m(x, y, tgt_mask=_causal()), TOKENS, MEMORY)
_add(
    "TransformerDecoder padded",
    _decoder,
    lambda m, x, y, p: m(x, y, memory_key_padding_mask=p),
    TOKENS,
    MEMORY,
    MEMORY_PADDED,
)


def _unrolled(cell: nn.Module, x: T, h: T) -> T:
    states = []
    for step in x.unbind(1):
        h = cell(step, h)
        states.append(h)
    return torch.stack(states, 1)


_add("GRUCell loop", nn.GRUCell(8, 6), _unrolled, STEPS, STATE)
_add("RNNCell loop", nn.RNNCell(8, 6, nonlinearity="relu"), _unrolled, STEPS, STATE)
_add("LSTM states", nn.LSTM(8, 6, 2, batch_first=True), lambda m, x: m(x)[1][0][-1], STEPS)
FRAMES = _draw(2, 5, 3, 7, seed=98)
for _step, _length in ((3, 19), (3, 24), (2, 12), (7, 35)):
    _add(
        f"frames {_step} apart on {_length}",
        nn.Identity(),
        lambda m, x, n=_length, by=_step: torch.ops.aten.unfold_backward(m(x), [2, n, 3], 1, 7, by),
        FRAMES,
    )
_add("Linear of one feature", nn.Sequential(nn.Linear(1, 6), nn.Linear(6, 4)), lambda m, x: m(x[..., :1]), TOKENS)
_add("factor of one feature", nn.Linear(4, 4), lambda m, x: m(x[..., :1] / torch.arange(1.0, 5.0)), TOKENS)
LENGTHS, WORDS = torch.tensor([3, 5, 2]), _draw(3, 5, 8, seed=97)
for _kind, _layers, _both in (("LSTM", 2, True), ("LSTM", 1, False), ("GRU", 2, True), ("RNN", 1, True)):
    _add(
        f"{_kind} packed {_layers} {_both}",
        getattr(nn, _kind)(8, 6, _layers, batch_first=True, bidirectional=_both),
        lambda m, x, n: _unpacked(*m(pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False))),
        WORDS,
        LENGTHS,
    )
_add("GRU unbatched", nn.GRU(8, 6, bidirectional=True), lambda m, x: m(x[0]), STEPS)
_add("ConvTranspose3d", nn.ConvTranspose3d(4, 6, 2, stride=2), lambda m, x: m(x), _draw(1, 4, 3, 4, 5, seed=97))
_add("CrossEntropyLoss smoothing", nn.CrossEntropyLoss(label_smoothing=0.1), lambda m, x, n: m(x, n), SCORES, CLASSES)
_add(
    "CrossEntropyLoss weights",
    nn.CrossEntropyLoss(torch.rand(5), ignore_index=2, label_smoothing=0.2),
    lambda m, x, n: m(x, n),
    SCORES,
    CLASSES,
)
_add("CrossEntropyLoss shares", nn.CrossEntropyLoss(), lambda m, x: m(x, x.softmax(1)), SCORES)
_add(
    "BatchNorm2d of the batch",
    nn.BatchNorm2d(4, track_running_stats=False),
    lambda m, x: m(x),
    _draw(2, 4, 5, 6, seed=98),
)


def _put(x: T, mask: T, rows: Callable[[T], T]) -> T:
    x = x.clone()
    x[mask] = rows(x[mask])
    return x


_ATTEND = F.scaled_dot_product_attention
_HEADS = _draw(2, 4, 5, 8, seed=99)
CASES |= {
    "rows": (lambda x, m: _put(x, m, lambda r: r * 2 + 1), (TOKENS, ROWS)),
    "rows normalized": (lambda x, m: _put(x, m, lambda r: F.normalize(r, dim=-1)), (TOKENS, ROWS)),
    "rows around their mean": (lambda x, m: _put(x, m, lambda r: (r - r.mean(0)) / r.std(0)), (TOKENS, ROWS)),
    "rows in heads": (lambda x, m: _put(x, m, lambda r: r.view(-1, 4, 4).softmax(-1).mT.reshape(-1, 16)), (TOKENS, ROWS)),
    "rows and columns": (lambda x, m: _put(x.transpose(0, 1), m[0], lambda r: r.exp()), (TOKENS, ROWS)),
    "rows counted": (lambda x, m: x[m].sum() / x[m].shape[0] + x[m].numel(), (TOKENS, ROWS)),
    "rows reduced": (lambda x, m: (x[m].mean(0), x[m].amax(0), x[m].std(0)), (TOKENS, ROWS)),
    "masked_select mean": (lambda x: torch.masked_select(x, x > 0).mean(), (M,)),
    "masked_scatter of rows": (lambda x, m: torch.zeros(2, 5).masked_scatter(m, x[m].amax(-1)), (TOKENS, ROWS)),
    "masked + 1": (lambda x, m: _put(x, m, lambda r: r + 1), (M, MASK)),
    "clamp of two kinds": (lambda x: (torch.clamp(x, 1e-3, 2), x.clamp(-1, 0.5), torch.clip(x, 0, 0.5)), (M,)),
    "hardtanh of two kinds": (lambda x: F.hardtanh(x, 0, 0.5), (M,)),
    "attention bool": (lambda q, m: _ATTEND(q, q, q + 1, attn_mask=m[:, None, None]), (_HEADS, ROWS)),
    "attention bool rows": (lambda q, m: _ATTEND(q, q, q, attn_mask=m[:, None, :, None] & m[:, None, None]), (_HEADS, ROWS)),
    "attention -inf": (
        lambda q, m: _ATTEND(q, q, q, attn_mask=_causal() + torch.zeros(2, 1, 1, 5).masked_fill(m[:, None, None], -torch.inf)),
        (_HEADS, ROWS)),
    "attention float": (lambda q, m: _ATTEND(q, q, q, attn_mask=m[:, None, None] * -1e4, scale=0.3), (_HEADS, ROWS)),
    "seven axes": (lambda x, y: (x + y, x.softmax(1), (x * y).sum((1, 4)), torch.where(x > 0, x, y), x.flip(3)), (SEVEN, OTHER)),
    "seven axes moved": (
        lambda x: (x.permute(4, 2, 1, 3, 0, 6, 5), F.pad(x, (1, 0, 0, 2)), x[:, :, :, 1:], torch.cat([x, x], 3)), (SEVEN,)),
    "seven axes multiplied": (lambda x: x @ x.transpose(-1, -2), (SEVEN,)),
    "six axes padded": (lambda x: F.pad(x, (0, 1, 0, 0, 0, 1)), (_draw(1, 2, 3, 1, 4, 1, seed=89),)),
}  # fmt: skip


@torch.library.custom_op("transformers::grouped_mm_fallback", mutates_args=())
def _grouped(x: T, weights: T, offs: T) -> T:
    """As the package of that name defines it for its mixtures of experts."""
    parts = torch.tensor_split(x, offs[:-1].tolist())
    return torch.cat([part @ weight for part, weight in zip(parts, weights, strict=True)])


@_grouped.register_fake
def _(x: T, weights: T, offs: T) -> T:
    return x.new_empty(x.shape[0], weights.shape[2])


def _experts(x: T, chosen: T, weights: T) -> T:
    """A sort groups the rows by the expert that each goes to."""
    ids, order = torch.sort(chosen)
    ends = torch.cumsum(torch.histc(ids.float(), bins=3, min=0, max=2), 0, dtype=torch.int32)
    return _grouped(x[order], weights, ends)[torch.argsort(order)]


CASES["experts in groups"] = (
    _experts,
    (_draw(6, 8, seed=97), torch.tensor([2, 0, 2, 1, 0, 2]), _draw(3, 8, 5, seed=98)),
)

_EDGES = torch.randint(0, 400, (300,), generator=torch.Generator().manual_seed(99))
_NODES, _MESSAGES = _draw(400, 64, seed=99), _draw(300, 64, seed=100)
CASES["edges index_add"] = (lambda x, i, v: x.index_add(0, i, v), (_NODES, _EDGES, _MESSAGES))
CASES["edges index_put"] = (lambda x, i, v: x.index_put((i,), v, accumulate=True), (_NODES, _EDGES, _MESSAGES))
CASES["edges scatter_add"] = (
    lambda x, i, v: x.scatter_add(0, i[:, None].expand(-1, 64), v), (_NODES, _EDGES, _MESSAGES)
)  # fmt: skip
CASES["edges scatter_add repeated"] = (
    lambda x, i, v: x.mT.scatter_add(1, i.repeat(64, 1), v.mT), (_NODES, _EDGES, _MESSAGES)
)  # fmt: skip
