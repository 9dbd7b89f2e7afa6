"""Runs stages in this process, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeconv.source import ModelSource
from edgeconv.stage import Job, Stage

NAMES = {"onnx": "model.onnx", "quantize": "quantized.onnx", "saved_model": "saved_model", "tflite": "model.tflite"}


def run_stages(source: ModelSource, stages: list[Stage], folder: Path) -> tuple[dict[str, Path], dict[str, Any]]:
    """Path and notes of each stage's product by stage name."""
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / "source.json"
    current.write_text(json.dumps(source.to_json()))
    paths, notes = {}, {}
    for stage in stages:
        scratch = folder / f"{stage.name}-scratch"
        scratch.mkdir()
        target = folder / NAMES[stage.name]
        notes[stage.name] = stage.execute(Job(current, target, scratch))
        paths[stage.name] = current = target
    return paths, notes


def module_source(folder: Path, text: str, factory: str = "make") -> ModelSource:
    """A factory in a file of its own; the file's name is unique, since loaded modules stay in this process."""
    from edgeconv.source import parse_reference

    path = folder / f"net_{abs(hash(str(folder)))}.py"
    path.write_text("import torch\nfrom torch import nn\n" + text)
    return parse_reference(f"{path.name}:{factory}", base=folder)
