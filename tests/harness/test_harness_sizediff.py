"""Where the bytes went: attributed to layers, matched by content where names changed, to the byte."""

import numpy as np
import pytest

from edgeconv.harness import sizediff
from edgeconv.report.compare import ConstantRow
from edgeconv.report.compare_view import sentence
from edgeconv.rewrite import flatbuffer
from scripts.selftest_models import conv_chain

SIZES = {"size": 8, "channels": 4}
WEIGHTS = 4 * 9 * 4 * 4


@pytest.fixture
def chain(tmp_path):
    return conv_chain(tmp_path / "a.tflite", 3, **SIZES)


def diff(a, b):
    found = sizediff.diff({"a": {"path": str(a), "kind": "tflite"}, "b": {"path": str(b), "kind": "tflite"}})
    assert found["found_bytes"] == found["change_bytes"] == b.stat().st_size - a.stat().st_size
    assert sum(row["change_bytes"] for row in found["dtypes"]) == sum(row["change_bytes"] for row in found["constants"])
    return found


def edited(path, edit):
    """A copy of the file after `edit(model, graph)`."""
    model = flatbuffer.read(path)
    edit(model, model.subgraphs[0])
    copy = path.with_name("b.tflite")
    flatbuffer.write(model, copy)
    return copy


def say(row):
    return sentence(ConstantRow.model_validate(row))


def test_equal_files_differ_in_nothing(chain):
    found = diff(chain, chain)
    assert found["constants"] == []
    assert (found["unchanged"], found["renamed"], found["change_bytes"]) == (6, 0, 0)


def test_more_layers_are_found_to_the_byte_and_named(chain, tmp_path):
    found = diff(chain, conv_chain(tmp_path / "b.tflite", 5, **SIZES))
    assert [row["layer"] for row in found["constants"] if row["role"] == "weights"] == ["layers.3", "layers.4"]
    assert all(row["what"] == "were added" for row in found["constants"])
    assert say(found["constants"][0]).startswith("layers.3: weights were added: +")
    assert {row["name"]: (row["a"], row["b"]) for row in found["ops"]} == {"CONV_2D": (3, 5)}


def test_names_that_changed_are_matched_by_content(chain):
    def rename(model, graph):
        for number, tensor in enumerate(graph.tensors):
            tensor.name = b"t%d" % number

    found = diff(chain, edited(chain, rename))
    assert (found["unchanged"], found["renamed"]) == (6, 6)
    assert all(row["what"].startswith("are now called") for row in found["constants"])


def quantize_one(model, graph, name=None):
    """Weights of the middle layer as int8, in another order of axes if renamed."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[graph.operators[1].inputs[1]]
    values = flatbuffer.constant(model, tensor)
    scale = np.abs(values).max() / 127
    stored = np.round(values / scale).astype(np.int8)
    if name:
        stored, tensor.name = np.ascontiguousarray(stored.transpose(1, 2, 3, 0)), name
        tensor.shape = list(stored.shape)
    model.buffers[tensor.buffer].data = np.frombuffer(stored.tobytes(), np.uint8)
    tensor.type = schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [float(scale)], [0]


def test_another_dtype_is_told_of_its_layer(chain):
    found = diff(chain, edited(chain, quantize_one))
    (row,) = found["constants"]
    assert (row["layer"], row["role"], row["what"]) == ("layers.1", "weights", "became int8")
    assert -WEIGHTS < row["change_bytes"] < -WEIGHTS // 2
    assert say(row).startswith("layers.1: weights became int8: −")


def test_another_dtype_name_and_layout_at_once_are_still_the_same_weights(chain):
    found = diff(chain, edited(chain, lambda model, graph: quantize_one(model, graph, b"other")))
    (row,) = [row for row in found["constants"] if row["role"] == "weights"]
    assert (row["a"]["name"], row["b"]["name"]) == ("layers.1/weight", "other")
    assert row["what"] == "became int8 and changed layout from [4, 3, 3, 4] to [3, 3, 4, 4]"


def test_other_values_of_the_same_size_are_no_change_of_size_but_told(chain):
    def shift(model, graph):
        tensor = graph.tensors[graph.operators[0].inputs[1]]
        values = flatbuffer.constant(model, tensor) + 1
        model.buffers[tensor.buffer].data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)

    (row,) = diff(chain, edited(chain, shift))["constants"]
    assert (row["what"], row["change_bytes"]) == ("have other values", 0)
