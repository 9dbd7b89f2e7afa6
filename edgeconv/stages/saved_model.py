"""Stage `saved_model`: ONNX, quantized or float, through onnx-tf to a TF SavedModel with the model's own signature."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from edgeconv.artifact import Kind
from edgeconv.errors import BadOutput, UnsupportedOp
from edgeconv.rewrite.describe import describe_nodes, module_of, origins
from edgeconv.stage import Job, Stage

#: Where TensorFlow lets others keep files in a SavedModel; holds names, order and the quantizer's weights' digests.
SIDECAR = Path("assets.extra") / "edgeconv.json"
#: Beside it: which ONNX op and PyTorch module each TensorFlow name scope came from.
NODES = Path("assets.extra") / "nodes.json"


@dataclass(frozen=True)
class SavedModel(Stage):
    """Options of the stage.

    Attributes:
        layout: of image inputs and outputs; NHWC is what phones have, NCHW keeps PyTorch's.
    """

    layout: Literal["NHWC", "NCHW"] = "NHWC"

    name: ClassVar[str] = "saved_model"
    consumes: ClassVar[tuple[Kind, ...]] = ("onnx-quantized", "onnx")
    produces: ClassVar[Kind] = "saved-model"
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnx-ir", "onnxscript", "onnx-tf", "tensorflow", "numpy")
    built_from: ClassVar[tuple[str, ...]] = (
        "edgeconv.rewrite",
        "edgeconv.stages.onnx_tf_compat",
        "edgeconv.stages.onnx_tf_conv",
        "edgeconv.stages.onnx_tf_gather",
        "edgeconv.stages.onnx_tf_handlers",
        "edgeconv.stages.onnx_tf_loop",
        "edgeconv.stages.onnx_tf_left",
        "edgeconv.stages.onnx_tf_math",
        "edgeconv.stages.onnx_tf_nms",
        "edgeconv.stages.onnx_tf_pad",
        "edgeconv.stages.onnx_tf_pool",
        "edgeconv.stages.onnx_tf_resize",
        "edgeconv.stages.onnx_tf_round",
        "edgeconv.stages.onnx_tf_scan",
        "edgeconv.stages.onnx_tf_scatter",
        "edgeconv.stages.onnx_tf_select",
        "edgeconv.stages.onnx_tf_slice",
    )
    worker: ClassVar[str] = "tensorflow"
    preload: ClassVar[tuple[str, ...]] = ("tensorflow", "onnx_ir", "onnxscript")

    def build(self, job: Job) -> dict[str, Any]:
        """Rewrite for onnx-tf, trace, save. Returns the passes that changed something and the quantized weights."""
        import onnx_ir as ir
        import tensorflow as tf

        from edgeconv.rewrite import onnx_tf
        from edgeconv.stages import onnx_tf_compat

        model = ir.load(str(job.source))
        prepared = onnx_tf.prepare(model, channels_last_ends=self.layout == "NHWC")
        inputs = _contract(model.graph.inputs, prepared.moved)
        outputs = _contract(model.graph.outputs, prepared.moved)
        _safe_names(model, inputs, outputs)
        proto = ir.serde.serialize_model(model)
        _refuse_missing(proto)
        function = onnx_tf_compat.concrete_function(proto, 13)
        module = tf.Module()
        module.serving = function
        tf.saved_model.save(module, str(job.destination), signatures={"serving_default": function})
        # a random UUID a save; TensorFlow loads without it, and the folder then repeats byte for byte
        (job.destination / "fingerprint.pb").unlink(missing_ok=True)
        sidecar = job.destination / SIDECAR
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        quantized = [_describe(weight, sidecar.parent / f"weight_{i}.npy") for i, weight in enumerate(prepared.weights)]
        sidecar.write_text(json.dumps({"inputs": inputs, "outputs": outputs, "quantized": quantized}, indent=1))
        places = {
            onnx_tf_compat.scope_of(node): {
                "text": describe_nodes([node]),
                "module": module_of(node) or node.name,
                "nodes": origins([node]),
            }
            for node in proto.graph.node
        }
        (job.destination / NODES).write_text(json.dumps(places, indent=1))
        return {"passes": prepared.passes, "weights": len(quantized), "layouts": layouts_of(inputs, outputs)}

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        """The signature holds exactly the model's inputs and outputs, with their shapes and dtypes."""
        from tensorflow.core.protobuf import saved_model_pb2

        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((job.destination / "saved_model.pb").read_bytes())
        signature = saved.meta_graphs[0].signature_def["serving_default"]
        sidecar = json.loads((job.destination / SIDECAR).read_text())
        for side, found in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            wanted = {entry["safe"] for entry in sidecar[side]}
            if set(found) != wanted:
                raise BadOutput(f"the SavedModel's {side} are {sorted(found)}, the model's are {sorted(wanted)}")
            for entry in sidecar[side]:
                shape = [dim.size for dim in found[entry["safe"]].tensor_shape.dim]
                if len(shape) != len(entry["shape"]) or any(
                    known not in (-1, got) for known, got in zip(entry["shape"], shape, strict=True)
                ):
                    raise BadOutput(
                        f"the SavedModel's {side[:-1]} {entry['name']!r} has the shape {shape}, not {entry['shape']}"
                    )


def layouts_of(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Permutations from the model's layout to the file's, by name; only those that are not the identity."""
    return {
        side: {entry["name"]: entry["perm"] for entry in entries if entry["perm"]}
        for side, entries in (("inputs", inputs), ("outputs", outputs))
    }


def _contract(values: Any, moved: dict[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """Name, a name that TensorFlow takes, shape (−1: unknown), dtype and layout of inputs or outputs, in order."""
    described: list[dict[str, Any]] = []
    for value in values:
        safe = re.sub(r"[^A-Za-z0-9_]", "_", value.name)
        safe = safe if safe[:1].isalpha() else f"t{safe}"
        while any(entry["safe"] == safe for entry in described):
            safe += "_"
        described.append(
            {
                "name": value.name,
                "safe": safe,
                "shape": [dim if isinstance(dim, int) else -1 for dim in value.shape],
                "dtype": value.dtype.numpy().name,
                "perm": list(moved[value.name]) if value.name in moved else None,
            }
        )
    return described


def _safe_names(model: Any, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Rename graph inputs and outputs to what TensorFlow accepts, out of the way of inner names."""
    wanted = {entry["safe"] for entry in [*inputs, *outputs]}
    ends = {id(value) for value in [*model.graph.inputs, *model.graph.outputs]}
    for value in [v for node in model.graph for v in node.outputs] + list(model.graph.initializers.values()):
        if id(value) not in ends and value.name in wanted:
            value.name = f"{value.name}/inner"
    for value, entry in zip([*model.graph.inputs, *model.graph.outputs], [*inputs, *outputs], strict=True):
        value.name = entry["safe"]


def _refuse_missing(proto: Any) -> None:
    from edgeconv.stages import onnx_tf_compat

    missing = onnx_tf_compat.missing_ops(proto, 13)
    if missing:
        raise UnsupportedOp(
            f"no TensorFlow translation for {describe_nodes(missing)}",
            hint="replace that operator in the model by others that compute the same",
            nodes=origins(missing),
        )


def _describe(weight: Any, file: Path) -> dict[str, Any]:
    """What the TFLite stage needs to know of a quantized weight; see `carry_int8.digest_of`.

    Integers that cannot be told from the float weight, since their scale is another than absmax/127, are kept in `file`.
    """
    from edgeconv.rewrite.carry_int8 import digest_of

    integers = weight.integers
    if weight.op in {"Conv", "ConvTranspose"} and integers.ndim > 2:
        integers = np.moveaxis(integers, 1, -1)  # [O, I, H, W] → [O, H, W, I], TFLite's order
    elif integers.ndim > 2:
        integers = integers.reshape(-1, integers.shape[-1])
    # a conv over volumes has no groups in TFLite: each stands alone there
    parts = np.split(integers, weight.groups) if weight.op == "Conv" and integers.ndim == 5 else [integers]
    if not weight.on_grid:
        np.save(file, integers.astype(np.int8).reshape(integers.shape[0], -1))
    return {
        "name": weight.name,
        "op": weight.op,
        "shape": list(weight.integers.shape),
        "elements": int(weight.integers.size),
        "integers": None if weight.on_grid else file.name,
        "digest": digest_of(integers, 0),
        "parts": [digest_of(part, 0) for part in parts],
    }
