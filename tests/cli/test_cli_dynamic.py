"""An open batch, from the command line, a declared model or a target: proven at several sizes."""

import json

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


def test_fixed_shapes_are_refused(cli, write):
    write("save.py", "import torch, net\nm, x = net.make()\ntorch.export.save(torch.export.export(m, x), 'net.pt2')\n")
    import subprocess
    import sys

    subprocess.run([sys.executable, "save.py"], cwd=cli.folder, check=True)
    cli.refuses("run", "--model", "net.pt2", "--dynamic", "0", code=2, says="the file has fixed shapes")
