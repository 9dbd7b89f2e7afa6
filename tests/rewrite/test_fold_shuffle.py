"""Shuffles between convs go into the convs' weights; where they cannot, nothing changes."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_shuffle import FoldShuffle
from tests.rewrite.helpers import check, model, op_types

RNG = np.random.default_rng(0)


class Net:
    """A graph of [1, C, 5, 5] values that grows by blocks."""

    def __init__(self):
        self.nodes, self.constants = [], {"size": np.array([1, 2, -1, 5, 5]), "back": np.array([1, -1, 5, 5])}

    def op(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def const(self, array):
        self.constants[f"c{len(self.constants)}"] = array
        return f"c{len(self.constants) - 1}"

    def conv(self, x, inputs, outputs, group=1, kernel=1):
        shape = (outputs, inputs // group, kernel, kernel)
        weight = self.const(RNG.standard_normal(shape).astype(np.float32))
        bias = self.const(RNG.standard_normal(outputs).astype(np.float32))
        return self.op("Conv", x, weight, bias, group=group, pads=[kernel // 2] * 4)

    def shuffle(self, x):
        parted = self.op("Reshape", x, "size")
        return self.op("Reshape", self.op("Transpose", parted, perm=[0, 2, 1, 3, 4]), "back")

    def block(self, x, channels):
        """ShuffleNetV2's: half goes by, half through three convs, then both are shuffled."""
        half = channels // 2
        bounds = [self.const(np.array([n], np.int64)) for n in (0, half, channels, 1)]
        left = self.op("Slice", x, bounds[0], bounds[1], bounds[3])
        right = self.op("Slice", x, bounds[1], bounds[2], bounds[3])
        right = self.op("Relu", self.conv(right, half, half))
        right = self.conv(right, half, half, group=half, kernel=3)
        right = self.op("Relu", self.conv(right, half, half))
        return self.shuffle(self.op("Concat", left, right, axis=1))

    def model(self, outputs):
        return model(self.nodes, {"x": (TensorProto.FLOAT, [1, 4, 5, 5])}, outputs, self.constants, opset=13)


def deep(net, blocks):
    x = net.op("Relu", net.conv("x", 4, 12))
    for _ in range(blocks):
        x = net.block(x, 12)
    return x


@pytest.mark.parametrize("blocks", [1, 3])
def test_shuffles_before_a_conv_leave_slices_only(blocks):
    net = Net()
    y = net.conv(deep(net, blocks), 12, 6)
    after = check(net.model([y]), FoldShuffle(), changed=blocks + 1, tolerance=1e-3)
    live = reachable(after, y)
    assert "Transpose" not in live
    assert "Reshape" not in live


def test_a_conv_by_channel_reads_the_shuffled_tensor_too():
    net = Net()
    x = deep(net, 2)
    left = net.conv(net.conv(x, 12, 12, group=12, kernel=3), 12, 6)
    y = net.op("Add", left, net.conv(x, 12, 6))
    after = check(net.model([y]), FoldShuffle(), changed=3, tolerance=1e-3)
    assert "Transpose" not in reachable(after, y)


def test_an_output_keeps_its_order_of_channels():
    net = Net()
    x = net.shuffle(net.op("Relu", net.conv("x", 4, 4)))
    y = net.conv(x, 4, 6)
    check(net.model([x, y]), FoldShuffle(), changed=0)


def test_a_shuffle_between_grouped_convs_stays():
    net = Net()
    x = net.shuffle(net.conv("x", 4, 16, group=2))
    y = net.conv(x, 16, 16, group=2)
    check(net.model([y]), FoldShuffle(), changed=0)


def reachable(proto, output):
    makers = {name: node for node in proto.graph.node for name in node.output}
    left, seen = [output], []
    while left:
        node = makers.pop(left.pop(), None)
        if node is not None:
            seen.append(node.op_type)
            left += node.input
    assert seen
    return seen


def test_without_a_shuffle_nothing_changes():
    net = Net()
    y = net.conv("x", 4, 6)
    assert op_types(check(net.model([y]), FoldShuffle(), changed=0)) == ["Conv"]
