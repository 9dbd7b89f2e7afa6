"""The house: arrows between rooms, public names, targets that plan, files that stay small, text that stays home."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeconv
from edgeconv import target as targets
from edgeconv.api import chain_of, sample
from edgeconv.store import Store

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "tensorflow", "onnxruntime", "onnx", "onnx_tf", "ai_edge_litert", "tflite_runtime", "safetensors")
SOURCES = sorted((ROOT / "edgeconv").rglob("*.py"))


def test_the_arrows_point_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_says_what_is_public():
    for module in pkgutil.walk_packages(edgeconv.__path__, "edgeconv."):
        if module.ispkg and module.name not in {"edgeconv.models", "edgeconv.rewrite"}:
            found = importlib.import_module(module.name)
            for name in getattr(found, "__all__", ["STAGES"]):
                assert hasattr(found, name), f"{module.name}.{name}"


@pytest.mark.parametrize("name", sorted(targets.available(ROOT)))
def test_every_target_plans(name, tmp_path):
    steps = chain_of(sample(tmp_path), targets.load(name, ROOT)).plan(Store(tmp_path))
    assert [step.name for step in steps][-1] == "tflite"
    assert steps[0].reason.kind == "first_run"


def test_heavy_libraries_are_imported_inside_functions_only():
    allowed = {"edgeconv/models/sample.py"}
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if name in allowed or name.startswith("edgeconv/rewrite/"):  # rewrite is imported by workers alone
            continue
        for node in ast.parse(path.read_text()).body:
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {m.partition(".")[0] for m in modules} & set(HEAVY), name


def test_importing_edgeconv_and_its_api_imports_nothing_heavy():
    code = f"import sys, edgeconv; edgeconv.run; print([m for m in sys.modules if m.split('.')[0] in {HEAVY}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_grows_past_400_lines_and_no_function_past_80():
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno < 80, f"{path}: {node.name}"


def test_no_error_is_swallowed():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in {"everything", "Exception", "BaseException"}, path
