"""Attention-23 written out."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_attention import LegalizeAttention
from tests.rewrite.helpers import check, model, op_types

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL
RNG = np.random.default_rng(3)


def _softmax(x):
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(-1, keepdims=True))
        return np.nan_to_num(e / e.sum(-1, keepdims=True))


def _attention(q, k, v, mask=None, past_k=None, past_v=None, *, heads=None, scale=None, cap=0.0, causal=False):
    """The operator's definition, in float64."""
    flat = q.ndim == 3
    if flat:
        q, k, v = (x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3) for x, n in zip((q, k, v), heads, strict=True))
    past = 0
    if past_k is not None:
        past = past_k.shape[2]
        k, v = np.concatenate([past_k, k], 2), np.concatenate([past_v, v], 2)
    present = k, v
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q.astype(np.float64) @ k.transpose(0, 1, 3, 2) * (scale or q.shape[-1] ** -0.5)
    if cap:
        scores = cap * np.tanh(scores / cap)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool), past), scores, -np.inf)
    y = _softmax(scores) @ v
    if flat:
        y = y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)
    return [x.astype(np.float32) for x in (y, *present)]


def _values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def _case(feeds, *, outputs=1, unknown=(), reference=None, constants=(), opset=23, **attributes):
    names = ["q", "k", "v", "mask", "past_k", "past_v"]
    while names[-1] not in feeds:
        names.pop()
    given = [name if name in feeds else "" for name in names]
    node = helper.make_node("Attention", given, ["y", "pk", "pv"][:outputs], **attributes)
    inputs = {
        name: (
            BOOL if value.dtype == bool else FLOAT,
            [f"d{size}" if axis in unknown else size for axis, size in enumerate(value.shape)],
        )
        for name, value in feeds.items()
        if name not in constants
    }
    fixed = {name: feeds[name] for name in constants}
    proto = model([node], inputs, ["y", "pk", "pv"][:outputs], fixed, opset=opset)
    wanted = _attention(**feeds, **(reference or {}))[:outputs]
    moving = {name: value for name, value in feeds.items() if name not in constants}
    return check(proto, LegalizeAttention(), feeds=moving, reference=lambda **_: wanted)


def _four(queries=5, keys=5, heads=4, shared=4, size=8, width=8):
    return {
        "q": _values(2, heads, queries, size),
        "k": _values(2, shared, keys, size),
        "v": _values(2, shared, keys, width),
    }


def test_plain():
    after = _case(_four(keys=7, width=6))
    assert op_types(after) == ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]


def test_scale_and_softcap():
    _case(_four(), scale=0.3, softcap=2.0, reference={"scale": 0.3, "cap": 2.0})


@pytest.mark.parametrize("shared", [1, 2])
def test_shared_heads(shared):
    _case(_four(shared=shared))


@pytest.mark.parametrize("unknown", [(), (0,), (2,), (0, 2)])
@pytest.mark.parametrize("shared", [2, 4])
def test_unknown_sizes(unknown, shared):
    _case(_four(shared=shared), unknown=unknown, is_causal=1, reference={"causal": True})


def test_causal_is_a_constant_sum():
    after = _case(_four(), is_causal=1, reference={"causal": True})
    assert op_types(after) == ["Mul", "Transpose", "MatMul", "Add", "Softmax", "MatMul"]


@pytest.mark.parametrize("shape", [(5, 7), (2, 1, 5, 7), (1, 4, 1, 7)])
@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_masks(shape, boolean, causal, constant):
    mask = RNG.random(shape) < 0.6 if boolean else _values(*shape)
    if boolean:
        mask[..., 0, :] = False  # a query that sees nothing gets zeros
    fixed = ["mask"] if constant else []
    feeds = _four(keys=7) | {"mask": mask}
    _case(feeds, is_causal=int(causal), reference={"causal": causal}, constants=fixed)


def test_constant_boolean_mask_is_a_constant_sum():
    mask = np.ones((5, 5), bool)
    mask[1, 3] = False
    assert "Where" not in op_types(_case(_four() | {"mask": mask}, constants=["mask"]))


@pytest.mark.parametrize("unknown", [(), (0, 2)])
def test_cache(unknown):
    feeds = _four(queries=2, keys=2) | {"past_k": _values(2, 4, 3, 8), "past_v": _values(2, 4, 3, 8)}
    _case(feeds, outputs=3, is_causal=1, reference={"causal": True}, unknown=unknown)


def test_present_without_past_is_the_input():
    _case(_four(), outputs=3)


@pytest.mark.parametrize("shared", [4, 2])
@pytest.mark.parametrize("unknown", [(), (0, 1)])
def test_three_dimensions(shared, unknown):
    feeds = {"q": _values(2, 5, 32), "k": _values(2, 5, 8 * shared), "v": _values(2, 5, 6 * shared)}
    heads = {"q_num_heads": 4, "kv_num_heads": shared}
    _case(feeds, **heads, unknown=unknown, reference={"heads": (4, shared, shared)})


def test_softmax_precision():
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], softmax_precision=TensorProto.FLOAT)
    half = {name: value.astype(np.float16) for name, value in _four().items()}
    inputs = {name: (TensorProto.FLOAT16, value.shape) for name, value in half.items()}
    proto = model([node], inputs, {"y": TensorProto.FLOAT16}, opset=23)
    wanted = _attention(**{name: value.astype(np.float32) for name, value in half.items()})[0].astype(np.float16)
    after = check(proto, LegalizeAttention(), feeds=half, reference=lambda **_: [wanted], tolerance=5e-3)
    assert op_types(after).count("Cast") == 2


@pytest.mark.parametrize("boolean", [True, False])
def test_onnxruntime_agrees(boolean):
    feeds = _four() | {"mask": np.tri(5, dtype=bool) if boolean else _values(5, 5)}
    node = helper.make_node("Attention", list(feeds), ["y"])
    kinds = {name: BOOL if value.dtype == bool else FLOAT for name, value in feeds.items()}
    inputs = {name: (kinds[name], value.shape) for name, value in feeds.items()}
    check(model([node], inputs, ["y"], opset=23), LegalizeAttention(), feeds=feeds)


@pytest.mark.parametrize(
    ("outputs", "shape", "reason"),
    [(["y", "", "", "s"], [1, 2, 3, 4], "scores"), (["y"], [1, "h", 3, 4], "heads")],
)
def test_refusals(outputs, shape, reason):
    node = helper.make_node("Attention", ["q", "k", "v"], outputs)
    names = [name for name in outputs if name]
    graph = ir.from_proto(model([node], dict.fromkeys("qkv", (FLOAT, shape)), names, opset=23))
    assert LegalizeAttention().apply(graph) == 0
    assert reason in refused(graph)[0][1]
