"""All obstacles of a model at once, each with op, module and line; and the smallest graph that shows one."""

import json

import onnx
import pytest

from edgeconv.errors import StageError, UnsupportedOp
from edgeconv.stages import obstacles, rehearse, witness
from edgeconv.stages.onnx import Onnx
from tests.stages.chain_helpers import module_source, run_stages

FLOW = """
class Inner(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.mix = Inner(), nn.Linear(4, 4)
    def forward(self, x):
        y = self.mix(self.inner(x))
        for _ in range(int(y.argmax())):
            y = y + 1
        return y, torch.fft.fft(x).abs()

def make():
    return Net().eval(), (torch.randn(1, 4),)
"""

UNTRANSLATED = """
class Inner(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
    def forward(self, x):
        return self.inner(x), torch.special.bessel_j1(x)

def make():
    return Net().eval(), (torch.randn(1, 4),)
"""

NO_BUILTIN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 5)
    def forward(self, x):
        y = torch.relu(self.mix(x))
        d = torch.linalg.det(y)
        return d + 1, y * 2

def make():
    return Net().eval(), (torch.randn(1, 5, 5),)
"""


def found(text, tmp_path):
    source = module_source(tmp_path, text)
    path = tmp_path / "check.onnx"
    return obstacles.find({"source": source.to_json(), "destination": str(path)}), path, source


def test_every_place_where_python_decides_is_named_with_its_module_and_line(tmp_path):
    result, _, _ = found(FLOW, tmp_path)
    rows = [(row["kind"], row["module"], row["place"].partition(": ")[2]) for row in result["obstacles"]]
    assert ("control-flow", "inner", "if x.sum() > 0:") in rows
    assert ("control-flow", "", "for _ in range(int(y.argmax())):") in rows
    assert [row[0] for row in rows].count("complex") == 1
    assert not result["exported"]


def test_the_error_of_a_run_names_the_line(tmp_path):
    source = module_source(tmp_path, FLOW)
    with pytest.raises(StageError, match=r"line 6 of .*net_.*\.py"):
        run_stages(source, [Onnx()], tmp_path / "chain")


def test_operators_without_translation_are_all_named(tmp_path):
    result, _, source = found(UNTRANSLATED, tmp_path)
    assert {(row["kind"], row["op"], row["module"]) for row in result["obstacles"]} == {
        ("no-onnx", "prims.bessel_j0.default", "inner"),
        ("no-onnx", "prims.bessel_j1.default", ""),
    }
    with pytest.raises(UnsupportedOp, match=r"bessel_j0.default in 'inner' \(.*bessel_j1"):
        run_stages(source, [Onnx()], tmp_path / "chain")


def test_a_model_that_goes_through_has_none(tmp_path):
    result, path, _ = found(NO_BUILTIN.replace("torch.linalg.det(y)", "y.sum()"), tmp_path)
    assert result == {"obstacles": [], "exported": True, "untaken": []}
    asked = {"onnx": str(path), "untaken": [], "min_runtime": "2.14.0"}
    assert rehearse.find(asked) == {"obstacles": []}


def test_what_tflite_has_no_builtin_for_is_found_and_cut_out(tmp_path):
    result, path, source = found(NO_BUILTIN, tmp_path)
    rows = rehearse.find({"onnx": str(path), "untaken": result["untaken"], "min_runtime": "2.14.0"})["obstacles"]
    (row,) = rows
    assert row["op"] == "tf.MatrixDeterminant"
    assert row["place"].endswith("d = torch.linalg.det(y)")
    paths, _ = run_stages(source, [Onnx()], tmp_path / "chain")
    assert list(obstacles.locate({"source": source.to_json(), "nodes": row["nodes"]})["places"].values()) == [
        row["place"]
    ]
    part = tmp_path / "part.onnx"
    asked = {"onnx": str(paths["onnx"]), "nodes": row["nodes"], "destination": str(part), "certain": False}
    assert rehearse.shrink(asked) == {"nodes": 1, "shown": True}
    assert [node.op_type for node in onnx.load(part).graph.node] == ["Det"]


def test_a_file_for_a_newer_runtime_is_an_obstacle(tmp_path):
    _, path, _ = found(NO_BUILTIN.replace("torch.linalg.det(y)", "y.sum()"), tmp_path)
    (row,) = rehearse.find({"onnx": str(path), "untaken": [], "min_runtime": "1.2"})["obstacles"]
    assert row["kind"] == "runtime"
    assert "promises 1.2" in row["reason"]


def test_findings_are_grouped():
    one = witness.obstacle("opset", "STFT", "a", "net.py:1", "why", node="n1")
    grouped = witness.grouped([one, {**one, "node": "n2"}, {**one, "module": "b"}])
    assert [(row["module"], row["count"], row["nodes"]) for row in grouped] == [
        ("a", 2, ["n1", "n2"]),
        ("b", 1, ["n1"]),
    ]
    json.dumps(grouped)


def test_a_place_is_the_innermost_line_of_the_users_own():
    import torch

    trace = (
        'File "/home/me/net.py", line 12, in forward\n    y = self.mix(x)\n'
        f'File "{torch.__file__}", line 3, in forward\n    return F.linear(x)\n'
    )
    assert witness.place_in(trace) == "/home/me/net.py:12: y = self.mix(x)"
    assert witness.place_in("") == ""


def test_a_sequence_of_tensors_is_looked_through(tmp_path):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        helper.make_node("ConcatFromSequence", ["parts"], ["y"], axis=1),
    ]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s)] for n, s in (("x", [2, 3]), ("y", [1, 6]))]
    path = tmp_path / "sequence.onnx"
    graph = helper.make_graph(nodes, "net", *ends)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    (row,) = rehearse.find({"onnx": str(path), "untaken": [], "min_runtime": None})["obstacles"]
    assert "no builtin" in row["reason"]
