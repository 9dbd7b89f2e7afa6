"""The row of passes that prepares an opset-13 graph for onnx-tf and for what TFLite makes of its result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite import tidy
from edgeconv.rewrite.base import run
from edgeconv.rewrite.channels_last import ChannelsLast
from edgeconv.rewrite.fold_dequantize import FoldDequantize
from edgeconv.rewrite.fold_fake_quant import FoldFakeQuant
from edgeconv.rewrite.fold_quantized import FoldQuantized, QuantizedWeight
from edgeconv.rewrite.given_integers import LARGEST
from edgeconv.rewrite.infer_shapes import infer_shapes
from edgeconv.rewrite.lower_rank import LowerRank
from edgeconv.rewrite.onnx_tf_split import OnnxTfSplit
from edgeconv.rewrite.onnx_tf_squeeze import OnnxTfSqueeze
from edgeconv.rewrite.spell_affine import SpellAffine
from edgeconv.rewrite.spell_arg import SpellArg
from edgeconv.rewrite.spell_batch_norm import SpellBatchNorm
from edgeconv.rewrite.spell_clip import SpellClip
from edgeconv.rewrite.spell_concat import SpellConcat
from edgeconv.rewrite.spell_det import SpellDet
from edgeconv.rewrite.spell_expand import SpellExpand
from edgeconv.rewrite.spell_gather import SpellGather
from edgeconv.rewrite.spell_gelu import SpellGelu
from edgeconv.rewrite.spell_global_pool import SpellGlobalPool
from edgeconv.rewrite.spell_hard_swish import SpellHardSwish
from edgeconv.rewrite.spell_instance_norm import SpellInstanceNorm
from edgeconv.rewrite.spell_is_inf import SpellIsInf
from edgeconv.rewrite.spell_matmul import SpellMatmul
from edgeconv.rewrite.spell_max_pool import SpellMaxPool
from edgeconv.rewrite.spell_mod import SpellMod
from edgeconv.rewrite.spell_one_hot import SpellOneHot
from edgeconv.rewrite.spell_patch_merge import SpellPatchMerge
from edgeconv.rewrite.spell_pool_indices import SpellPoolIndices
from edgeconv.rewrite.spell_quantized import SpellQuantized
from edgeconv.rewrite.spell_reduce_norm import SpellReduceNorm
from edgeconv.rewrite.spell_resize import SpellResize
from edgeconv.rewrite.spell_unique import SpellUnique
from edgeconv.rewrite.spell_wide import SpellWide
from edgeconv.rewrite.widen_integers import WidenIntegers


def _standing(model: ir.Model, weight: QuantizedWeight, weights: list[QuantizedWeight]) -> QuantizedWeight:
    """The weight under the name of the constant that holds it now: of equal ones, one is left."""
    names = {name for graph in model.graphs() for name in graph.initializers}
    if weight.name in names:
        return weight
    for other in weights:
        alike = other.op == weight.op and np.array_equal(other.integers, weight.integers)
        if other.name in names and alike and np.array_equal(other.scale, weight.scale):
            return replace(weight, name=other.name)
    return weight


def _reordered(weight: QuantizedWeight, layout: ChannelsLast) -> QuantizedWeight:
    """The quantized weight as it stands in the graph after its input features were put channels last."""
    order = layout.reordered.get(weight.name)
    return weight if order is None else replace(weight, integers=weight.integers.take(order, -1))


@dataclass(frozen=True)
class Prepared:
    """What became of a graph.

    Attributes:
        passes: changed places by pass.
        weights: what the quantizer had made integer.
        moved: layout of the inputs and outputs that changed it: the file's is Transpose(the model's, perm).
    """

    passes: dict[str, int]
    weights: list[QuantizedWeight]
    moved: dict[str, tuple[int, ...]]


def prepare(model: ir.Model, *, channels_last_ends: bool) -> Prepared:
    """Rewrite in place.

    Args:
        model: opset 13, float or dynamically quantized.
        channels_last_ends: whether image inputs and outputs become channels last too.
    """
    folded, dequantized = FoldQuantized(), FoldDequantize()
    counts = run(model, [folded, FoldFakeQuant(), dequantized, SpellQuantized(), WidenIntegers()])
    weights = [weight for weight in [*folded.weights, *dequantized.weights] if np.abs(weight.integers).max() <= LARGEST]
    tidy.fold(model)
    infer_shapes(model)
    counts |= run(
        model,
        [
            SpellBatchNorm(),
            SpellGelu(),
            SpellHardSwish(),
            SpellInstanceNorm(),
            SpellGlobalPool(),
            SpellArg(),
            SpellGather(),
            SpellPoolIndices(),
            SpellMaxPool(),
            SpellPatchMerge(),
            SpellConcat(),
            SpellExpand(),
            SpellReduceNorm(),
            SpellResize(),
            SpellClip(),
            SpellDet(),
            SpellIsInf(),
            SpellOneHot(),
            SpellUnique(),
            SpellMod(),
            SpellMatmul(),
            SpellWide(frozenset(weight.name for weight in weights)),
            LowerRank(),
            OnnxTfSqueeze(),
            OnnxTfSplit(),
            *([SpellAffine()] if weights else []),
        ],
    )
    tidy.fold(model)
    infer_shapes(model)
    weights = [_standing(model, weight, weights) for weight in weights]
    layout = ChannelsLast(ends=channels_last_ends)
    counts |= run(model, [layout])
    tidy.fold(model)
    infer_shapes(model)
    return Prepared(
        counts,
        [_reordered(weight, layout) for weight in weights],
        {moved.name: moved.perm for moved in layout.moved},
    )
