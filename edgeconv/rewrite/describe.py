"""Names nodes for a person: how many, of which op, and which PyTorch modules they came from."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

#: The key under which torch.onnx keeps the names of the modules around a node.
SCOPES = "pkg.torch.onnx.name_scopes"
#: The key under which it keeps the lines that led to a node; only while the `onnx` stage works.
TRACE = "pkg.torch.onnx.stack_trace"
#: The key under which a node made later keeps the name of the `onnx` stage's node that it stands for.
ORIGIN = "edgeconv.node"


def describe_nodes(nodes: Iterable[Any], most: int = 3) -> str:
    """Sentence part for `onnx.NodeProto`s: "Det (in 'head.det') and 2 more, Unique (node 'n7')"."""
    by_op: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        by_op[f"{node.domain}::{node.op_type}" if node.domain else node.op_type].append(_place(node))
    parts = []
    for op, places in by_op.items():
        shown = list(dict.fromkeys(places))
        more = f" and {len(shown) - most} more" if len(shown) > most else ""
        parts.append(f"{op} ({', '.join(shown[:most])}{more})")
    return ", ".join(parts)


def module_of(node: Any) -> str:
    """Dotted path of the PyTorch module that an `onnx.NodeProto` came from; empty where unknown."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    try:
        names = ast.literal_eval(scopes) if scopes else []
    except (SyntaxError, ValueError):
        names = []
    return str(names[-2]) if len(names) > 1 else ""


def origins(nodes: Iterable[Any]) -> list[str]:
    """Names of the `onnx` stage's nodes that `onnx.NodeProto`s stand for, as far as they are known."""
    found = [entry.value for node in nodes for entry in node.metadata_props if entry.key == ORIGIN]
    return list(dict.fromkeys(found))


def _place(node: Any) -> str:
    module = module_of(node)
    return f"in {module!r}" if module else f"node {node.name or node.output[0]!r}"
