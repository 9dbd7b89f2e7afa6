"""The table of op versions is what tflite-runtime 2.14 says itself; a file declares what it needs and no more."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeconv.errors import UnsupportedOp
from edgeconv.rewrite import flatbuffer, op_versions
from edgeconv.stages import Tflite

#: Asked in a process of its own: tflite-runtime shares none with TensorFlow.
ASK = """
import json, sys
from tflite_runtime.interpreter import Interpreter
answers = []
for path in json.load(sys.stdin):
    try:
        Interpreter(path)
        answers.append(True)
    except ValueError as error:
        answers.append("Didn't find op for builtin" not in str(error))  # an op without tensors has other faults
print(json.dumps(answers))
"""


def with_op(name, version):
    """A `ModelT` with one op without tensors."""
    model = schema.ModelT()
    model.version, model.buffers, graph = 3, [schema.BufferT()], schema.SubGraphT()
    op = schema.OperatorT()
    model.operatorCodes = []
    op.opcodeIndex = flatbuffer.op_code(model, getattr(schema.BuiltinOperator, name), version)
    op.inputs, op.outputs = [], []
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], [op]
    model.subgraphs = [graph]
    return model


def test_every_version_of_every_op_is_in_2_14_exactly_if_the_table_says_so(tmp_path):
    asked = [(name, version) for name, known in op_versions._SINCE.items() for version in range(1, len(known) + 2)]
    paths = []
    for name, version in asked:
        paths.append(tmp_path / f"{name}-{version}.tflite")
        flatbuffer.write(with_op(name, version), paths[-1])
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([str(p) for p in paths]),
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(done.stdout)
    promised = [op_versions.number(op_versions.since(*one)) <= (2, 14, 0) for one in asked]
    assert len(asked) > 300
    assert [one for one, a, b in zip(asked, there, promised, strict=True) if a != b] == []


def test_op_codes_that_nothing_uses_go_and_the_metadata_says_what_the_rest_needs():
    model = with_op("ADD", 1)
    flatbuffer.op_code(model, schema.BuiltinOperator.GELU, 2)
    model.subgraphs[0].operators[0].opcodeIndex = flatbuffer.op_code(model, schema.BuiltinOperator.DEQUANTIZE, 5)
    assert op_versions.declare(model) == "2.7.0"
    assert op_versions.needs(model) == {"DEQUANTIZE version 5": "2.7.0"}
    (entry,) = model.metadata
    assert bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8)).rstrip(b"\0") == b"2.7.0"
    assert op_versions.declare(model) == "2.7.0"
    assert len(model.metadata) == 1


def test_an_op_that_is_newer_than_the_promise_is_named():
    needs = op_versions.needs(with_op("GELU", 1))
    Tflite(min_runtime="2.9.0")._refuse_newer(needs)
    with pytest.raises(UnsupportedOp, match=r"promises TFLite 2\.8\.0, but GELU version 1 needs 2\.9\.0") as caught:
        Tflite(min_runtime="2.8.0")._refuse_newer(needs)
    assert 'min_runtime = "2.9.0"' in caught.value.hint
