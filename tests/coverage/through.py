"""Models through the chain in this process, and the .tflite in LiteRT: for many small ones, one after the other."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeconv.harness.runtimes import RUNTIMES, Relaid
from edgeconv.source import ModelSource, onnx_file, parse_reference
from edgeconv.stages import Onnx, Quantize, SavedModel, Tflite
from tests.stages.chain_helpers import run_stages

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Through:
    """What came out of the chain.

    Attributes:
        outputs: of the .tflite, by name, in the model's layout.
        ops: the builtins of all its subgraphs.
        int8: how many int8 elements the file holds as constants.
    """

    outputs: dict[str, Array]
    ops: list[str]
    int8: int


def through(model: onnx.ModelProto, feeds: Mapping[str, Array], *, quantized: bool = False) -> Through:
    """Convert an ONNX model of any opset, with fixed shapes, and run the file on `feeds`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, str(folder / "model.onnx"))
        source = parse_reference("model.onnx", base=folder)
        onnx_file.snapshot_of(source)  # refuses inputs that no target takes
        done = convert(source, feeds, folder / "out", quantized=quantized)
    names = [value.name for value in model.graph.output]
    return Through({name: done.outputs[name] for name in names}, done.ops, done.int8)


def convert(source: ModelSource, feeds: Mapping[str, Array], folder: Path, *, quantized: bool) -> Through:
    """Run the stages of `android` (quantized) or `android-float`, then the file in LiteRT."""
    from edgeconv.rewrite import flatbuffer

    gc.freeze()  # the TFLite converter collects garbage each time: a quarter of a second over TensorFlow's own objects
    middle = [Quantize()] if quantized else []
    stages = [Onnx(), *middle, SavedModel(), Tflite(mode="dynamic" if quantized else "float32")]
    paths, notes = run_stages(source, stages, folder)
    runtime = RUNTIMES["litert"](paths["tflite"], 1)
    runtime.prepare()
    found = Relaid(runtime, notes["tflite"]["layouts"]).run(dict(feeds))
    file = flatbuffer.read(paths["tflite"])
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    constants = {(tensor.buffer, tensor.type): flatbuffer.constant(file, tensor) for tensor in tensors}
    return Through(
        found,
        [flatbuffer.op_name(file, op) for graph in file.subgraphs for op in graph.operators],
        sum(array.size for array in constants.values() if array is not None and array.dtype == np.int8),
    )


def snr_db(wanted: Array, found: Array) -> float:
    """Signal to noise ratio in dB, over all elements."""
    wanted, found = wanted.astype(np.float64), found.astype(np.float64)
    noise = float(((wanted - found) ** 2).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(float((wanted**2).sum()) / noise))
