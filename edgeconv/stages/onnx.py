"""Stage `onnx`: a PyTorch model, or an ONNX file of another opset, becomes ONNX at opset 13 with constants folded.

torch.export's graphs are clean (one LayerNormalization, one MatMul a projection), so the exporter is torch.onnx with
dynamo=True; it can only give opset 18, which `rewrite.legalize` brings down.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeconv.artifact import Kind
from edgeconv.errors import BadOutput, StageError, UnsupportedOp
from edgeconv.source import InputSpec, ModelSource
from edgeconv.stage import Job, Stage

#: The opset that torch.onnx.export(dynamo=True) writes its graphs in.
EXPORT_OPSET = 18


@dataclass(frozen=True)
class Onnx(Stage):
    """Options of the stage.

    Attributes:
        opset: of the file; 13 is what the stages after it read.
    """

    opset: int = 13

    name: ClassVar[str] = "onnx"
    consumes: ClassVar[tuple[Kind, ...]] = ("torch",)
    produces: ClassVar[Kind] = "onnx"
    distributions: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
    built_from: ClassVar[tuple[str, ...]] = (
        "edgeconv.rewrite",
        "edgeconv.source",
        "edgeconv.stages.capture",
        "edgeconv.stages.complex_math",
        "edgeconv.stages.complex_pairs",
        "edgeconv.stages.correct_bias",
        "edgeconv.stages.onnx_translate",
        "edgeconv.stages.onnx_translate_adaptive",
        "edgeconv.stages.onnx_translate_linalg",
        "edgeconv.stages.onnx_translate_math",
        "edgeconv.stages.onnx_translate_order",
        "edgeconv.stages.onnx_translate_rnn",
        "edgeconv.stages.onnx_translate_scatter",
        "edgeconv.stages.onnx_translate_training",
    )
    worker: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("torch", "torch.onnx", "onnx_ir", "onnxscript")

    def requires(self, job: Job) -> None:
        """Only opset 13 can be promised to the stages after this one."""
        if self.opset != 13:
            raise StageError(
                f"opset {self.opset} was asked for; the chain reads opset 13", hint="set opset = 13 in [onnx]"
            )

    def build(self, job: Job) -> dict[str, Any]:
        """Export or convert, legalize, fold, and write without paths or line numbers in it."""
        import onnx
        import onnx_ir as ir

        from edgeconv.rewrite import tidy
        from edgeconv.rewrite.legalize import to_opset_13
        from edgeconv.rewrite.spell import spell
        from edgeconv.stages import correct_bias

        source = ModelSource.from_json(json.loads(job.source.read_text()))
        model, inputs, outputs, notes = graph_of(source)
        passes = to_opset_13(model)
        passes |= spell(model)
        passes |= tidy.tidy(model, inputs, outputs)
        proto = ir.serde.serialize_model(model)
        tidy.strip(proto)
        correct_bias.declare(_declared(source), proto)
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True) if proto.ByteSize() < 2**31 - 1 else proto
        _save(proto, job)
        return {**notes, "passes": passes, "opset": self.opset, "nodes": len(proto.graph.node)}

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        """The checker passes, the opset is the one asked for, and onnxruntime loads it."""
        import onnx
        import onnxruntime

        try:
            onnx.checker.check_model(str(job.destination), full_check=True)
        except onnx.checker.ValidationError as error:
            raise BadOutput(f"onnx.checker refuses the exported graph: {str(error).splitlines()[0]}") from error
        model = onnx.load(str(job.destination))
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        if opsets != {"": self.opset}:
            raise BadOutput(f"the exported graph uses the opsets {opsets}, not {self.opset} alone")
        try:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            onnxruntime.InferenceSession(str(job.destination), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadOutput(f"onnxruntime does not load the exported graph: {str(error).splitlines()[0]}") from error


def graph_of(source: ModelSource) -> tuple[Any, list[str], list[str], dict[str, Any]]:
    """The onnx_ir model of whatever opset, its input and output names, and notes.

    Raises:
        SourceError, StageError: the model cannot be had, or does not export.
    """
    from onnx_ir.passes.common import NameFixPass

    from edgeconv.rewrite.base import run
    from edgeconv.rewrite.fold_batch_norm import FoldBatchNorm
    from edgeconv.rewrite.long_places import LongPlaces
    from edgeconv.rewrite.narrow_floats import NarrowFloats
    from edgeconv.rewrite.select_masked import SelectMasked

    model, inputs, outputs, notes = _from_file(source) if source.kind == "onnx" else _from_torch(source)
    # before opset 13, which has some ops for few types only
    run(model, [FoldBatchNorm(), SelectMasked(), NarrowFloats(), LongPlaces()])
    NameFixPass()(model)  # a file's nodes may have no names, and the quantizer tells nodes by them
    return model, inputs, outputs, notes


def _declared(source: ModelSource) -> tuple[InputSpec, ...]:
    """The inputs with their ranges, as the user or the factory tells them."""
    if source.kind == "onnx":
        return source.inputs
    from edgeconv.source import loading

    return loading.load(source).inputs


def _save(proto: Any, job: Job) -> None:
    import onnx

    if proto.ByteSize() >= 2**31 - 1:
        raise StageError(
            "the model's weights take more than 2 GB, which one ONNX file cannot hold",
            hint="a .tflite file has the same limit; convert a smaller model",
        )
    onnx.save(proto, str(job.destination))


def _from_torch(source: ModelSource) -> tuple[Any, list[str], list[str], dict[str, Any]]:
    """Export with torch.onnx; returns the onnx_ir model, its input and output names, and notes."""
    import contextlib
    import io
    import logging
    import warnings

    import torch

    from edgeconv.rewrite.base import run
    from edgeconv.rewrite.fold_batch_norm import FoldBatchNorm
    from edgeconv.rewrite.merge_weights import MergeWeights
    from edgeconv.source import loading
    from edgeconv.stages import capture, onnx_translate

    loaded = loading.load(source)
    outputs = list(loading.outputs_of(loaded.module, loaded.example))
    if not outputs:
        raise StageError("the model's forward returns no tensor", hint="return a tensor, or a tuple or dict of tensors")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        given = capture.program_of(loaded)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                given, (), kwargs=dict(loaded.example), dynamo=True, opset_version=EXPORT_OPSET,
                verbose=False, optimize=False, custom_translation_table=onnx_translate.table(),
            )  # fmt: skip
            run(program.model, [FoldBatchNorm(), MergeWeights()])  # before the optimizer does it in float32
            _demand_equal_constants()
            program.optimize()
            _unwrap_names(program.model)
    except Exception as error:
        raise _export_error(error, loaded, capture.stays_complex(given)) from error
    notes = {"warnings": [*loaded.warnings, *capture.warnings_of(given)]}
    return program.model, list(loaded.example), outputs, notes


def _unwrap_names(model: Any) -> None:
    """Name weights and modules as in the user's model, whatever it was wrapped in."""
    from edgeconv.rewrite.base import SCOPES, nodes
    from edgeconv.source.calling import INNER, own_path

    for value in list(model.graph.initializers.values()):
        value.name = own_path(value.name or "")
    for node in nodes(model):
        scopes = node.metadata_props.get(SCOPES, "")
        if INNER in scopes:
            node.metadata_props[SCOPES] = scopes.replace(f"{INNER}.", "").replace(INNER, "")


def _demand_equal_constants() -> None:
    """Let the optimizer drop x + 0 and x * 1 only there.

    Its patterns take 1e-10 for 0 and 1.000005 for 1, whichever x they meet: log(p + 1e-10) would be infinite at 0.
    """
    from onnxscript import rewriter
    from onnxscript.rewriter import _pattern_ir

    for rule in rewriter._DEFAULT_REWRITE_RULES:
        for node in rule._target_pattern:
            for value in node.inputs:
                if isinstance(value, _pattern_ir.Constant) and value.value in (0, 1):
                    value._rel_tol = value._abs_tol = 0.0


def _export_error(error: BaseException, loaded: Any, complex_because: str) -> StageError:
    """What stopped the exporter: the innermost cause says it best."""
    from edgeconv.source import loading

    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    kinds = [type(cause).__name__ for cause in causes]
    root = causes[-1]
    lines = [line for line in str(root).strip().splitlines() if line.strip()]
    text = lines[0][:400] if lines else kinds[-1]
    hint = "replace that operator in the model by others that compute the same"
    if complex_because:
        hint += f"; complex numbers could not become pairs of real ones: {complex_because}"
    if "DispatchError" in kinds or "No ONNX function found" in str(error):
        return UnsupportedOp(
            f"PyTorch's ONNX exporter has no translation: {_untranslated(loaded) or text}",
            hint=hint,
        )
    where = loading.place(error) or _trace_of(causes)
    node = re.search(r"translating node %(\w+) .*target=torch\.ops\.([\w.]+)\]", " ".join(map(str, causes)))
    if node is not None and "ConversionError" in kinds[:-1]:
        reason = text if isinstance(root, ValueError) else f"{kinds[-1]}: {text}"
        return UnsupportedOp(
            f"{node[2]} has no ONNX form here{where or _line_of(loaded, node[1])}: {reason}",
            hint=hint,
        )
    return StageError(
        f"torch.export could not trace the model{where}: {kinds[-1]}: {text}",
        hint="control flow that depends on tensor values cannot be exported: use torch.where or torch.cond there; "
        "`edgeconv check` names all such places",
    )


def _untranslated(loaded: Any) -> str:
    """All operators without a translation, each with its module and line."""
    from edgeconv.stages import capture, witness

    try:
        program = capture.traced(loaded)
    except Exception:  # noqa: BLE001 - then the exporter's own words must do
        return ""
    found = witness.grouped(witness.untranslated(program))
    parts = [
        f"{entry['op']} in {entry['module'] or 'the model'!r} ({entry['place'] or 'line unknown'})" for entry in found
    ]
    return "; ".join(parts)


def _trace_of(causes: list[BaseException]) -> str:
    """The line that a data-dependent error of torch.export quotes, such as " (net.py:7: if x.sum() > 0:)"."""
    from edgeconv.stages import witness

    places = [witness.place_in(str(cause)) for cause in causes]
    return next((f" ({place})" for place in reversed(places) if place), "")


def _line_of(loaded: Any, name: str) -> str:
    """The user's line that a node of the exported program comes from, such as " (net.py:7: torch.linalg.inv(x))"."""
    from edgeconv.stages import capture, witness

    try:
        program = capture.traced(loaded)
    except Exception:  # noqa: BLE001 - it exports in some other way; the operator's name must do
        return ""
    traces = [node.meta.get("stack_trace") or "" for node in program.graph.nodes if node.name == name]
    place = witness.place_in(traces[0]) if traces else ""
    return f" ({place})" if place else ""


def _from_file(source: ModelSource) -> tuple[Any, list[str], list[str], dict[str, Any]]:
    """Read an ONNX file, fix its input shapes as declared, and bring an old opset up to 13."""
    import onnx
    import onnx_ir as ir

    from edgeconv.source import onnx_file

    proto = onnx_file.read(source)
    declared = {spec.name: spec for spec in source.inputs}
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in [value for value in proto.graph.input if value.name in weights]:
        proto.graph.input.remove(value)  # IR version 3 lists weights among the inputs
    for value in proto.graph.input:
        shape = _shape_of(declared, value)
        shape = (source.batch, *shape[1:]) if source.batch is not None and shape else shape
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.Clear()
            dim.dim_value = size
    opset = max((entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}), default=1)
    if opset < 13:
        try:
            proto = onnx.version_converter.convert_version(proto, 13)
        except Exception as error:
            raise StageError(
                f"onnx cannot bring the file from opset {opset} to 13: {str(error).splitlines()[0][:300]}",
                hint="export the model again at opset 13 or later",
            ) from error
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    names = [value.name for value in proto.graph.input]
    outputs = [value.name for value in proto.graph.output]
    return ir.serde.deserialize_model(proto), names, outputs, {"warnings": [], "source_opset": opset}


def _shape_of(declared: dict[str, Any], value: Any) -> tuple[int, ...]:
    if value.name in declared:
        shape: tuple[int, ...] = declared[value.name].shape
        return shape
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
