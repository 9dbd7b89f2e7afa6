"""What the command line promises where nothing is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import onnx
import pytest
import torch
from cli_process import SCRIPT, Said

HEAVY = ("torch", "tensorflow", "onnxruntime", "onnx", "tflite_runtime", "ai_edge_litert", "safetensors", "sklearn")

DECLARED = """\
[models.face]
model = "net.py:make"

[models.pose]
model = "net.py:alone"
inputs = ["image=1x1x8x8:float32:0..1"]

[models.hand]
model = "net.py:make"
"""

#: A short chain with one quick measurement, for tests that are not about the rest.
SHORT = 'stages = ["onnx", "quantize"]\n[harness]\nruntimes = ["litert"]\nseeds = 1\nmin_runs = 5\nmin_seconds = 0\n'
WHOLE = SHORT.replace('"quantize"]', '"quantize", "saved_model", "tflite"]')


def imported(cli, *arguments: str) -> tuple[Said, set[str]]:
    """Run the command and tell which top-level packages it imported."""
    text = (
        "import atexit, sys\n"
        f"sys.argv = ['edgeconv', *{list(arguments)!r}]\n"
        "atexit.register(lambda: print('IMPORTED', *{m.partition('.')[0] for m in sys.modules}, file=sys.stderr))\n"
        "from edgeconv.cli import main\n"
        "main()\n"
    )
    (cli.folder / "traced.py").write_text(text)
    said = subprocess.run(
        [sys.executable, str(cli.folder / "traced.py")], cwd=cli.folder, capture_output=True, text=True, check=False,
        env={**os.environ, "EDGECONV_CACHE": str(cli.cache)},
    )  # fmt: skip
    names = next(line for line in said.stderr.splitlines() if line.startswith("IMPORTED"))
    return Said(said.returncode, said.stdout, said.stderr), set(names.split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",), ("run", "--help"), ("targets",), ("targets", "--json"), ("plan",), ("plan", "--json"),
        ("plan", "--model", "net.py:make"), ("plan", "--model", "net.onnx"), ("cache", "stats"),
        ("run", "--target", "zzz"),
    ],
)  # fmt: skip
def test_light_commands_import_nothing_heavy(cli, arguments):
    (cli.folder / "net.onnx").write_bytes(b"")
    said, names = imported(cli, *arguments)
    assert said.code == (3 if "zzz" in arguments else 0), said
    assert not names & set(HEAVY)


@pytest.mark.parametrize(
    "arguments", [("targets",), ("plan",), ("cache", "stats"), ("cache", "verify"), ("cache", "list")]
)
def test_json_is_all_there_is_on_standard_output(cli, arguments):
    said = cli(*arguments, "--json")
    assert said.code == 0, said
    json.loads(said.out)


def test_help_names_the_table_that_models_are_declared_in(cli):
    said = cli("run", "--help")
    assert said.code == 0
    assert "[tool.edgeconv]" in said.out
    for option in ("--target", "--model", "--weights", "--input", "--json", "--time-limit", "--trust", "--out"):
        assert option in said.out


def test_nothing_at_all_is_a_wrong_command_that_shows_the_help(cli):
    said = cli()
    assert said.code == 2
    assert "Usage" in said.out + said.err
    assert "Traceback" not in said.err


def test_targets_lists_the_users_own_too(cli, write):
    write("targets/mine.toml", SHORT)
    rows = {row["name"]: row for row in json.loads(cli("targets", "--json").out)}
    assert {"android", "android-float", "mine"} <= set(rows)
    assert rows["mine"]["stages"] == ["onnx", "quantize"]


@pytest.mark.parametrize(("file", "prefix"), [("edgeconv.toml", ""), ("pyproject.toml", "tool.edgeconv.")])
def test_plan_takes_all_declared_models_or_those_that_are_named(cli, write, file, prefix):
    write(file, DECLARED.replace("[models", f"[{prefix}models"))

    def planned(*arguments: str) -> list[str]:
        said = cli("plan", "--json", *arguments)
        assert said.code == 0, said
        return [one["model"] for one in json.loads(said.out)["plans"]]

    assert planned() == ["face", "pose", "hand"]
    assert planned("hand", "face") == ["hand", "face"]
    assert planned("--model", "net.py:make") == ["net-make"]


def test_plan_without_a_model_is_about_the_sample(cli):
    data = json.loads(cli("plan", "--json").out)["plans"][0]
    assert (data["model"], data["target"]) == ("digits", "android")
    assert [step["name"] for step in data["steps"]] == ["onnx", "quantize", "saved_model", "tflite"]
    assert data["steps"][0]["reason_kind"] == "first_run"


def accepted(said: Said) -> dict:
    assert said.code == 0, said
    report = json.loads(said.out)
    assert report["verdict"] == "accepted"
    return report


@pytest.mark.slow
@pytest.mark.slice
def test_two_of_three_declared_models_are_run(cli, write):
    write("edgeconv.toml", DECLARED)
    write("targets/quick.toml", WHOLE)
    said = cli("run", "--target", "quick", "--json", "pose", "face")
    assert said.code == 0, said
    assert [report["model"] for report in json.loads(said.out)["reports"]] == ["pose", "face"]
    assert sorted(path.name for path in (cli.folder / "artifacts").iterdir()) == ["face", "pose"]
    cli.is_clean()
    manifest = json.loads((cli.folder / "artifacts" / "pose" / "quick" / "manifest.json").read_text())
    assert [one["name"] for one in manifest["inputs"]] == ["image"]
    warm = cli("run", "--target", "quick", "face")
    assert warm.code == 0, warm
    assert "cached" in warm.err


@pytest.mark.slow
def test_a_model_left_in_training_mode_is_warned_of_by_name(cli, write):
    (cli.folder / "net.py").write_text(
        (cli.folder / "net.py").read_text() + "def left(): return Net(), {'image': EXAMPLE}\n"
    )
    write("targets/quick.toml", WHOLE)
    report = accepted(cli("run", "--model", "net.py:left", "--target", "quick", "--json", "--name", "left"))
    assert report["warnings"] == [
        "the model was left in training mode (Net, conv, head, tail); it was converted in eval mode"
    ]
    again = cli("run", "--model", "net.py:left", "--target", "quick", "--name", "left")
    assert "training mode (Net, conv, head, tail)" in again.out + again.err  # a warm run says it too


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("opset", [11, 17])
def test_an_onnx_file(cli, write, opset):
    write("targets/quick.toml", WHOLE)
    convolution = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    weight = onnx.numpy_helper.from_array(torch.arange(72.0).reshape(8, 1, 3, 3).numpy() / 72, "w")
    graph = onnx.helper.make_graph(
        [convolution, onnx.helper.make_node("Relu", ["y"], ["z"])], "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", 8, 8, 8])], [weight],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, cli.folder / "net.onnx")
    said = cli("run", "--model", "net.onnx", "--input", "x=1x1x8x8:float32:0..1", "--target", "quick", "--json")
    report = accepted(said)
    assert report["reference"] == "onnxruntime"
    assert (cli.folder / report["artifact"]["path"]).is_file()
    cli.is_clean()


@pytest.mark.slow
@pytest.mark.slice
def test_a_conversion_without_proof_says_so_and_a_later_run_proves_it(cli, write):
    write("targets/quick.toml", WHOLE)
    said = cli("run", "--model", "net.py:make", "--target", "quick", "--unproven", "--json")
    assert said.code == 0
    report = json.loads(said.out)
    assert report["verdict"] == "unproven"
    assert report["parity"] == report["latency"] == report["measurements"] == []
    manifest = json.loads((cli.folder / report["artifact"]["path"]).with_name("manifest.json").read_text())
    assert manifest["runtime"]["proven_on"] == manifest["fidelity"] == []
    proven = accepted(cli("run", "--model", "net.py:make", "--target", "quick", "--json"))
    assert {step["status"] for step in proven["steps"]} == {"cached"}
    assert proven["artifact"]["sha256"] == report["artifact"]["sha256"]


@pytest.mark.slow
def test_a_program_and_a_trusted_script(cli, write):
    write("targets/quick.toml", WHOLE)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU()).eval()
    example = torch.ones(1, 1, 8, 8)
    torch.export.save(torch.export.export(net, (example,)), cli.folder / "net.pt2")
    torch.jit.trace(net, example).save(str(cli.folder / "net.ts"))
    program = accepted(cli("run", "--model", "net.pt2", "--target", "quick", "--json"))
    script = accepted(
        cli("run", "--model", "net.ts", "--trust", "--input", "input=1x1x8x8", "--target", "quick", "--json")
    )
    assert program["contract"]["inputs"][0]["name"] == script["contract"]["inputs"][0]["name"] == "input"
    cli.is_clean()


def test_the_script_is_where_the_tests_look_for_it():
    assert SCRIPT.is_file()
