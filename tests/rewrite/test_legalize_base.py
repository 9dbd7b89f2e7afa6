"""What passes share: names, metadata, subgraphs and constants survive a rewrite."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import (
    SCOPES,
    Builder,
    NodePass,
    Pass,
    const_value,
    module_path,
    refused,
    run,
)
from tests.rewrite.helpers import check, model, op_types, rewritten

FLOAT = TensorProto.FLOAT


class DoubleToSum(NodePass):
    """Writes x * 2 as x + x."""

    ops = frozenset({"Mul"})

    def rewrite(self, node, build):
        if const_value(node.inputs[1]) is None:
            return build.refuse("its factor is computed")
        return [build.op("Add", node.inputs[0], node.inputs[0])]


class DropIdentity(NodePass):
    """Lets the input of an Identity stand for its output."""

    ops = frozenset({"Identity"})

    def rewrite(self, node, build):
        return [node.inputs[0]]


def _twice(**metadata):
    node = helper.make_node("Mul", ["x", "two"], ["y"], name="double")
    for key, value in metadata.items():
        entry = node.metadata_props.add()
        entry.key, entry.value = key, value
    return model([node], {"x": (FLOAT, [2, 3])}, ["y"], {"two": np.array(2, np.float32)}, opset=13)


def test_name_follows_class():
    assert DoubleToSum.name == "double_to_sum"
    assert Pass.name == ""


def test_output_keeps_its_name_and_unused_constant_goes():
    after = check(_twice(), DoubleToSum())
    assert op_types(after) == ["Add"]
    assert not after.graph.initializer
    assert after.graph.node[0].name == "double_Add"


def test_type_and_shape_are_kept():
    graph = ir.from_proto(_twice())
    run(graph, [DoubleToSum()])
    assert graph.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert list(graph.graph.outputs[0].shape) == [2, 3]


def test_types_and_shapes_of_new_values_are_inferred():
    class Detour(NodePass):
        ops = frozenset({"Mul"})

        def rewrite(self, node, build):
            turned = build.op("Reshape", node.inputs[0], build.ints([3, -1]))
            assert turned.dtype == ir.DataType.FLOAT
            assert list(turned.shape) == [3, 2]
            return [build.op("Add", node.inputs[0], node.inputs[0])]

    run(ir.from_proto(_twice()), [Detour()])


def test_metadata_moves_to_new_nodes():
    graph = ir.from_proto(_twice(**{SCOPES: "['', 'block', 'block.0', 'mul']"}))
    run(graph, [DoubleToSum()])
    assert module_path(graph.graph[0]) == "block.0"


@pytest.mark.parametrize(
    ("scopes", "path"), [("['', 'mul']", ""), ("['mul']", ""), ("broken [", "double"), ("[]", "double")]
)
def test_module_path_of_odd_metadata(scopes, path):
    graph = ir.from_proto(_twice(**{SCOPES: scopes}))
    assert module_path(graph.graph[0]) == path


def test_passing_an_input_through_keeps_the_output_name():
    proto = model([helper.make_node("Identity", ["x"], ["y"])], {"x": (FLOAT, [2])}, ["y"], opset=13)
    assert op_types(check(proto, DropIdentity())) == ["Identity"]


def test_one_value_for_two_outputs_keeps_both_names():
    class Both(NodePass):
        ops = frozenset({"Split"})

        def rewrite(self, node, build):
            value = build.op("Slice", node.inputs[0], build.ints([0]), build.ints([1]), build.ints([0]))
            return [value, value]

    node = helper.make_node("Split", ["x"], ["a", "b"], axis=0)
    after, _ = rewritten(model([node], {"x": (FLOAT, [2])}, ["a", "b"], opset=13), Both())
    assert [value.name for value in after.graph.output] == ["a", "b"]


def _conditional():
    """A Mul by two in one branch, whose constant stands outside."""
    then = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["a"])], "t", [], [helper.make_tensor_value_info("a", FLOAT, [3])]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "e", [], [helper.make_tensor_value_info("b", FLOAT, [3])]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    inputs = {"c": (TensorProto.BOOL, []), "x": (FLOAT, [3])}
    return model([node], inputs, ["y"], {"two": np.array(2, np.float32)}, opset=13)


@pytest.mark.parametrize("taken", [True, False])
def test_subgraphs_are_visited(taken):
    feeds = {"c": np.array(taken), "x": np.arange(3, dtype=np.float32)}
    after = check(_conditional(), DoubleToSum(), feeds=feeds)
    bodies = [attribute.g for attribute in after.graph.node[0].attribute]
    assert sorted(node.op_type for body in bodies for node in body.node) == ["Add", "Neg"]


def test_constants_of_a_subgraph_stay_in_it():
    class Shift(NodePass):
        ops = frozenset({"Mul"})

        def rewrite(self, node, build):
            return [build.op("Sub", build.op("Mul", node.inputs[0], np.float32(3)), node.inputs[0])]

    check(_conditional(), Shift(), feeds={"c": np.array(True), "x": np.arange(3, dtype=np.float32)})


def test_refusal_leaves_node_and_reason():
    proto = model([helper.make_node("Mul", ["x", "z"], ["y"])], {"x": (FLOAT, [2]), "z": (FLOAT, [2])}, ["y"], opset=13)
    graph = ir.from_proto(proto)
    assert run(graph, [DoubleToSum()]) == {}
    assert [(node.op_type, reason) for node, reason in refused(graph)] == [("Mul", "its factor is computed")]


def test_wrong_number_of_values_is_an_error():
    graph = ir.from_proto(_twice())
    with pytest.raises(ValueError, match="0 values for the 1 outputs of Mul"):
        Builder(graph.graph[0], set()).commit([])


def test_input_with_a_default_is_no_constant():
    proto = _twice()
    proto.graph.input.append(helper.make_tensor_value_info("two", FLOAT, []))
    graph = ir.from_proto(proto)
    assert const_value(graph.graph[0].inputs[1]) is None


def test_names_are_unique_and_the_same_every_time():
    row = [helper.make_node("Mul", [f"v{i}", "two"], [f"v{i + 1}"], name="same") for i in range(3)]
    proto = model(row, {"v0": (FLOAT, [2])}, ["v3"], {"two": np.array(2, np.float32)}, opset=13)

    class Wide(NodePass):
        ops = frozenset({"Mul"})

        def rewrite(self, node, build):
            return [build.op("Add", build.op("Neg", build.op("Neg", node.inputs[0])), node.inputs[0])]

    first = check(proto, Wide(), changed=3, reference=lambda v0: [v0 * 8])
    second, _ = rewritten(proto, Wide())
    names = [name for node in first.graph.node for name in node.output]
    assert len(set(names)) == len(names)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_checker_takes_node_metadata_at_ir_8():
    after, _ = rewritten(_twice(**{SCOPES: "['', 'mul']"}), DoubleToSum())
    assert after.ir_version == 8
    onnx.checker.check_model(after)


def test_functions_are_inlined_first():
    class Shift(NodePass):
        ops = frozenset({"Neg"})

        def rewrite(self, node, build):
            return [build.op("Mul", node.inputs[0], np.float32(-1))]

    own = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 13)]
    )
    graph = helper.make_graph(
        [helper.make_node("F", ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
    )
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    proto = helper.make_model(graph, opset_imports=imports, functions=[own], ir_version=8)
    assert op_types(check(proto, Shift())) == ["Mul"]
