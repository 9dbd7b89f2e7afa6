"""Says all obstacles of a model on the way to ONNX at opset 13, and where in its source they stand. Runs in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeconv.errors import StageError
from edgeconv.rewrite.describe import TRACE
from edgeconv.source import ModelSource
from edgeconv.stages import capture, witness


def find(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: everything short of TensorFlow.

    Payload:
        source: the ModelSource. destination: where an ONNX file of what could be exported goes.

    Returns:
        obstacles (see `witness.grouped`), exported (whether the ONNX file was written), untaken (nodes that opset 13 cannot
        hold).

    Raises:
        SourceError: the model itself cannot be had.
    """
    from edgeconv.rewrite import base
    from edgeconv.rewrite.legalize import misfits

    source = ModelSource.from_json(payload["source"])
    found, model, names = _export(source)
    if model is None:
        return {"obstacles": witness.grouped(found), "exported": False, "untaken": []}
    left = misfits(model)
    for node, reason in left:
        place = witness.place_in(node.metadata_props.get(TRACE, ""))
        found.append(
            witness.obstacle("opset", node.op_type, base.module_path(node), place, reason, _REPLACE, node.name or "")
        )
    _write(model, names, Path(payload["destination"]))
    return {"obstacles": witness.grouped(found), "exported": True, "untaken": [node.name for node, _ in left]}


_REPLACE = "replace that operator in the model by others that compute the same"


def _export(source: ModelSource) -> tuple[list[dict[str, Any]], Any, tuple[list[str], list[str]]]:
    """Obstacles so far, and the legalized model with its input and output names; None where it does not export."""
    from edgeconv.rewrite import spell
    from edgeconv.rewrite.base import run
    from edgeconv.rewrite.legalize import PASSES
    from edgeconv.source import loading
    from edgeconv.stages import onnx

    found: list[dict[str, Any]] = []
    try:
        model, inputs, outputs, _ = onnx.graph_of(source)
    except StageError as error:
        loaded = loading.load(source) if source.kind != "onnx" else None
        if loaded is not None:
            found = _reasons(loaded, error)
        if not found:
            reason = f"{error.message[:1].upper()}{error.message[1:]}"
            found = [witness.obstacle("export", "", "", "", reason, error.hint)]
        return found, None, ([], [])
    run(model, [*PASSES, *spell.PASSES])
    return found, model, (inputs, outputs)


def _reasons(loaded: Any, error: StageError) -> list[dict[str, Any]]:
    """Why a model does not export. Reads of values count only where torch.export stumbled over one."""
    seen = witness.watch(loaded.module, loaded.example) if loaded.program is None else []
    try:
        program = capture.traced(loaded)
    except Exception as raised:  # noqa: BLE001 - whatever it raises, the obstacles are what was seen
        decides = (
            "data-dependent" in str(raised) or "Could not guard" in str(raised) or "unbacked" in str(raised).lower()
        )
        return [entry for entry in seen if decides or entry["kind"] != "control-flow"] or _first(error)
    complex_numbers = [entry for entry in seen if entry["kind"] == "complex"]
    return witness.untranslated(program) or complex_numbers or _first(error)


def _first(error: StageError) -> list[dict[str, Any]]:
    return [witness.obstacle("export", "", "", "", error.message, error.hint)]


def _write(model: Any, names: tuple[list[str], list[str]], path: Path) -> None:
    """The graph as the `onnx` stage would leave it, nodes that opset 13 does not hold included, with stack traces."""
    import onnx
    import onnx_ir as ir

    from edgeconv.rewrite import tidy

    model.opset_imports.setdefault("", 13)
    model.opset_imports[""] = 13
    tidy.tidy(model, *names)
    proto = ir.serde.serialize_model(model)
    for node in proto.graph.node:
        node.metadata_props.add(key="edgeconv.node", value=node.name)
    onnx.save(proto, str(path))


def locate(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: where in the user's source nodes of the `onnx` stage's graph come from.

    The model is exported again: its graph is the same, and the stage's artifact holds no lines.

    Payload:
        source: the ModelSource. nodes: names.

    Returns:
        {"places": {node: "net.py:12: y = a @ b"}}, for those that are known.
    """
    from edgeconv.rewrite import spell, tidy
    from edgeconv.rewrite.base import nodes, run
    from edgeconv.rewrite.legalize import PASSES
    from edgeconv.stages import onnx

    source = ModelSource.from_json(payload["source"])
    model, inputs, outputs, _ = onnx.graph_of(source)
    run(model, [*PASSES, *spell.PASSES])
    wanted = set(payload["nodes"])
    places = _places(nodes(model), wanted)
    if wanted - set(places):  # folding gives some of them their names
        tidy.tidy(model, inputs, outputs)
        places |= _places(nodes(model), wanted - set(places))
    return {"places": places}


def _places(found: Any, wanted: set[str]) -> dict[str, str]:
    pairs = {node.name: witness.place_in(node.metadata_props.get(TRACE, "")) for node in found if node.name in wanted}
    return {name: place for name, place in pairs.items() if place}
