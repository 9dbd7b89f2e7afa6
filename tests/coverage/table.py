"""The table of operators: built from results, read back by tests.

`ops.json` holds it for machines, `ops.md` for people. A row's verdict is one of VERDICTS; "cannot" names why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

JSON = Path(__file__).parent / "ops.json"
MARKDOWN = Path(__file__).parent / "ops.md"
VERDICTS = ("passes", "partly", "cannot", "not yet")
OPSET = 13

Results = Mapping[str, Mapping[str, Any]]


def onnx_ops() -> list[str]:
    """Every operator of the default domain that opset 13 has, deprecated ones too, sorted."""
    names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    return sorted(name for name in names if _since(name))


def _since(name: str) -> int:
    try:
        return int(onnx.defs.get_schema(name, OPSET, "").since_version)
    except onnx.defs.SchemaError:
        return 0


def build(node_float: Results, node_quantized: Results, aten_float: Results, aten_quantized: Results) -> dict[str, Any]:
    """The table.

    Args:
        node_float, node_quantized: by node test, {"passed", "error", "text"}.
        aten_float, aten_quantized: the same by ATen overload.
    """
    from tests.coverage import aten_cases, reasons
    from tests.coverage.node_tests import cases

    tests: dict[str, dict[str, str]] = {}
    for name, case in cases().items():
        why = reasons.cannot(case)
        found = node_float.get(name, {})
        verdict = "cannot" if why else "passes" if found.get("passed") else "not yet"
        verdict = "excepted" if verdict == "not yet" and name in reasons.EXCEPTIONS else verdict
        text = why or reasons.EXCEPTIONS.get(
            name, "" if verdict == "passes" else f"{found.get('error')}: {found.get('text')}"
        )
        tests[name] = {"op": case.op, "verdict": verdict, "reason": text}
    rows = {}
    for op in onnx_ops():
        mine = {name: test for name, test in tests.items() if test["op"] == op}
        rows[op] = _onnx_row(
            op, mine, {name: node_quantized[name] for name in mine if name in node_quantized}, reasons.CANNOT_OPS
        )
    aten = {name: _aten_row(name, aten_float, aten_quantized, aten_cases.CANNOT) for name in aten_cases.core()}
    representable = [test for test in tests.values() if test["verdict"] != "cannot"]
    return {
        "opset": OPSET,
        "versions": _versions(),
        "node_tests": {"total": len(tests), "representable": len(representable),
                       "passed": sum(test["verdict"] == "passes" for test in representable)},
        "onnx": rows,
        "aten": aten,
        "tests": {name: test for name, test in sorted(tests.items()) if test["verdict"] != "passes"},
    }  # fmt: skip


def _onnx_row(op: str, mine: dict[str, Any], quantized: Results, cannot: Mapping[str, str]) -> dict[str, Any]:
    possible = [test for test in mine.values() if test["verdict"] != "cannot"]
    passed = sum(test["verdict"] == "passes" for test in possible)
    good = sum(bool(found["passed"]) for found in quantized.values())
    if not possible:
        reason = cannot.get(op) or next((test["reason"] for test in mine.values()), "")
        return {
            "float": "cannot" if reason else "not yet",
            "quantized": "cannot" if reason else "not yet",
            "reason": reason,
        }
    return {
        "float": _verdict(passed, len(possible)),
        "quantized": _verdict(good, len(quantized)) if quantized else "not yet",
        "passed": passed,
        "representable": len(possible),
        "reason": "; ".join(sorted({test["reason"] for test in possible if test["verdict"] != "passes"}))[:300],
    }


def _verdict(passed: int, total: int) -> str:
    return "passes" if passed == total else "partly" if passed else "not yet"


def _aten_row(name: str, floats: Results, quantized: Results, cannot: Mapping[str, str]) -> dict[str, Any]:
    if name in cannot:
        return {"float": "cannot", "quantized": "cannot", "reason": cannot[name]}
    found, other = floats.get(name, {}), quantized.get(name, {})
    reason = (
        ""
        if found.get("passed") and other.get("passed")
        else str((other if found.get("passed") else found).get("text", ""))
    )
    return {
        "float": "passes" if found.get("passed") else "not yet",
        "quantized": "passes" if other.get("passed") else "not yet",
        "reason": reason[:300],
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("ai-edge-litert", "onnx", "onnx-tf", "tensorflow", "torch")}


def markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    tests = table["node_tests"]
    share = 100 * tests["passed"] / max(tests["representable"], 1)
    lines = [
        "# Operators",
        "",
        "Written by `scripts/op_coverage`; each row was run through the chain to a `.tflite` and in LiteRT.",
        "",
        f"Of ONNX's {tests['total']} node tests of operators that opset {table['opset']} has, {tests['representable']} can be "
        f"represented in TFLite builtins; {tests['passed']} of those pass ({share:.1f} %).",
        "",
    ]
    for title, key in (("ONNX, opset 13", "onnx"), ("ATen, PyTorch's core set", "aten")):
        lines += [f"## {title}", "", "| operator | float | quantized | tests | why |", "|---|---|---|---|---|"]
        for name, row in table[key].items():
            count = f"{row['passed']}/{row['representable']}" if "passed" in row else ""
            reason = row["reason"].replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {name} | {row['float']} | {row['quantized']} | {count} | {reason} |")
        lines.append("")
    lines += ["## Node tests that do not pass", "", "| test | verdict | why |", "|---|---|---|"]
    for name, test in table["tests"].items():
        lines.append(
            f"| {name} | {test['verdict']} | {test['reason'].replace('|', chr(92) + '|').replace(chr(10), ' ')} |"
        )
    return "\n".join(lines) + "\n"


def read() -> dict[str, Any]:
    """The committed table."""
    found: dict[str, Any] = json.loads(JSON.read_text())
    return found


def write(table: dict[str, Any]) -> None:
    """Both files."""
    JSON.write_text(json.dumps(table, indent=1) + "\n")
    MARKDOWN.write_text(markdown(table))
