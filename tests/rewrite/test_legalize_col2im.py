"""Col2Im-18 as ConvTranspose."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_col2im import LegalizeCol2im
from tests.rewrite.helpers import check, model, op_types

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([6, 5], [2, 2], {}),
        ([9, 8], [3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([9, 10], [2, 3], {"strides": [2, 1], "dilations": [2, 2]}),
        ([7], [3], {"strides": [3]}),
    ],
)
def test_col2im(image, block, attributes):
    count = len(image)
    strides, dilations = attributes.get("strides", [1] * count), attributes.get("dilations", [1] * count)
    pads = attributes.get("pads", [0] * 2 * count)
    steps = 1
    for i in range(count):
        steps *= (image[i] + pads[i] + pads[i + count] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
    node = helper.make_node("Col2Im", ["x", "i", "b"], ["y"], **attributes)
    shape = [2, 3 * int(np.prod(block)), steps]
    constants = {"i": np.array(image), "b": np.array(block)}
    proto = model([node], {"x": (FLOAT, shape)}, ["y"], constants, opset=18)
    assert op_types(check(proto, LegalizeCol2im())) == ["Reshape", "ConvTranspose"]
