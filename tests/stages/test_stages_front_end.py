"""What of a graph is signal processing before a logarithm or a sine, and what is a network."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.stages import front_end

N = helper.make_node


def found(nodes, **constants):
    """Names of kept nodes; the weights w and v are 4 × 4."""
    constants = {"w": np.eye(4), "v": np.eye(4), "two": np.float32(2), "small": np.float32(1e-6), **constants}
    weights = {name: np.asarray(array, np.float32) for name, array in constants.items()}
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held))
    return front_end.before_it(model, weights)


def test_spectra_before_a_logarithm_are_kept_and_the_network_behind_is_not():
    nodes = [
        N("MatMul", ["x", "w"], ["turned"], "fourier"),
        N("Pow", ["turned", "two"], ["power"]),
        N("MatMul", ["power", "v"], ["bands"], "mel"),
        N("Add", ["bands", "small"], ["above"]),
        N("Log", ["above"], ["levels"]),
        N("MatMul", ["levels", "w"], ["y"], "network"),
    ]
    assert found(nodes) == dict.fromkeys(("fourier", "mel"), "signal processing before Log")


@pytest.mark.parametrize("activation", ["Relu", "Softmax", "Sigmoid"])
def test_a_network_before_a_logarithm_is_none(activation):
    nodes = [
        N("MatMul", ["x", "w"], ["hidden"], "first"),
        N(activation, ["hidden"], ["active"]),
        N("MatMul", ["active", "v"], ["scores"], "second"),
        N("Log", ["scores"], ["y"]),
    ]
    assert found(nodes) == {}


def test_relu6_is_an_activation_and_one_bound_is_none():
    def nodes(*bounds):
        return [
            N("MatMul", ["x", "w"], ["hidden"], "first"),
            N("Clip", ["hidden", *bounds], ["clipped"]),
            N("MatMul", ["clipped", "v"], ["scores"], "second"),
            N("Log", ["scores"], ["y"]),
        ]

    assert found(nodes("small", "two")) == {}
    assert set(found(nodes("small"))) == {"first", "second"}


def test_many_matrices_are_a_network():
    nodes = [N("MatMul", [f"h{n}" if n else "x", "w"], [f"h{n + 1}"], f"layer{n}") for n in range(6)]
    assert found([*nodes, N("Log", ["h6"], ["y"])]) == {}
    assert len(found([*nodes[:5], N("Log", ["h5"], ["y"])])) == 5


@pytest.mark.parametrize(("power", "kept"), [(0.3, True), (0.5, False), (2.0, False)])
def test_powers_that_compress_count_as_logarithms(power, kept):
    nodes = [N("MatMul", ["x", "w"], ["turned"], "filters"), N("Pow", ["turned", "p"], ["y"])]
    assert bool(found(nodes, p=np.float32(power))) is kept


def test_frequencies_before_a_sine_are_kept():
    nodes = [N("MatMul", ["x", "w"], ["phase"], "frequencies"), N("Sin", ["phase"], ["y"])]
    assert found(nodes) == {"frequencies": "signal processing before Sin"}


@pytest.mark.parametrize("last", [N("Floor", ["places"], ["y"]), N("Cast", ["places"], ["y"], to=TensorProto.INT64)])
def test_coordinates_are_kept(last):
    nodes = [N("MatMul", ["x", "w"], ["places"], "camera"), last]
    assert found(nodes) == {"camera": f"signal processing before {last.op_type}"}


def test_a_change_to_another_float_type_is_none():
    nodes = [N("MatMul", ["x", "w"], ["h"], "first"), N("Cast", ["h"], ["y"], to=TensorProto.DOUBLE)]
    assert found(nodes) == {}
