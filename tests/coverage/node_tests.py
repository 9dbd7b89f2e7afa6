"""The node tests that the onnx package carries, of operators that opset 13 has, as cases for the chain.

A test hands everything to its node at run time, shapes and axes too. What a .tflite file must know when it is made (the
inputs named in PARAMETERS) becomes a constant of the model, as it is in any exported one; data stays an input.
"""

from __future__ import annotations

import functools
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeconv.errors import EdgeconvError
from tests.coverage.through import snr_db, through

Array = np.ndarray[Any, Any]

#: Inputs, by operator, that say how to compute and not what with: positions, and what they are.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
#: Inputs that are weights: constants in the quantized run, so that there is something to quantize.
WEIGHTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "GRU": (1, 2, 3),
    "Gemm": (1,),
    "LSTM": (1, 2, 3),
    "MatMul": (1,),
    "RNN": (1, 2, 3),
}
#: Least signal to noise ratio of a case with int8 weights, in dB.
QUANTIZED_DB = 25.0


@dataclass(frozen=True)
class Case:
    """One node test.

    Attributes:
        name: onnx's.
        op: the operator it is about; of an expanded one, the operator that was expanded.
        model: with parameters as constants.
        feeds: by input name.
        wanted: outputs in order.
        rtol, atol: onnx's tolerances.
    """

    name: str
    op: str
    model: onnx.ModelProto
    feeds: dict[str, Array]
    wanted: list[Any]
    rtol: float
    atol: float


@functools.cache
def cases() -> dict[str, Case]:
    """Every test whose operators opset 13 has, by name. Training operators and other domains are not among them."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = {test.name: test for test in load_model_tests(kind="node")}
    found = {}
    for name, test in sorted(tests.items()):
        origin = tests.get(name.split("_expanded")[0], test)
        ops = [node.op_type for node in test.model.graph.node]
        about = [node.op_type for node in origin.model.graph.node]
        if not all(_at_13(node) for node in [*test.model.graph.node, *origin.model.graph.node]) or not ops:
            continue
        inputs, outputs = ([_array(value) for value in side] for side in test.data_sets[0])
        feeds = dict(zip([value.name for value in test.model.graph.input], inputs, strict=False))
        found[name] = Case(name, about[0], test.model, feeds, outputs, test.rtol, test.atol)
    for case in _own():
        found[case.name] = case
    return found


def _own() -> list[Case]:
    """Operators of which onnx has no node test."""
    from onnx import TensorProto, helper

    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    cases = []
    for order in (1, 2, 3):
        node = helper.make_node("GlobalLpPool", ["x"], ["y"], p=order)
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in (("x", [2, 3, 4, 5]), ("y", [2, 3, 1, 1]))
        ]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        wanted = (np.abs(x.astype(np.float64)) ** order).sum((2, 3), keepdims=True) ** (1 / order)
        name = f"own_global_lppool_{order}"
        cases.append(Case(name, "GlobalLpPool", model, {"x": x}, [wanted.astype(np.float32)], 1e-4, 1e-6))
    return cases


def _array(value: Any) -> Any:
    value = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    return np.asarray(value) if isinstance(value, np.generic | float | int | bool) else value


def _at_13(node: onnx.NodeProto) -> bool:
    try:
        onnx.defs.get_schema(node.op_type, 13, node.domain)
    except onnx.defs.SchemaError:
        return False
    return node.domain in {"", "ai.onnx"}


def baked(case: Case, *, weights: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model with parameters (and weights) as constants, and what is still fed."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    fixed = set()
    for node in model.graph.node:
        places = PARAMETERS.get(node.op_type, ()) + (WEIGHTS.get(node.op_type, ()) if weights else ())
        fixed |= {node.input[place] for place in places if place < len(node.input)}
    if "_expanded" in case.name and case.op in PARAMETERS:  # the same inputs, whatever reads them now
        names = [value.name for value in model.graph.input]
        fixed |= {names[place] for place in PARAMETERS[case.op] if place < len(names)}
    for value in [value for value in model.graph.input if value.name in fixed]:
        model.graph.input.remove(value)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(case.feeds[value.name]), value.name))
    left = {value.name: case.feeds[value.name] for value in model.graph.input}
    return model, left


def differs(case: Case, found: Mapping[str, Array], *, quantized: bool) -> str:
    """How the outputs differ from the wanted ones; empty if they do not."""
    for (name, got), wanted in zip(found.items(), case.wanted, strict=True):
        if got.dtype != wanted.dtype:
            return f"{name} is {got.dtype}, not {wanted.dtype}"
        if got.shape != wanted.shape:
            return f"{name} has the shape {list(got.shape)}, not {list(wanted.shape)}"
        if quantized and wanted.dtype.kind == "f":
            ratio = snr_db(wanted, got)
            if ratio < QUANTIZED_DB:
                return f"{name} agrees to {ratio:.1f} dB"
            continue
        # float32 sums in another order differ by rounding of the largest term, not of the result
        finite = np.abs(wanted[np.isfinite(wanted)]) if wanted.dtype.kind == "f" else np.zeros(0)
        atol = max(case.atol, 1e-6 * float(finite.max(initial=0.0)))
        if not np.allclose(got, wanted, rtol=case.rtol, atol=atol, equal_nan=True):
            worst = np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
            return f"{name} differs by up to {worst:.3g}"
    return ""


def run(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Cases through the chain: a job for edgeconv.worker.

    They go as one model, which takes little longer than one of them; if that fails, each goes alone.

    Args:
        payload: {"names": of cases with the same opset, "quantized": bool}.

    Returns:
        By name {"passed": bool, "error": kind of the failure or "", "text": what was said}.
    """
    found = [cases()[name] for name in payload["names"]]
    quantized = payload["quantized"]
    if len(found) > 1:
        try:
            return _run_merged(found, quantized=quantized)
        except Exception:  # noqa: BLE001 - whichever it was fails alone too, and says why
            return {case.name: _run_one(case, quantized=quantized) for case in found}
    return {case.name: _run_one(case, quantized=quantized) for case in found}


def _run_one(case: Case, *, quantized: bool) -> dict[str, Any]:
    error = text = ""
    try:
        model, feeds = baked(case, weights=quantized)
        text = differs(case, through(model, feeds, quantized=quantized).outputs, quantized=quantized)
        error = "Differs" if text else ""
    except EdgeconvError as caught:
        error, text = type(caught).__name__, caught.message
    except Exception as caught:  # noqa: BLE001 - every way to fail is a row of the table
        last = traceback.extract_tb(caught.__traceback__)[-1]
        error, text = type(caught).__name__, f"{caught} ({last.filename.rpartition('/')[2]}:{last.lineno})"
    return {"passed": not error, "error": error, "text": text[:400]}


def _run_merged(found: list[Case], *, quantized: bool) -> dict[str, dict[str, Any]]:
    whole = onnx.ModelProto()
    feeds: dict[str, Array] = {}
    for number, case in enumerate(found):
        model, mine = baked(case, weights=quantized)
        prefix = f"t{number}_"
        part = onnx.compose.add_prefix(model, prefix)
        feeds |= {prefix + name: array for name, array in mine.items()}
        if not number:
            whole.CopyFrom(part)
            continue
        for field in ("node", "input", "output", "initializer", "value_info"):
            getattr(whole.graph, field).extend(getattr(part.graph, field))
    outputs = through(whole, feeds, quantized=quantized).outputs
    results = {}
    for number, case in enumerate(found):
        mine = {name: array for name, array in outputs.items() if name.startswith(f"t{number}_")}
        text = differs(case, mine, quantized=quantized)
        results[case.name] = {"passed": not text, "error": "Differs" if text else "", "text": text}
    if not all(one["passed"] for one in results.values()):
        raise ValueError("a case differs: is it the same alone?")
    return results


def batches(names: Iterable[str], size: int) -> list[list[str]]:
    """Names in groups of at most `size` whose models have the same opset."""
    groups: dict[int, list[str]] = {}
    for name in names:
        opset = max(entry.version for entry in cases()[name].model.opset_import if not entry.domain)
        groups.setdefault(opset, []).append(name)
    return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]
