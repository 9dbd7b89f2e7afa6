"""A .tflite open at every tensor: LiteRT without a delegate, keeping all intermediate values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import MeasurementError
from edgeconv.harness.trace.points import MOVES, Array, Arrays, Tensor


class TfliteTensors:
    """Interprets the file op by op.

    Args:
        path: the `.tflite`.
        layouts: of its inputs and outputs against the original model's, see `harness.runtimes.Relaid`.

    Raises:
        MeasurementError: LiteRT does not load it.
    """

    def __init__(self, path: Path, layouts: dict[str, dict[str, list[int]]] | None) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        from edgeconv.rewrite import flatbuffer

        self._layouts = layouts or {"inputs": {}, "outputs": {}}
        try:
            self._interpreter = Interpreter(
                str(path),
                num_threads=1,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            lines = str(error).strip().splitlines() or [""]
            raise MeasurementError(f"LiteRT does not load {path.name}: {lines[0][:300]}") from error
        self.tensors = _activations(flatbuffer.read(path))

    def values(self, inputs: Arrays) -> tuple[dict[int, Array], Arrays]:
        """Every activation by index, and the outputs in the original model's layout."""
        turns = self._layouts["inputs"]
        for entry in self._interpreter.get_input_details():
            array = inputs[entry["name"]]
            turned = array.transpose(turns[entry["name"]]) if entry["name"] in turns else array
            self._interpreter.set_tensor(entry["index"], np.ascontiguousarray(turned))
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise MeasurementError(f"LiteRT fails without its delegate: {str(error).strip()[:300]}") from error
        found = {}
        for tensor in list(self.tensors):
            try:
                found[tensor.index] = self._interpreter.get_tensor(tensor.index)
            except ValueError:  # a loop's state that nothing reads behind it has no data
                self.tensors.remove(tensor)
        outputs = {}
        for entry in self._interpreter.get_output_details():
            array, perm = self._interpreter.get_tensor(entry["index"]), self._layouts["outputs"].get(entry["name"])
            outputs[entry["name"]] = array.transpose(np.argsort(perm)) if perm else array
        return found, outputs


def _activations(model: Any) -> list[Tensor]:
    """Float tensors that depend on the model's inputs, in the order in which they are computed."""
    from edgeconv.rewrite import flatbuffer

    graph = model.subgraphs[0]
    live = {int(index) for index in graph.inputs}
    origin: dict[int, str] = {}  # dtype of a constant that was dequantized at load
    found = []
    for position, op in enumerate(graph.operators):
        name = flatbuffer.op_name(model, op)
        used = [int(index) for index in op.inputs if index >= 0]
        if not live.intersection(used):
            origin.update({int(out): _weights(model, graph, used, origin) for out in op.outputs})
            continue
        for out in (int(index) for index in op.outputs):
            live.add(out)
            tensor = graph.tensors[out]
            if flatbuffer.type_name(tensor.type) == "FLOAT32":
                label = (tensor.name or b"").decode()
                weights = "" if name in MOVES else _weights(model, graph, used, origin)
                found.append(Tensor(out, label, name, weights, position))
    return found


def _weights(model: Any, graph: Any, used: list[int], origin: dict[int, str]) -> str:
    """Dtype of the largest constant among an op's inputs."""
    from edgeconv.rewrite import flatbuffer

    best, size = "", 15  # a scale or an axis is no weight
    for index in used:
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        elements = int(np.prod(tensor.shape)) if tensor.shape is not None else 1
        if (index in origin or (data is not None and len(data))) and elements > size:
            best, size = origin.get(index) or flatbuffer.type_name(tensor.type), elements
    return best
