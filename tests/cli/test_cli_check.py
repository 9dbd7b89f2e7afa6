"""`edgeconv check`, and what a failed run says of the place and leaves as a graph."""

import json

import onnx
import pytest

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 5)

    def forward(self, x):
        y = torch.relu(self.mix(x))
        d = torch.linalg.det(y)
        if FLOW and d > 0:
            y = y + 1
        return d + 1, y * 2


FLOW = False


def make():
    return Net().eval(), (torch.randn(1, 5, 5),)
"""


@pytest.mark.slow
@pytest.mark.slice
def test_check_names_the_obstacle_and_its_line_and_a_run_keeps_the_smallest_graph(cli, write):
    write("det.py", NET)
    said = cli("check", "det.py:make", "--json")
    found = json.loads(said.out)
    assert said.code == 21, said
    assert [(row["op"], row["place"]) for row in found["obstacles"]] == [
        ("tf.MatrixDeterminant", "det.py:13: d = torch.linalg.det(y)")
    ]
    said = cli.refuses(
        "run", "--model", "det.py:make", "--save-repro", "part.onnx", code=21, says="det.py:13: d = torch.linalg.det(y)"
    )
    assert "part.onnx holds 1 node" in said.err
    assert [node.op_type for node in onnx.load(cli.folder / "part.onnx").graph.node] == ["Det"]


@pytest.mark.slow
def test_check_says_what_decides_by_a_value_and_that_more_may_follow(cli, write):
    write("flow.py", NET.replace("FLOW = False", "FLOW = True"))
    said = cli("check", "--model", "flow.py:make")
    assert said.code == 21, said
    assert "flow.py:14: if FLOW and d > 0:" in said.out
    assert "does not export yet" in said.out


@pytest.mark.slow
def test_a_model_without_obstacles_exits_with_zero(cli):
    said = cli("check", "net.py:make")
    assert (said.code, "no obstacles" in said.out) == (0, True), said
    assert not list(cli.cache.glob("*/records/*"))
