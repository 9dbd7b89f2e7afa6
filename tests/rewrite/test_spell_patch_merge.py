"""Strided slices of a whole image, joined along its channels, become one rearrangement."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_patch_merge import SpellPatchMerge
from tests.rewrite.helpers import check, model, op_types


def merging(shape, axes, starts, joined, *, nested, end=2**62, step=2):
    nodes, constants = [], {}
    for number, pair in enumerate(starts):
        name = f"p{number}"
        if nested:
            for level, (axis, start) in enumerate(zip(axes, pair, strict=False)):
                constants |= {
                    f"{name}{level}s": [start],
                    f"{name}{level}e": [end],
                    f"{name}{level}a": [axis],
                    f"{name}{level}k": [step],
                }
                source = "x" if level == 0 else f"{name}_{level - 1}"
                out = name if level == len(axes) - 1 else f"{name}_{level}"
                nodes.append(helper.make_node("Slice", [source, *(f"{name}{level}{one}" for one in "seak")], [out]))
        else:
            constants |= {
                f"{name}s": pair,
                f"{name}e": [end] * len(axes),
                f"{name}a": axes,
                f"{name}k": [step] * len(axes),
            }
            nodes.append(helper.make_node("Slice", ["x", *(f"{name}{one}" for one in "seak")], [name]))
    nodes.append(helper.make_node("Concat", [f"p{number}" for number in range(len(starts))], ["y"], axis=joined))
    constants = {name: np.array(values, np.int64) for name, values in constants.items()}
    return model(nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants, opset=13)


SWIN = [(0, 0), (1, 0), (0, 1), (1, 1)]
ROWS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    ("shape", "axes", "starts", "joined"),
    [
        ([1, 4, 6, 3], [1, 2], SWIN, -1),
        ([1, 4, 6, 3], [1, 2], ROWS, 3),
        ([2, 3, 4, 6], [2, 3], SWIN, 1),
        ([1, 6, 4], [1], [(0,), (1,)], 2),
    ],
)
def test_pieces_that_cover_the_image_are_moved_once(shape, axes, starts, joined, nested):
    after = check(merging(shape, axes, starts, joined, nested=nested), SpellPatchMerge(), changed=1)
    assert op_types(after)[-3:] == [
        "Reshape",
        "Transpose",
        "Reshape",
    ]  # the slices, now unread, go with the next folding
    assert "Concat" not in op_types(after)


@pytest.mark.parametrize(
    ("shape", "starts", "options"),
    [
        ([1, 4, 6, 3], [(0, 0), (1, 0), (0, 1)], {}),  # one piece is missing
        ([1, 4, 6, 3], [(0, 0), (1, 1), (0, 1), (1, 0)], {}),  # in no order of the axes
        ([1, 5, 6, 3], [(0, 0), (0, 1)], {}),  # an odd height
        ([1, 8, 6, 3], SWIN, {"step": 3}),
        ([1, 8, 8, 3], SWIN, {"end": 4}),
    ],
)
def test_other_joins_stay(shape, starts, options):
    check(merging(shape, [1, 2], starts, -1, nested=False, **options), SpellPatchMerge(), changed=0)
