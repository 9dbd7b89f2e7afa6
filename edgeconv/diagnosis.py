"""Asks workers what stands in a model's way: all obstacles before a run, or place and smallest graph after a failed one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeconv.errors import EdgeconvError, StageError
from edgeconv.pipeline import Pool, Run
from edgeconv.source import ModelSource

_OBSTACLES = "edgeconv.stages.obstacles"
_REHEARSE = "edgeconv.stages.rehearse"


def obstacles(
    source: ModelSource, pool: Pool, folder: Path, min_runtime: str | None
) -> tuple[list[dict[str, Any]], bool]:
    """All obstacles (see `stages.witness.grouped`), and whether the model exports: else more may lie behind them.

    Args:
        source: the model.
        pool: of workers.
        folder: scratch.
        min_runtime: oldest TFLite runtime that the target promises.
    """
    path = str(folder / "check.onnx")
    first = pool.get("torch").run(f"{_OBSTACLES}:find", {"source": source.to_json(), "destination": path})
    found: list[dict[str, Any]] = first["obstacles"]
    if first["exported"]:
        asked = {"onnx": path, "untaken": first["untaken"], "min_runtime": min_runtime}
        found += pool.get("tensorflow").run(f"{_REHEARSE}:find", asked)["obstacles"]
    return found, first["exported"]


def explain(error: StageError, run: Run, pool: Pool, save_repro: Path | None) -> None:
    """Add to a stage's error where in the model's source it comes from, and write the part of the graph that shows it.

    What fails here is only mentioned: it must not hide the error itself.
    """
    source = run.chain.source
    if error.nodes and source.kind != "onnx":
        with suppress(EdgeconvError):
            asked = {"source": source.to_json(), "nodes": error.nodes[:20]}
            places = list(dict.fromkeys(pool.get("torch").run(f"{_OBSTACLES}:locate", asked)["places"].values()))
            if places:
                error.message += f" ({'; '.join(places[:3])}{' …' if len(places) > 3 else ''})"
    if save_repro is not None:
        try:
            said = _save(error, run, pool, save_repro)
        except EdgeconvError as failed:
            said = f"no --save-repro file was written: {failed.message}"
        error.hint += f"{'; ' if error.hint else ''}{said}"


def _save(error: StageError, run: Run, pool: Pool, save_repro: Path) -> str:
    """Write the smallest part of the graph that shows the error; says in a clause what came of it."""
    exported = any(done.name == "onnx" for done in run.done)
    path = run.file_of("onnx").path if exported else run.folder / "failing.onnx"
    if not exported:
        asked = {"source": run.chain.source.to_json(), "destination": str(path)}
        if not pool.get("torch").run(f"{_OBSTACLES}:find", asked)["exported"]:
            return "no --save-repro file was written: the model does not get as far as a graph"
    certain = not exported and bool(error.nodes)
    asked = {"onnx": str(path), "nodes": error.nodes, "destination": str(save_repro.absolute())}
    part = pool.get("tensorflow").run(f"{_REHEARSE}:shrink", {**asked, "certain": certain})
    what = f"{part['nodes']} node{'s' if part['nodes'] > 1 else ''}"
    shown = "that fails the same way" if part["shown"] else "(the whole graph: no part of it fails by itself)"
    return f"{save_repro} holds {what} {shown}"
