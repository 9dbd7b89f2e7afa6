"""An ONNX model open at every node: onnxruntime with all intermediate values as outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import MeasurementError
from edgeconv.harness.trace.points import Array, Arrays, Fed, Point

#: What the error that is added to a place is called in the graph.
_ERROR = "edgeconv/error"


class OnnxReference:
    """See `points.Reference`.

    Args:
        path: an ONNX file that onnxruntime runs.

    Raises:
        MeasurementError: onnxruntime does not load it.
    """

    def __init__(self, path: Path) -> None:
        import onnx

        from edgeconv.rewrite.describe import module_of

        self._model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
        graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._inputs = [value.name for value in graph.input if value.name not in self._constants]
        self._names = [value.name for value in graph.output]
        floats = {
            value.name
            for value in [*graph.value_info, *graph.output]
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        }
        #: (node, its output) of every place
        self._places = [(node, name) for node in graph.node for name in node.output if name in floats]
        self._labels = _unique(module_of(node) or node.name or name for node, name in self._places)
        self._session = _session(_with_outputs(self._model, [name for _, name in self._places]))
        self._found: Arrays = {}

    def observe(self, inputs: Arrays) -> tuple[list[Point], Arrays]:
        """See Reference."""
        names = [output.name for output in self._session.get_outputs()]
        fed = {name: inputs[name] for name in self._inputs}
        self._found = dict(zip(names, self._session.run(names, fed), strict=True)) | fed
        numbers = {name: number for number, (_, name) in enumerate(self._places)}
        points = [
            Point(label, node.op_type, self._found[name], self._fed(node, numbers), self._is_replayable(node))
            for (node, name), label in zip(self._places, self._labels, strict=True)
        ]
        return points, {name: self._found[name] for name in self._names}

    def replay(self, point: int, fed: list[Array]) -> Array:
        """See Reference."""
        from onnx import helper

        node, name = self._places[point]
        names = self._computed(node)
        inputs = [
            helper.make_tensor_value_info(each, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for each, array in zip(names, fed, strict=True)
        ]
        constants = [self._constants[each] for each in node.input if each in self._constants]
        output = helper.make_empty_tensor_value_info(name)
        graph = helper.make_graph([node], "one", inputs, [output], constants)
        model = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        arrays = {each: np.ascontiguousarray(array) for each, array in zip(names, fed, strict=True)}
        return np.asarray(_session(model).run([name], arrays)[0])

    def disturbed(self, inputs: Arrays, point: int, error: Array) -> Arrays:
        """See Reference."""
        import onnx
        from onnx import helper, numpy_helper

        _, name = self._places[point]
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:]
        for node in self._model.graph.node:
            copy = model.graph.node.add()
            copy.CopyFrom(node)
            if name in node.output:
                copy.output[list(node.output).index(name)] = f"{_ERROR}/before"
                model.graph.node.append(helper.make_node("Add", [f"{_ERROR}/before", _ERROR], [name], name=_ERROR))
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(error, np.float32), _ERROR))
        found = _session(model).run(self._names, {each: inputs[each] for each in self._inputs})
        return dict(zip(self._names, found, strict=True))

    def _computed(self, node: Any) -> list[str]:
        """An op's inputs that are no constants, each once."""
        return list(dict.fromkeys(name for name in node.input if name and name not in self._constants))

    def _fed(self, node: Any, numbers: dict[str, int]) -> list[Fed]:
        fed = []
        for name in self._computed(node):
            value = self._found.get(name)
            fed.append(Fed(numbers.get(name), name in self._inputs, np.zeros(0) if value is None else value))
        return fed

    def _is_replayable(self, node: Any) -> bool:
        """Its inputs are all known: an integer that another node computes is no place."""
        has_graph = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        return not has_graph and all(name in self._found for name in self._computed(node))


def _unique(labels: Iterable[str]) -> list[str]:
    """Labels with a number from the second on."""
    counts: dict[str, int] = {}
    found = []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        found.append(label if counts[label] == 1 else f"{label}#{counts[label]}")
    return found


def _with_outputs(model: Any, names: list[str]) -> Any:
    """The model with these values as outputs besides its own."""
    import onnx
    from onnx import helper

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    own = {value.name for value in model.graph.output}
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in own)
    return opened


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise MeasurementError(
            f"onnxruntime does not load the opened graph: {str(error).splitlines()[0][:300]}"
        ) from error
