"""Token ids stay within a table's rows, also where the graph computes with them before it looks them up."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.harness import vocabulary

MODEL = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.kinds = nn.Embedding(3000, 8), nn.Embedding(7, 8)

    def forward(self, ids, kind):
        return (self.words(ids) + self.kinds(kind)).mean(1)


def make():
    return Net().eval(), (torch.arange(12)[None], torch.zeros(1, 12, dtype=torch.int64))
"""


@pytest.mark.slow
def test_ids_of_a_converted_file_alone_fill_the_vocabulary(cli, write, tmp_path):
    """The converted graph wraps negative ids first. Nothing but the file's content tells its kind."""
    write("words.py", MODEL)
    said = cli("run", "--unproven", "--target", "android-float", "--model", "words.py:make", "--name", "words")
    assert said.code == 0, said
    (path,) = (tmp_path / "artifacts").rglob("*.tflite")
    (tmp_path / "words.bin").write_bytes(path.read_bytes())
    said = cli("bench", "words.bin", "--json", "--no-memory", "--no-ops", "--min-runs", "5", "--min-seconds", "0")
    ids, kind = json.loads(said.out)["inputs"]
    assert (ids["low"], ids["high"]) == (0, 2999)
    assert (kind["low"], kind["high"]) == (0, 6)


def looked_up(path, nodes, **constants):
    """What an .onnx implies that computes `index` from `ids` and looks it up in 50 rows."""
    held = [numpy_helper.from_array(np.ones((50, 2), np.float32), "table")]
    held += [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in constants.items()]
    ends = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 4]),
        helper.make_tensor_value_info("y", 1, None),
    ]
    nodes = [*(helper.make_node(op, inputs, [out]) for op, inputs, out in nodes)]
    nodes.append(helper.make_node("Gather", ["table", "index"], ["y"]))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held)), path)
    return vocabulary.known(path, [{"dtype": "int64"}]).get("ids")


def test_integer_steps_before_the_table_are_followed(tmp_path):
    path = tmp_path / "x.onnx"
    wrapped = [("Add", ["ids", "n"], "up"), ("Mod", ["up", "n"], "index")]
    assert looked_up(path, wrapped, n=50) == (0, 49)
    assert looked_up(path, [("Add", ["two", "ids"], "index")], two=2) == (0, 47)
    assert looked_up(path, [("Sub", ["ids", "two"], "index")], two=2) == (2, 51)
    assert looked_up(path, [("Add", ["ids", "starts"], "index")], starts=[0, 10, 20, 30]) == (0, 19)
    assert looked_up(path, [("Max", ["ids", "zero"], "index")], zero=0) == (0, 49)
    negative = [("Less", ["ids", "zero"], "c"), ("Add", ["ids", "n"], "up"), ("Where", ["c", "up", "ids"], "index")]
    assert looked_up(path, negative, zero=0, n=50) == (0, 49)
    assert looked_up(path, [("Mul", ["ids", "two"], "index")], two=2) is None
