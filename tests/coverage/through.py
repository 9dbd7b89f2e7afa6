"""An ONNX model through the chain in this process, and its .tflite in LiteRT: for many small models, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeconv.harness.runtimes import RUNTIMES, Relaid
from edgeconv.source import parse_reference
from edgeconv.stages import Onnx, Quantize, SavedModel, Tflite
from tests.stages.chain_helpers import run_stages

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Through:
    """What came out of the chain.

    Attributes:
        outputs: of the .tflite, by name, in the model's layout and order.
        ops: the builtins of all its subgraphs.
        size: bytes of the file.
        notes: what each stage said.
        int8: how many int8 elements the file holds as constants.
    """

    outputs: dict[str, Array]
    ops: list[str]
    size: int
    notes: dict[str, Any]
    int8: int


def through(
    model: onnx.ModelProto, feeds: Mapping[str, Array], *, quantized: bool = False, runtime: str = "litert"
) -> Through:
    """Convert with the stages that `android` and `android-float` run, then run the file once.

    Args:
        model: of any opset, with fixed shapes.
        feeds: by input name.
        quantized: whether the weights become int8.
        runtime: "litert" or "tflite-runtime".
    """
    from edgeconv.rewrite import flatbuffer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, str(folder / "model.onnx"))
        source = parse_reference("model.onnx", base=folder)
        middle = [Quantize()] if quantized else []
        stages = [Onnx(), *middle, SavedModel(), Tflite(mode="dynamic" if quantized else "float32")]
        paths, notes = run_stages(source, stages, folder / "out")
        layouts = notes["tflite"]["layouts"]
        found = Relaid(RUNTIMES[runtime](paths["tflite"], 1), layouts).run(dict(feeds))
        file = flatbuffer.read(paths["tflite"])
        constants = {
            (tensor.buffer, tensor.type): flatbuffer.constant(file, tensor)
            for graph in file.subgraphs
            for tensor in graph.tensors
        }
        return Through(
            {value.name: found[value.name] for value in model.graph.output},
            [flatbuffer.op_name(file, op) for graph in file.subgraphs for op in graph.operators],
            paths["tflite"].stat().st_size,
            notes,
            sum(a.size for a in constants.values() if a is not None and a.dtype == np.int8),
        )


def snr_db(wanted: Array, found: Array) -> float:
    """Signal to noise ratio in dB, over all elements."""
    wanted, found = wanted.astype(np.float64), found.astype(np.float64)
    noise = float(((wanted - found) ** 2).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(float((wanted**2).sum()) / noise))
