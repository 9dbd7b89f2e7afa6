"""Brings a graph from opset 18 or later down to opset 13 exactly, or says what cannot be brought there.

torch.onnx.export gives nothing below 18 that it does not break, onnx has no converter in this direction, and onnx-tf
reads nothing above 13. The table below accounts for every operator that onnx added or changed after 13; a test compares
it with onnx's own schemas, so a new onnx release cannot slip one in.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from edgeconv.errors import UnsupportedOp
from edgeconv.rewrite.base import OPSET, NodePass, module_path, nodes, refused, run
from edgeconv.rewrite.legalize_attention import LegalizeAttention
from edgeconv.rewrite.legalize_batch_norm import LegalizeBatchNorm
from edgeconv.rewrite.legalize_bitshift import LegalizeBitshift
from edgeconv.rewrite.legalize_bitwise import LegalizeBitwise
from edgeconv.rewrite.legalize_cast import LegalizeCast
from edgeconv.rewrite.legalize_cast_like import LegalizeCastLike
from edgeconv.rewrite.legalize_center_crop_pad import LegalizeCenterCropPad
from edgeconv.rewrite.legalize_col2im import LegalizeCol2im
from edgeconv.rewrite.legalize_dft import LegalizeDft
from edgeconv.rewrite.legalize_gelu import LegalizeGelu
from edgeconv.rewrite.legalize_grid_sample import LegalizeGridSample
from edgeconv.rewrite.legalize_group_norm import LegalizeGroupNorm
from edgeconv.rewrite.legalize_hard_swish import LegalizeHardSwish
from edgeconv.rewrite.legalize_integer import LegalizeInteger
from edgeconv.rewrite.legalize_is_inf import LegalizeIsInf
from edgeconv.rewrite.legalize_layer_norm import LegalizeLayerNorm
from edgeconv.rewrite.legalize_mish import LegalizeMish
from edgeconv.rewrite.legalize_pad import LegalizePad
from edgeconv.rewrite.legalize_pool import LegalizePool
from edgeconv.rewrite.legalize_quantize_linear import LegalizeQuantizeLinear
from edgeconv.rewrite.legalize_range import LegalizeRange
from edgeconv.rewrite.legalize_reduce import LegalizeReduce
from edgeconv.rewrite.legalize_reshape import LegalizeReshape
from edgeconv.rewrite.legalize_resize import LegalizeResize
from edgeconv.rewrite.legalize_rms_norm import LegalizeRmsNorm
from edgeconv.rewrite.legalize_rnn import LegalizeRnn
from edgeconv.rewrite.legalize_roi_align import LegalizeRoiAlign
from edgeconv.rewrite.legalize_rotary_embedding import LegalizeRotaryEmbedding
from edgeconv.rewrite.legalize_scatter import LegalizeScatter
from edgeconv.rewrite.legalize_shape import LegalizeShape
from edgeconv.rewrite.legalize_space_to_depth import LegalizeSpaceToDepth
from edgeconv.rewrite.legalize_split import LegalizeSplit
from edgeconv.rewrite.legalize_swish import LegalizeSwish
from edgeconv.rewrite.legalize_trilu import LegalizeTrilu
from edgeconv.rewrite.legalize_where import LegalizeWhere

IR_VERSION = 8  # onnx's own pairing for opset 13 is 7; 8 changes nothing for these graphs, and all runtimes read it

PASSES: tuple[NodePass, ...] = (
    LegalizeSplit(),
    LegalizeReduce(),
    LegalizeLayerNorm(),
    LegalizeGroupNorm(),
    LegalizeRmsNorm(),
    LegalizeBatchNorm(),
    LegalizeHardSwish(),
    LegalizeGelu(),
    LegalizeMish(),
    LegalizeSwish(),
    LegalizeAttention(),
    LegalizeRotaryEmbedding(),
    LegalizeTrilu(),
    LegalizeDft(),
    LegalizePad(),
    LegalizeCenterCropPad(),
    LegalizeGridSample(),
    LegalizeResize(),
    LegalizeReshape(),
    LegalizeShape(),
    LegalizeCast(),
    LegalizeCastLike(),
    LegalizeScatter(),
    LegalizeBitwise(),
    LegalizeBitshift(),
    LegalizeCol2im(),
    LegalizeRnn(),
    LegalizeIsInf(),
    LegalizePool(),
    LegalizeRoiAlign(),
    LegalizeSpaceToDepth(),
    LegalizeRange(),
    LegalizeQuantizeLinear(),
    LegalizeInteger(),
    LegalizeWhere(),
)

HANDLED: dict[str, str] = {op: one.name for one in PASSES for op in one.ops}
"""Operators that a pass brings down, with the pass's name."""

# fmt: off
SAME: frozenset[str] = frozenset(
    {
        "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Compress", "Constant",
        "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh", "DepthToSpace", "Det", "Dropout", "Einsum",
        "Elu", "Equal", "EyeLike", "Flatten", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
        "GreaterOrEqual", "HardSigmoid", "Identity", "If", "InstanceNormalization", "IsNaN", "LeakyRelu",
        "LessOrEqual", "Loop", "LpNormalization", "MaxRoiPool", "MaxUnpool", "Mod", "Multinomial",
        "NegativeLogLikelihoodLoss", "OneHot", "PRelu", "Pow", "QLinearMatMul", "RandomNormal",
        "RandomNormalLike", "RandomUniform", "RandomUniformLike", "ReverseSequence", "Round", "Scan", "Selu",
        "Sin", "Sinh", "Size", "Softplus", "Softsign", "SplitToSequence", "Squeeze", "Tan", "ThresholdedRelu",
        "TopK", "Transpose", "Unique", "Unsqueeze",
    }
)
# fmt: on
"""Operators that later opsets only opened to more types."""

OUT_OF_REACH: dict[str, str] = {
    "AffineGrid": "no operator at opset 13 makes sampling grids",
    "Bernoulli": "a random draw, which no TFLite file can repeat",
    "BitCast": "opset 13 cannot reinterpret bits",
    "BlackmanWindow": "a window function; compute it outside the model",
    "CausalConvWithState": "a stateful convolution",
    "CumProd": "opset 13 has no running product",
    "DeformConv": "opset 13 has no deformable convolution",
    "HammingWindow": "a window function; compute it outside the model",
    "HannWindow": "a window function; compute it outside the model",
    "ImageDecoder": "decoding images belongs before the model",
    "LinearAttention": "a recurrence over the sequence",
    "MelWeightMatrix": "a constant matrix; compute it outside the model",
    "Optional": "optional values have no TFLite counterpart",
    "OptionalGetElement": "optional values have no TFLite counterpart",
    "OptionalHasElement": "optional values have no TFLite counterpart",
    "RegexFullMatch": "strings have no TFLite counterpart",
    "SequenceMap": "sequences have no TFLite counterpart",
    "StringConcat": "strings have no TFLite counterpart",
    "StringSplit": "strings have no TFLite counterpart",
    "SwiGLU": "newer than any exporter that edgeconv takes",
    "TensorScatter": "a cache updated in place",
}
"""Operators that nothing at opset 13 expresses at a bearable cost, with the reason."""


def to_opset_13(model: ir.Model) -> dict[str, int]:
    """Rewrite a model in place so that every node is one of opset 13.

    Returns:
        Changed places by pass name.

    Raises:
        UnsupportedOp: nodes are left that opset 13 does not know; the message names all of them and their modules.
    """
    declared = model.opset_imports.get("", model.opset_imports.get("ai.onnx", OPSET))
    if declared < OPSET:
        raise UnsupportedOp(
            f"the model declares opset {declared}, older than the {OPSET} that edgeconv works on",
            hint=f"bring it up first: onnx.version_converter.convert_version(model, {OPSET})",
        )
    counts = run(model, PASSES)
    _check(model)
    model.opset_imports.pop("ai.onnx", None)
    used = {node.domain for node in nodes(model)}
    for domain in [domain for domain in model.opset_imports if domain not in used]:
        del model.opset_imports[domain]
    model.opset_imports[""] = OPSET
    model.ir_version = IR_VERSION
    return counts


def misfits(model: ir.Model) -> list[tuple[ir.Node, str]]:
    """The nodes that opset 13 cannot hold, with the reason for each."""
    reasons = {id(node): reason for node, reason in refused(model)}
    found = [(node, reasons.get(id(node)) or misfit(node, model.opset_imports)) for node in nodes(model)]
    return [(node, reason) for node, reason in found if reason]


def _check(model: ir.Model) -> None:
    """Raise for all nodes that opset 13 cannot hold."""
    left = misfits(model)
    if not left:
        return
    places: dict[tuple[str, str], list[str]] = {}
    for node, reason in left:
        places.setdefault((node.op_type, reason), []).append(module_path(node) or "the model itself")
    found = [f"{op} ({reason}) in {', '.join(dict.fromkeys(where))}" for (op, reason), where in sorted(places.items())]
    raise UnsupportedOp(
        f"{len(left)} operator{'s' if len(left) > 1 else ''} cannot be expressed at opset {OPSET}: {'; '.join(found)}",
        hint="replace the named modules by ones that need other operators",
        nodes=[node.name for node, _ in left if node.name],
    )


def misfit(node: ir.Node, opsets: dict[str, int]) -> str:
    """Why a node is none of opset 13, or an empty string if it is."""
    try:
        opset = opsets.get(node.domain, 1) if node.domain else OPSET
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        if node.domain:
            return f"an operator of the domain {node.domain}"
        return OUT_OF_REACH.get(node.op_type, f"unknown at opset {OPSET}")
    out_of_reach = OUT_OF_REACH.get(node.op_type, "")
    unknown = sorted(set(node.attributes) - set(schema.attributes))
    if unknown:
        return out_of_reach or f"its attribute {', '.join(unknown)} is newer than opset {OPSET}"
    given = len(node.inputs)
    if not schema.min_input <= given <= schema.max_input:
        return out_of_reach or f"it has {given} inputs, opset {OPSET} allows {schema.min_input} to {schema.max_input}"
    if not schema.min_output <= len(node.outputs) <= schema.max_output:
        return out_of_reach or f"it has {len(node.outputs)} outputs, opset {OPSET} has {schema.max_output}"
    return _type_misfit(schema, node.inputs)


def _type_misfit(schema: onnx.defs.OpSchema, values: Sequence[ir.Value | None]) -> str:
    for i, value in enumerate(values):
        if value is None or not isinstance(value.type, ir.TensorType):
            continue
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]  # the last may be variadic
        kind = value.type.dtype.name.lower()
        if f"tensor({kind})" not in formal.types:
            return f"opset {OPSET} does not have it for {kind}"
    return ""
