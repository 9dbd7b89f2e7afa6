"""Stage `tflite`: a SavedModel becomes a .tflite of builtin ops whose quantized weights are int8 on disk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from edgeconv.artifact import Kind
from edgeconv.errors import BadOutput, StageError, UnsupportedOp
from edgeconv.source import PROBE_BATCH
from edgeconv.stage import Job, Stage
from edgeconv.stages.saved_model import NODES, SIDECAR, layouts_of

#: The first TFLite runtime whose FULLY_CONNECTED kernel reads one scale an output channel while quantizing activations
#: itself (op version 12). Older ones load such a file and silently use the first channel's scale for all:
#: tflite-runtime 2.14 gives 8 dB there against 59 dB in LiteRT 2.3, measured on a small CNN.
DYNAMIC_FULLY_CONNECTED_SINCE = (2, 17)


@dataclass(frozen=True)
class Tflite(Stage):
    """Options of the stage.

    Attributes:
        min_runtime: oldest TFLite runtime in which the file must give right results.
        dynamic: axes of inputs and outputs that may be resized at run time: none, or (0,), the batch.
        mode: "dynamic" carries the quantizer's integers, "float16" stores weights in half precision and computes in
            float32 (or float16, on a GPU), "float32" keeps them.
        compute: in mode "dynamic", whether ops that have an int8 kernel use it only where it is "fastest", or always ("int8").
    """

    min_runtime: str = "2.14.0"
    dynamic: tuple[int, ...] = ()
    mode: Literal["dynamic", "float16", "float32"] = "dynamic"
    compute: Literal["fastest", "int8"] = "fastest"

    name: ClassVar[str] = "tflite"
    consumes: ClassVar[tuple[Kind, ...]] = ("saved-model",)
    produces: ClassVar[Kind] = "tflite"
    distributions: ClassVar[tuple[str, ...]] = ("tensorflow", "ai-edge-litert", "flatbuffers", "numpy")
    built_from: ClassVar[tuple[str, ...]] = (
        "edgeconv.rewrite.carry_int8",
        "edgeconv.rewrite.dense_as_conv",
        "edgeconv.rewrite.flatbuffer",
        "edgeconv.rewrite.free_batch",
        "edgeconv.rewrite.merge_pad",
        "edgeconv.rewrite.merge_reshapes",
        "edgeconv.rewrite.op_versions",
        "edgeconv.rewrite.precision",
        "edgeconv.rewrite.split_depthwise",
        "edgeconv.rewrite.split_mean",
        "edgeconv.rewrite.store_half",
    )
    worker: ClassVar[str] = "tensorflow"
    preload: ClassVar[tuple[str, ...]] = ("tensorflow",)

    def requires(self, job: Job) -> None:
        """`min_runtime` is a version, and no axis but the batch is to be left open."""
        if self.dynamic not in ((), (0,)):
            raise StageError(
                f"dynamic = {list(self.dynamic)}: only axis 0, the batch, can be left open", hint="write [0]"
            )
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", self.min_runtime):
            raise StageError(f"min_runtime {self.min_runtime!r} is no version", hint='write it as "2.14.0"')

    def build(self, job: Job) -> dict[str, Any]:
        """Convert to float builtins, name inputs and outputs, carry the integers. Returns what was carried."""
        import numpy as np
        import tensorflow as tf

        from edgeconv.rewrite import (
            carry_int8,
            flatbuffer,
            free_batch,
            merge_pad,
            merge_reshapes,
            op_versions,
            split_depthwise,
            split_mean,
        )
        from edgeconv.rewrite.store_half import store_half

        converter = tf.lite.TFLiteConverter.from_saved_model(str(job.source), signature_keys=["serving_default"])
        converter.exclude_conversion_metadata = True  # a hash of the float file, which this one is no longer
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter._experimental_enable_dynamic_update_slice = (
            True  # a loop's outputs; else a concat of all steps a step
        )
        places = json.loads((job.source / NODES).read_text())
        try:
            data = converter.convert()
        except Exception as error:
            raise _refusal(error, places) from error
        plain = job.scratch / "float.tflite"
        plain.write_bytes(data)
        model = flatbuffer.read(plain)
        sidecar = json.loads((job.source / SIDECAR).read_text())
        _name_tensors(model, places)
        _part_ends(model)
        _name_ends(model, sidecar)
        carried: list[Any] = []
        if self.mode == "dynamic":
            dynamic = {"CONV_2D"} | ({"FULLY_CONNECTED"} if self._runtime() >= DYNAMIC_FULLY_CONNECTED_SINCE else set())
            wanted = {k: v for entry in sidecar["quantized"] for k, v in _integers(job.source, entry).items()}
            carried = carry_int8.carry(model, wanted, dynamic, fastest=self.compute == "fastest")
        parted = split_depthwise.split(model)
        split_mean.split(model)
        merge_pad.merge(model)
        merge_reshapes.merge(model)
        halves = store_half(model) if self.mode == "float16" else 0
        freed = free_batch.free(model, PROBE_BATCH) if self.dynamic else 0
        oldest = op_versions.declare(model)
        self._refuse_newer(op_versions.needs(model))
        carry_int8.drop_unused_buffers(model)
        flatbuffer.write(model, job.destination)
        came = {one.digest for one in carried}
        return {
            "quantized_weights": len(sidecar["quantized"]),
            "carried_exactly": sum(
                entry["digest"] in came or came.issuperset(entry["parts"]) for entry in sidecar["quantized"]
            ),
            "depthwise_split": parted,
            "float16_constants": halves,
            "ops_freed_of_the_batch": freed,
            "needs_runtime": oldest,
            "layouts": layouts_of(sidecar["inputs"], sidecar["outputs"]),
            "int8_elements": int(np.sum([one.elements for one in carried], dtype=np.int64)),
            "computed_in_float": [
                {"weight": one.tensor, "op": one.op, "why": one.kept_float} for one in carried if one.kept_float
            ],
        }

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        """Read the file back: builtins only, the model's names and order, int8 where it was quantized; and run it."""
        from edgeconv.rewrite import flatbuffer

        model = flatbuffer.read(job.destination)
        sidecar = json.loads((job.source / SIDECAR).read_text())
        graph = model.subgraphs[0]
        ops = [flatbuffer.op_name(model, op) for op in graph.operators]
        custom = sorted({name for name in ops if name.startswith("CUSTOM")})
        if custom:
            raise BadOutput(f"the .tflite needs ops that are not builtin: {', '.join(custom)}")
        for side, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            names = [graph.tensors[index].name.decode() for index in indices]
            wanted = [entry["name"] for entry in sidecar[side]]
            if names != wanted:
                raise BadOutput(f"the .tflite's {side} are {names}, the model's are {wanted}")
        if self.mode == "dynamic":
            _ensure_int8(model, sidecar["quantized"])
        _ensure_runs(job.destination.read_bytes(), batches=(1, 3) if self.dynamic else ())

    def _refuse_newer(self, needs: dict[str, str]) -> None:
        """Fail where an op needs a newer runtime than the target promises."""
        from edgeconv.rewrite.op_versions import number

        newer = {op: since for op, since in needs.items() if number(since) > number(self.min_runtime)}
        if newer:
            latest = max(newer.values(), key=number)
            raise UnsupportedOp(
                f"the target promises TFLite {self.min_runtime}, but "
                + ", ".join(f"{op} needs {since}" for op, since in newer.items()),
                hint=f'write min_runtime = "{latest}" under [tflite] in the target if your runtime is that new, or replace the '
                "layer in the model",
            )

    def _runtime(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.min_runtime.split(".")[:2])


def _integers(saved_model: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """By digest of a weight and its groups: int8, [out, everything else], if they cannot be told from the float one."""
    import numpy as np

    if not entry["integers"]:
        return dict.fromkeys([entry["digest"], *entry["parts"]])
    whole = np.load((saved_model / SIDECAR).with_name(entry["integers"]))
    parts = zip(entry["parts"], np.split(whole, len(entry["parts"])), strict=True)
    return {entry["digest"]: whole, **dict(parts)}


def _name_tensors(model: Any, places: dict[str, dict[str, str]]) -> None:
    """Call each tensor after the PyTorch module it belongs to: the converter's own names take more room than it."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            scope = re.search(rb"(n_\w+)", tensor.name or b"")
            place = places.get(scope[1].decode()) if scope else None
            tensor.name = place["module"].encode() if place else b""


def _name_ends(model: Any, sidecar: dict[str, Any]) -> None:
    """Order and name the file's inputs and outputs, and its signature's, as the model has them."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for side in ("inputs", "outputs"):
        entries = {entry.name.decode(): entry for entry in getattr(signature, side)}
        missing = [entry["name"] for entry in sidecar[side] if entry["safe"] not in entries]
        if missing:
            raise BadOutput(
                f"the converter dropped the {side} {missing}", hint="is that input used by the model at all?"
            )
        ordered = [entries[entry["safe"]] for entry in sidecar[side]]
        for entry, wanted in zip(ordered, sidecar[side], strict=True):
            entry.name = wanted["name"].encode()
            graph.tensors[entry.tensorIndex].name = wanted["name"].encode()
        setattr(signature, side, ordered)
        setattr(graph, side, [entry.tensorIndex for entry in ordered])


def _part_ends(model: Any) -> None:
    """Give an output that is an input too, or an output twice, a tensor of its own: a RESHAPE to the same shape copies."""
    from edgeconv.rewrite import flatbuffer

    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    taken = [int(entry.tensorIndex) for entry in signature.inputs]
    for entry in signature.outputs:
        index = int(entry.tensorIndex)
        if index in taken:
            old = graph.tensors[index]
            shape = [] if old.shape is None else [int(n) for n in old.shape]
            entry.tensorIndex = flatbuffer.add_tensor(graph, shape, old.type, old.name)
            graph.tensors[entry.tensorIndex].shapeSignature = old.shapeSignature
            graph.operators.append(flatbuffer.reshape(model, graph, index, entry.tensorIndex, shape))
        taken.append(int(entry.tensorIndex))
    graph.outputs = [int(entry.tensorIndex) for entry in signature.outputs]


def _ensure_int8(model: Any, quantized: list[dict[str, Any]]) -> None:
    """As many int8 elements must be in the file as the quantizer made integer (shared weights counted once)."""
    from edgeconv.rewrite import flatbuffer

    wanted = sum({entry["digest"]: entry["elements"] for entry in quantized}.values())
    constants = {
        # tensors of other types may share a buffer: equal bytes are stored once
        (tensor.buffer, tensor.type): flatbuffer.constant(model, tensor)
        for graph in model.subgraphs
        for tensor in graph.tensors
    }
    arrays = [array for array in constants.values() if array is not None]
    found = sum(array.size for array in arrays if array.dtype.name == "int8")
    if found < wanted:
        floats = sorted((array.size for array in arrays if array.dtype.name == "float32"), reverse=True)
        raise BadOutput(
            f"the quantizer made {wanted:,} weights integer, only {found:,} are int8 in the .tflite "
            f"(its largest float constants have {floats[:3]} elements)",
            hint="report the model: a weight was rewritten on its way in a manner that hides its integers",
        )


def _ensure_runs(data: bytes, batches: tuple[int, ...] = ()) -> None:
    """LiteRT loads the file and invokes it once: on ones, since a model may divide by an input, or else on zeros."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        for entry in interpreter.get_input_details():
            interpreter.set_tensor(entry["index"], np.ones(entry["shape"], entry["dtype"]))
        try:
            interpreter.invoke()
        except RuntimeError:  # ones may be no index of a small table
            for entry in interpreter.get_input_details():
                interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
            interpreter.invoke()
        for batch in batches:
            for entry in interpreter.get_input_details():
                if len(entry["shape"]):
                    interpreter.resize_tensor_input(entry["index"], [batch, *entry["shape"][1:]])
            interpreter.allocate_tensors()
            for entry in interpreter.get_input_details():
                interpreter.set_tensor(entry["index"], np.ones(entry["shape"], entry["dtype"]))
            interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0][:300]
        raise BadOutput(f"LiteRT does not run the .tflite{' at other batches' if batches else ''}: {said}") from error


def _refusal(error: BaseException, places: dict[str, dict[str, Any]]) -> StageError:
    """The converter's long text, as one sentence that names the ops and where in the model they come from.

    Args:
        error: what `TFLiteConverter.convert` raised.
        places: by TensorFlow name scope, the ONNX op, PyTorch module and nodes.
    """
    text = str(error)
    found = not_builtin(text)
    if found:
        texts = {op: [places[scope]["text"] for scope in scopes if scope in places] for op, scopes in found.items()}
        names = [f"{op}, from {' and '.join(dict.fromkeys(where))}" if where else op for op, where in texts.items()]
        return UnsupportedOp(
            f"TFLite has no builtin for {'; '.join(names)}",
            hint="replace that operator in the model by others that compute the same",
            detail=text[:4000],
            nodes=[n for scopes in found.values() for scope in scopes for n in places.get(scope, {}).get("nodes", [])],
        )
    lines = [line for line in text.strip().splitlines() if line.strip()] or [type(error).__name__]
    scopes = [scope for scope in re.findall(r'"(n_\w+)/', text) if scope in places]
    return StageError(
        f"the TFLite converter failed: {lines[0][:400]}", detail=text[:4000],
        nodes=[node for scope in dict.fromkeys(scopes) for node in places[scope].get("nodes", [])],
    )  # fmt: skip


def not_builtin(text: str) -> dict[str, list[str]]:
    """By TensorFlow op, the name scopes that a converter's error complains of; without scopes where it names none."""
    found: dict[str, list[str]] = {}
    for location, op in re.findall(r"error: loc\((.*?)\): '(tf\.\w+)' op is neither", text):
        scope = re.search(r'"(n_\w+)/', location)
        found.setdefault(op, []).extend([scope[1]] if scope else [])
    for op in re.findall(r"(?:Select|Custom) ops: ([\w, .]+)", text) if not found else []:
        found.setdefault(op, [])
    return found
