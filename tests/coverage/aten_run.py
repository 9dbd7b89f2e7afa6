"""Runs the cases of ATen operators, or of functions, through the chain: jobs for edgeconv.worker."""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeconv.errors import EdgeconvError
from edgeconv.source import parse_reference
from tests.coverage.through import convert, snr_db

#: Least signal to noise ratio, in dB; with int8 weights in the second.
FLOAT_DB, QUANTIZED_DB = 100.0, 25.0


def run(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Cases as one model; if that fails, each alone.

    Args:
        payload: {"names": of cases, "quantized": bool, "cases": the module that holds them, `aten_cases` unless told}.

    Returns:
        By name {"passed": bool, "error": kind of the failure or "", "text": what was said}.
    """
    names, quantized, cases = payload["names"], payload["quantized"], payload.get("cases", "aten_cases")
    if len(names) > 1:
        try:
            found = _together(names, cases, quantized=quantized)
            if all(one["passed"] for one in found.values()):
                return found
        except Exception as caught:  # noqa: BLE001 - whichever it was fails alone too, and gets its row then
            print(f"{len(names)} cases at once: {type(caught).__name__}; each alone now", file=sys.stderr)
    results = {}
    for name in names:
        try:
            results |= _together([name], cases, quantized=quantized)
        except EdgeconvError as caught:
            results[name] = {"passed": False, "error": type(caught).__name__, "text": caught.message[:400]}
        except Exception as caught:  # noqa: BLE001 - every way to fail is a row of the table
            last = traceback.extract_tb(caught.__traceback__)[-1]
            text = f"{caught} ({last.filename.rpartition('/')[2]}:{last.lineno})"
            results[name] = {"passed": False, "error": type(caught).__name__, "text": text[:400]}
    return results


def _together(names: list[str], cases: str, *, quantized: bool) -> dict[str, dict[str, Any]]:
    module, inputs = importlib.import_module(f"tests.coverage.{cases}").model(names)
    with torch.no_grad():
        wanted = {name: value.numpy() for name, value in module(**inputs).items()}
    with tempfile.TemporaryDirectory() as folder:
        stem = f"aten_{abs(hash(folder))}"
        text = f"from tests.coverage import {cases}\n\n\ndef make():\n    return {cases}.model({names!r})\n"
        (Path(folder) / f"{stem}.py").write_text(text)
        source = parse_reference(f"{stem}.py:make", base=Path(folder))
        feeds = {name: value.numpy() for name, value in inputs.items()}
        found = convert(source, feeds, Path(folder) / "out", quantized=quantized).outputs
    results = {name: {"passed": True, "error": "", "text": ""} for name in names}
    for output, array in wanted.items():
        text = _differs(array, found[output], QUANTIZED_DB if quantized else FLOAT_DB)
        if text:
            results[names[int(output[1:].partition("_")[0])]] = {"passed": False, "error": "Differs", "text": text}
    return results


def _differs(wanted: Any, got: Any, least: float) -> str:
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"is {got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(got, wanted) else "other integers"
    ratio = snr_db(wanted, got)
    return "" if ratio >= least else f"agrees to {ratio:.1f} dB"
