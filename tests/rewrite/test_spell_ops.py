"""Operators spelled out in others: the same in onnxruntime before and after."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.narrow_floats import NarrowFloats
from edgeconv.rewrite.spell_clip import SpellClip
from edgeconv.rewrite.spell_einsum import SpellEinsum
from edgeconv.rewrite.spell_expand import SpellExpand
from edgeconv.rewrite.spell_loss import SpellLoss
from edgeconv.rewrite.spell_matmul import SpellMatmul
from edgeconv.rewrite.spell_mod import SpellMod
from edgeconv.rewrite.spell_norm import SpellNorm
from edgeconv.rewrite.spell_reduce_norm import SpellReduceNorm
from edgeconv.rewrite.spell_resize import SpellResize
from edgeconv.rewrite.widen_integers import WidenIntegers
from edgeconv.rewrite.widen_max import WidenMax
from tests.rewrite.helpers import check, infer, model, op_types, random_inputs, rewritten

T = TensorProto
FLOAT, INT64 = T.FLOAT, T.INT64

EQUATIONS = [
    ("ij,jk->ik", [[3, 4], [4, 5]]),
    ("bij,bjk->bik", [[2, 3, 4], [2, 4, 5]]),
    ("bhqd,bhkd->bhqk", [[2, 3, 4, 5], [2, 3, 6, 5]]),
    ("bqhd,bkhd->bhqk", [[2, 4, 3, 5], [2, 6, 3, 5]]),
    ("...ij,...jk->...ik", [[2, 3, 4], [2, 4, 5]]),
    ("...d,de->...e", [[2, 3, 4], [4, 5]]),
    ("ii->i", [[4, 4]]),
    ("bii->b", [[2, 4, 4]]),
    ("ij->ji", [[3, 4]]),
    ("ij->", [[3, 4]]),
    ("i,i", [[5], [5]]),
    ("i,j->ij", [[3], [4]]),
    ("ijk,ilm,njm->nkl", [[2, 3, 4], [2, 5, 6], [7, 3, 6]]),
    ("ba,ca", [[3, 4], [5, 4]]),
    ("bchw,bcij->bhwij", [[1, 2, 3, 3], [1, 2, 2, 2]]),
    ("bij,bij->b", [[2, 3, 4], [2, 3, 4]]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum(equation, shapes):
    inputs = {f"x{n}": (FLOAT, shape) for n, shape in enumerate(shapes)}
    node = helper.make_node("Einsum", list(inputs), ["y"], equation=equation)
    after = check(model([node], inputs, ["y"], opset=13), SpellEinsum(), tolerance=1e-4)
    assert "Einsum" not in op_types(after)


def test_einsum_with_a_constant_is_a_plain_matrix_product():
    weight = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="bsd,de->bse")
    after = check(model([node], {"x": (FLOAT, [2, 3, 4])}, ["y"], {"w": weight}, opset=13), SpellEinsum())
    assert op_types(after).count("MatMul") == 1


@pytest.mark.parametrize(("op", "reduction"), itertools.product(["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"],
                                                                ["mean", "sum", "none"]))  # fmt: skip
@pytest.mark.parametrize(("weight", "ignore"), [(False, None), (True, None), (True, 1), (False, -1)])
def test_losses(op, reduction, weight, ignore):
    rng = np.random.default_rng(1)
    inputs = {"x": (FLOAT, [2, 4, 3]), "t": (INT64, [2, 3])}
    names = ["x", "t"] + (["w"] if weight else [])
    constants = {"w": rng.random(4).astype(np.float32)} if weight else {}
    extra = {} if ignore is None else {"ignore_index": ignore}
    proto = model(
        [helper.make_node(op, names, ["y"], reduction=reduction, **extra)], inputs, ["y"], constants, opset=13
    )
    target = rng.integers(0, 4, (2, 3))
    target[0, 1] = 0 if ignore is None else ignore
    check(proto, SpellLoss(), feeds={"x": rng.standard_normal((2, 4, 3)).astype(np.float32), "t": target})


def test_softmax_loss_gives_its_log_probabilities_too():
    node = helper.make_node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y", "p"])
    proto = model([node], {"x": (FLOAT, [2, 4]), "t": (INT64, [2])}, ["y", "p"], opset=13)
    check(proto, SpellLoss(), feeds=random_inputs(proto) | {"t": np.array([3, 0])})


@pytest.mark.parametrize(("a", "b"), [([4], [4]), ([4], [2, 4, 3]), ([2, 5, 4], [4]), ([4], [4, 3])])
def test_vectors_in_a_product(a, b):
    proto = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": (FLOAT, a), "b": (FLOAT, b)}, ["y"], opset=13)
    check(proto, SpellMatmul())


@pytest.mark.parametrize("kind", [FLOAT, INT64, T.BOOL])
@pytest.mark.parametrize(
    ("shape", "wanted"), [([3, 1], [3, 64]), ([5], [2, 3, 5]), ([2, 1, 4], [1, 3, 1]), ([], [2, 2])]
)
def test_what_is_repeated_is_the_constant(shape, wanted, kind):
    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    proto = model([node], {"x": (kind, shape)}, {"y": kind}, {"shape": np.array(wanted)}, opset=13)
    after = check(proto, SpellExpand(), tolerance=0)
    assert "Expand" not in op_types(after)
    full = np.broadcast_shapes(tuple(shape), tuple(wanted))
    largest = max(int(np.prod(tensor.dims)) for tensor in after.graph.initializer if list(tensor.dims) != [len(wanted)])
    assert largest * int(np.prod(shape)) == int(np.prod(full))


@pytest.mark.parametrize("kind", [FLOAT, INT64, T.INT32])
def test_remainder_with_the_dividends_sign(kind):
    node = helper.make_node("Mod", ["a", "b"], ["y"], fmod=1)
    proto = model([node], {"a": (kind, [4]), "b": (kind, [4])}, {"y": kind}, opset=13)
    feeds = {"a": np.array([-7, 7, -7, 6]), "b": np.array([3, -3, -3, 4])}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if kind == FLOAT:  # onnxruntime has no float Mod with the divisor's sign: TFLite has
        assert op_types(rewritten(proto, SpellMod())[0]).count("Mod") == 1
        return
    check(proto, SpellMod(), feeds={name: array.astype(dtype) for name, array in feeds.items()}, tolerance=0)


def test_clip_with_computed_bounds():
    inputs = {"x": (FLOAT, [5]), "low": (FLOAT, []), "high": (FLOAT, [])}
    proto = model([helper.make_node("Clip", list(inputs), ["y"])], inputs, ["y"], opset=13)
    for low, high in ((-1.0, 1.0), (2.0, 1.0)):
        feeds = {"x": np.linspace(-3, 3, 5, dtype=np.float32), "low": np.float32(low), "high": np.float32(high)}
        check(proto, SpellClip(), feeds=feeds, reference=lambda x, low, high: [np.minimum(np.maximum(x, low), high)])


@pytest.mark.parametrize(("op", "attributes"), [("GlobalLpPool", {"p": 3}), ("GlobalLpPool", {"p": 1}),
                                                ("GlobalLpPool", {}), ("LpNormalization", {"p": 1}),
                                                ("LpNormalization", {"axis": 1}),
                                                ("MeanVarianceNormalization", {"axes": [0, 2, 3]}),
                                                ("MeanVarianceNormalization", {"axes": [1, 2]})])  # fmt: skip
def test_norms(op, attributes):
    check(
        model([helper.make_node(op, ["x"], ["y"], **attributes)], {"x": (FLOAT, [2, 3, 4, 5])}, ["y"], opset=13),
        SpellNorm(),
    )


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("options", [{}, {"axes": [1, 3]}, {"axes": [-1], "keepdims": 0}])
def test_reduced_norms(op, options):
    check(
        model([helper.make_node(op, ["x"], ["y"], **options)], {"x": (FLOAT, [2, 3, 4, 5])}, ["y"], opset=13),
        SpellReduceNorm(),
    )


def test_a_vector_of_zeros_keeps_its_zeros():
    proto = model([helper.make_node("LpNormalization", ["x"], ["y"])], {"x": (FLOAT, [2, 3])}, ["y"], opset=13)
    after, _ = rewritten(proto, SpellNorm())
    assert not infer(after, {"x": np.zeros((2, 3), np.float32)})[0].any()


RESIZES = [
    *({"mode": "linear", "coordinate_transformation_mode": kind}
      for kind in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")),
    *({"mode": "nearest", "coordinate_transformation_mode": kind, "nearest_mode": how}
      for kind in ("half_pixel", "asymmetric", "align_corners")
      for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")),
    *({"mode": "cubic", "coordinate_transformation_mode": kind, "exclude_outside": outside}
      for kind in ("half_pixel", "align_corners") for outside in (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("options", RESIZES)
@pytest.mark.parametrize("size", [[2, 3, 7, 9], [2, 3, 8, 12], [2, 3, 3, 2], [2, 3, 1, 5]])
def test_resize_by_sizes(options, size):
    node = helper.make_node("Resize", ["x", "", "", "size"], ["y"], **options)
    proto = model([node], {"x": (FLOAT, [2, 3, 4, 6])}, ["y"], {"size": np.array(size)}, opset=13)
    after = check(proto, SpellResize(), tolerance=2e-5)
    if options["mode"] == "linear" and options["coordinate_transformation_mode"] != "pytorch_half_pixel":
        assert "Resize" in op_types(after)


@pytest.mark.parametrize("options", [{"mode": "linear"}, {"mode": "nearest"}, {"mode": "cubic"}])
@pytest.mark.parametrize("scales", [[0.6, 0.6], [1.5, 0.5], [2.0, 3.0]])
def test_resize_by_scales(options, scales):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **options)
    constants = {"scales": np.array([1, 1, *scales], np.float32)}
    check(model([node], {"x": (FLOAT, [2, 3, 4, 6])}, ["y"], constants, opset=13), SpellResize(), tolerance=2e-5)


@pytest.mark.parametrize(("mode", "shape"), [("linear", [1, 2, 5]), ("nearest", [1, 2, 5]), ("nearest", [1, 2, 3, 4, 5]),
                                             ("linear", [1, 2, 3, 4, 5])])  # fmt: skip
def test_resize_of_lines_and_volumes(mode, shape):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    constants = {"scales": np.array([1, 1] + [2.0] * (len(shape) - 2), np.float32)}
    check(model([node], {"x": (FLOAT, shape)}, ["y"], constants, opset=13), SpellResize(), tolerance=2e-5)


def test_crop_and_resize():
    node = helper.make_node(
        "Resize", ["x", "roi", "", "size"], ["y"], mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0,
    )  # fmt: skip
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2], np.float32)
    constants = {"roi": roi, "size": np.array([1, 1, 3, 5])}
    check(model([node], {"x": (FLOAT, [1, 1, 4, 6])}, ["y"], constants, opset=13), SpellResize(), tolerance=2e-5)


@pytest.mark.parametrize("kind", [T.DOUBLE, T.FLOAT16])
def test_other_floats_are_computed_as_float32(kind):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("Add", ["x", "c"], ["s"]),
        helper.make_node("Cast", ["s"], ["whole"], to=T.INT32),
        helper.make_node("Cast", ["whole"], ["y"], to=kind),
    ]
    proto = model(nodes, {"x": (kind, [3])}, {"y": kind, "s": kind}, {"c": np.array([1.5], dtype)}, opset=13)
    before = infer(proto, random_inputs(proto))
    after, counts = rewritten(proto, NarrowFloats())
    assert counts
    assert {tensor.data_type for tensor in after.graph.initializer} == {FLOAT}
    for wanted, found in zip(before, infer(after, random_inputs(proto)), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("op", ["Less", "Greater"])
@pytest.mark.parametrize("kind", [T.INT8, T.UINT8, T.INT16])
def test_comparisons_in_32_bits(op, kind):
    proto = model(
        [helper.make_node(op, ["a", "b"], ["y"])], {"a": (kind, [9]), "b": (kind, [9])}, {"y": T.BOOL}, opset=13
    )
    compare = np.less if op == "Less" else np.greater
    check(proto, WidenIntegers(), reference=lambda a, b: [compare(a, b)], tolerance=0)


@pytest.mark.parametrize(("base", "power", "number"), [(INT64, INT64, 3), (INT64, FLOAT, None), (T.INT32, INT64, None)])
def test_powers(base, power, number):
    inputs = {"x": (base, [4])} | ({"p": (power, [4])} if number is None else {})
    constants = {} if number is None else {"p": np.array(number, np.int64)}
    proto = model([helper.make_node("Pow", ["x", "p"], ["y"])], inputs, {"y": base}, constants, opset=13)
    dtypes = [helper.tensor_dtype_to_np_dtype(kind) for kind in (base, power)]
    feeds = {"x": np.array([1, 2, 3, 4]).astype(dtypes[0]), "p": np.array([2, 0, 3, 2]).astype(dtypes[1])}
    check(proto, WidenIntegers(), feeds={name: feeds[name] for name in inputs}, tolerance=0)


@pytest.mark.parametrize("kind", [T.BOOL, T.UINT8, T.INT8])
@pytest.mark.parametrize("op", ["Pad", "ScatterND", "ScatterElements", "Slice", "Tile"])
def test_data_is_moved_in_32_bits(op, kind):
    constants = {
        "Pad": {"pads": np.array([0, 1, 2, 0])},
        "ScatterND": {"i": np.array([[1], [0]]), "u": np.ones((2, 3), helper.tensor_dtype_to_np_dtype(kind))},
        "ScatterElements": {"i": np.array([[1, 0, 2]]), "u": np.ones((1, 3), helper.tensor_dtype_to_np_dtype(kind))},
        "Slice": {"start": np.array([-1]), "end": np.array([-9]), "axis": np.array([1]), "step": np.array([-1])},
        "Tile": {"times": np.array([2, 1])},
    }[op]
    axis = {"axis": 1} if op == "ScatterElements" else {}
    node = helper.make_node(op, ["x", *constants], ["y"], **axis)
    proto = model([node], {"x": (kind, [4, 3])}, {"y": kind}, constants, opset=13)
    check(proto, WidenIntegers(), tolerance=0)


def test_forward_slices_and_float_stay():
    bounds = {name: np.array([n]) for name, n in (("start", 1), ("end", 3), ("axis", 0), ("step", 1))}
    node = helper.make_node("Slice", ["x", *bounds], ["y"])
    check(model([node], {"x": (T.BOOL, [4, 3])}, {"y": T.BOOL}, bounds, opset=13), WidenIntegers(), changed=0)
    pad = helper.make_node("Pad", ["x", "pads"], ["y"])
    pads = {"pads": np.array([0, 1, 2, 0])}
    check(model([pad], {"x": (FLOAT, [4, 3])}, {"y": FLOAT}, pads, opset=13), WidenIntegers(), changed=0)


def test_max_of_16_bits():
    kind = T.INT16
    inputs = {name: (kind, [5]) for name in "abc"}
    proto = model([helper.make_node("Max", list(inputs), ["y"])], inputs, {"y": kind}, opset=13)
    check(proto, WidenMax(), reference=lambda a, b, c: [np.maximum(np.maximum(a, b), c)], tolerance=0)
