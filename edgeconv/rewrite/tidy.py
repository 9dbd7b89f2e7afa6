"""Last touches on a legalized graph: names, folded constants, merged duplicates, nothing of the machine it is from."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgeconv.rewrite.base import SCOPES, nodes, run
from edgeconv.rewrite.describe import ORIGIN
from edgeconv.rewrite.drop_zero import DropZero
from edgeconv.rewrite.fold_affine import FoldAffine
from edgeconv.rewrite.fold_rest import FoldRest
from edgeconv.rewrite.fold_scale import FoldScale
from edgeconv.rewrite.fold_shuffle import FoldShuffle
from edgeconv.rewrite.fuse_views import FuseViews
from edgeconv.rewrite.infer_shapes import infer_shapes
from edgeconv.rewrite.merge_weights import MergeWeights
from edgeconv.rewrite.spell_batch_norm import SpellBatchNorm

#: Largest constant, in elements, that is computed from (an embedding table that is transposed); a sixteenth of it may be made
#: (a positional encoding), so that no mask is spread out into megabytes.
FOLDED_ELEMENTS = 1 << 26


def tidy(model: ir.Model, inputs: list[str], outputs: list[str]) -> dict[str, int]:
    """Fold constants, drop what is unused, and give inputs and outputs the model's names.

    Args:
        model: changed in place.
        inputs: the graph's inputs in order, by the names of the forward's parameters.
        outputs: the graph's outputs in order.

    Returns:
        Nodes before minus nodes after, under "fold_constants", and what other passes changed.
    """
    before = sum(1 for _ in nodes(model))
    fold(model)
    infer_shapes(model)
    dropped = run(model, [SpellBatchNorm(), DropZero(), FoldAffine(), FoldScale(), FoldShuffle(), FuseViews()])
    fold(model)
    _rename(model, inputs, outputs)
    return {**dropped, "fold_constants": before - sum(1 for _ in nodes(model))}


def fold(model: ir.Model) -> None:
    """Compute constant subgraphs, merge equal nodes and initializers, remove dead ones."""
    import onnxscript.optimizer
    from onnx_ir.passes import common

    more = True
    while more:  # what is computed from those is constant only now
        onnxscript.optimizer.fold_constants(
            model,
            onnx_shape_inference=False,
            input_size_limit=FOLDED_ELEMENTS,
            output_size_limit=FOLDED_ELEMENTS >> 4,
            should_fold=_is_scattered_into,
        )
        more = any(run(model, [FoldRest(FOLDED_ELEMENTS >> 4)]).values())
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    MergeWeights().apply(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    model.graph.sort()


def _is_scattered_into(node: ir.Node) -> bool | None:
    """True for a ConstantOfShape that a scatter fills, as window attention's masks are made; None for what rules decide.

    The folder leaves ConstantOfShape alone, since a scalar that is broadcast is smaller; a scatter would then stay too.
    """
    if node.op_type == "ConstantOfShape" and any(
        user.node.op_type.startswith("Scatter") for user in node.outputs[0].uses()
    ):
        return True
    return None


def _rename(model: ir.Model, inputs: list[str], outputs: list[str]) -> None:
    """Rename graph inputs and outputs; a value that is both, or twice an output, gets an Identity of its own."""
    graph = model.graph
    for position, value in enumerate(list(graph.outputs)):
        double = any(value is other for other in list(graph.outputs)[:position])
        if value.producer() is None or double:
            node = ir.Node("", "Identity", [value], name=f"output_{position}_identity")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            node.outputs[0].name = f"edgeconv.output_{position}"
            graph.append(node)
            graph.outputs[position] = node.outputs[0]
    wanted = dict(zip([id(v) for v in graph.inputs], inputs, strict=True))
    wanted.update(zip([id(v) for v in graph.outputs], outputs, strict=True))
    taken = set(wanted.values())
    produced = [value for node in nodes(model) for value in node.outputs]
    for value in [*produced, *graph.initializers.values()]:
        if id(value) not in wanted and value.name in taken:
            fresh = f"{value.name}_inner"
            while fresh in taken:
                fresh += "_"
            taken.add(fresh)
            value.name = fresh
    for value in [*graph.inputs, *graph.outputs]:
        value.name = f"edgeconv.{wanted[id(value)]}"  # two steps, so that names can be swapped
    for value in [*graph.inputs, *graph.outputs]:
        value.name = wanted[id(value)]


def strip(proto: Any) -> None:
    """Remove from an `onnx.ModelProto` what names files and lines; the module path of each node stays, and its name.

    The same model in another folder, or with another comment in its source, then gives the same bytes.
    """
    proto.producer_name, proto.producer_version, proto.doc_string = "edgeconv", "", ""
    proto.graph.name, proto.graph.doc_string = "model", ""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.doc_string = ""
        kept = [(entry.key, entry.value) for entry in node.metadata_props if entry.key == SCOPES]
        del node.metadata_props[:]
        for key, value in [*kept, (ORIGIN, node.name)]:
            node.metadata_props.add(key=key, value=value)
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
