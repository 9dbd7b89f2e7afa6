"""An open batch, from the command line, a declared model or a target: proven at several sizes."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.slice
def test_the_batch_is_open_and_proven_at_several_sizes(cli):
    said = cli("run", "--model", "net.py:make", "--dynamic", "0", "--json")
    report = json.loads(said.out)
    assert said.code == 0, said
    assert report["contract"]["inputs"][0]["shape"] == [1, 8, 8, 1]
    rows = [row for row in report["parity"] if row["stage"] == "tflite"]
    assert [sorted(row["batches"]) for row in rows] == [["1", "2", "5"]] * 2
    assert sum(row["check"].startswith("SNR at batch") for row in report["acceptance"]) == 6
    manifest = json.loads(next(cli.folder.glob("artifacts/*/*/manifest.json")).read_text())
    assert manifest["dynamic_axes"] == [0]


@pytest.mark.parametrize("where", ["model", "target"])
def test_toml_may_say_it(cli, write, where):
    write("edgeconv.toml", '[models.net]\nmodel = "net.py:make"\n' + ("dynamic = [0]\n" if where == "model" else ""))
    section = '[tflite]\nmode = "float32"\n' + ("dynamic = [0]\n" if where == "target" else "")
    write("targets/mine.toml", f'stages = ["onnx", "saved_model", "tflite"]\n{section}')
    said = cli("run", "net", "--target", "mine", "--json")
    report = json.loads(said.out)
    assert said.code == 0, said
    assert all(snr > 100 for row in report["parity"] if row["stage"] == "tflite" for snr in row["batches"].values())


SAVE = """
import torch, net
m, (x,) = net.make()
wide = x.repeat(3, *[1] * (x.ndim - 1))
torch.export.save(torch.export.export(m, (x,)), "fixed.pt2")
torch.export.save(torch.export.export(m, (wide,), dynamic_shapes=({0: torch.export.Dim("batch")},)), "open.pt2")
torch.jit.save(torch.jit.trace(m, x), "net.pt")
"""


@pytest.fixture
def archives(cli, write):
    write("save.py", SAVE)
    subprocess.run([sys.executable, "save.py"], cwd=cli.folder, check=True)


def test_an_archive_with_fixed_shapes_is_refused(cli, archives):
    cli.refuses("run", "--model", "fixed.pt2", "--dynamic", "0", code=2, says="the file fixes it at 1 for its input")


@pytest.mark.parametrize("given", [("open.pt2",), ("net.pt", "--trust", "--input", "image=1x1x8x8")])
def test_archives_with_an_open_batch_are_proven_at_several_sizes(cli, archives, given):
    said = cli("run", "--model", *given, "--dynamic", "0", "--json")
    report = json.loads(said.out)
    assert said.code == 0, said
    rows = [row for row in report["parity"] if row["stage"] == "tflite"]
    assert [sorted(row["batches"]) for row in rows] == [["1", "2", "5"]] * 2
