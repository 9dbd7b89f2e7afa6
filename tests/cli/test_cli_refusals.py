"""Bad input at the command line: one clear sentence, its own exit code, never a traceback, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from cli_process import SCRIPT, Said, assert_one_sentence

TAILS = """
import os, sys, time

class Spread(nn.Module):
    def forward(self, x):
        places = (x.repeat(1, 1000) * 5000).long().clamp(0, 4999)
        return torch.zeros(1, 5000).scatter_add(1, places, x.repeat(1, 1000))


class Det(nn.Module):
    def forward(self, x): return torch.linalg.det(x.reshape(1, 2, 2).repeat(1, 3, 3))

class Flow(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x - 1

class NotANumber(nn.Module):
    def forward(self, x): return x / 0 * 0

def spread(): return Net(nn.Sequential(nn.ReLU(), Spread())).eval(), EXAMPLE
def det(): return Net(Det()).eval(), EXAMPLE
def flow(): return Net(Flow()).eval(), EXAMPLE
def nan(): return Net(NotANumber()).eval(), EXAMPLE
def raises(): raise KeyError("no such backbone")
def aborts(): os.abort()
def leaves(): os._exit(7)
def sleeps():
    open("pid", "w").write(str(os.getpid()))
    time.sleep(600)
def eats():
    held = []
    while True: held.append(b"x" * (50 << 20)); time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def tails(cli):
    with (cli.folder / "net.py").open("a") as stream:
        stream.write(TAILS)


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


# before anything heavy is imported


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("run --target andriod", 3, "did you mean android or android-float?"),
        ("plan --target zzz", 3, "there are: android, android-float"),
        ("run --target gone.toml", 3, "no target file"),
        ("run --model net.py", 2, "cannot read the model reference 'net.py'"),
        ("run --model net.py:make face", 2, "exclude each other"),
        ("run face", 4, "no model 'face' is declared"),
        ("run --weights w.pt", 2, "go with --model"),
        ("run --labelled digits", 2, "go with --model"),
        ("run --model net.py:make --name ../x", 2, "cannot be a folder's name"),
        ("run --model gone.py:make", 6, "there is no file"),
        ("run --model gone.onnx", 11, "gone.onnx does not exist"),
        ("run --model net.py:make --weights gone.pt", 11, "the checkpoint"),
        ("run --model net.py:make --input image", 10, "cannot read the input spec 'image'"),
        ("run --model net.py:make --labelled digit", 32, "no calibration set 'digit'"),
        ("run --time-limit -1", 2, "--time-limit"),
        ("run --time-limit soon", 2, "--time-limit"),
        ("run --bogus", 2, "no such option: --bogus"),
        ("rnu", 2, "no such command 'rnu'"),
        ("run --model", 2, "requires an argument"),
        ("cache gc", 2, "say how far to go"),
        ("cache gc --max-size lots", 2, "cannot read the size 'lots'"),
        ("cache gc --max-age -3", 2, "--max-age"),
        ("cache explain abc", 2, "0 results"),
        ("cache verify --cache-dir net.py", 30, "net.py"),
    ],
)
def test_wrong_words(cli, arguments, code, says):
    said = cli.refuses(*arguments.split(), code=code, says=says)
    assert said.out == ""
    assert not (cli.folder / "artifacts").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stages = [\n", "no valid TOML"),
        ('stages = ["onnx"]\n\n[harness]\nthread = 1\n', "line 4: harness.thread: unknown option"),
        ('stages = ["onnx"]\n[onnx]\nopst = 13\n', "line 3: the stage 'onnx' has no option 'opst'"),
        ('stages = ["onnx"]\n[onnx]\nopset = "new"\n', "line 3: option 'opset' of the stage 'onnx'"),
        ('stages = ["onnx"]\n[acceptance]\nmin_snr_db = { onx = 1 }\n', "line 3: acceptance.min_snr_db"),
        ('stages = ["onx"]\n', "line 1: there is no stage 'onx'"),
        ('stages = ["onnx", "tflite"]\n', "the stage 'tflite' takes saved-model, but is handed onnx"),
        ('stages = ["tflite"]\n', "the stage 'tflite' takes saved-model, but is handed torch"),
    ],
)
def test_a_broken_target(cli, write, text, says):
    write("targets/mine.toml", text)
    for command in ("run", "plan"):
        cli.refuses(command, "--target", "mine", "--model", "net.py:make", code=3, says=says)
    assert not (cli.folder / "artifacts").exists()


def test_a_broken_project(cli, write):
    write("edgeconv.toml", "[models.face]\nmodl = 'net.py:make'\n")
    cli.refuses("run", code=4, says="line 2: models.face.modl: unknown key")
    said = cli("plan", "--model", "net.py:make")  # a model that is named needs no project
    assert said.code == 0, said


def test_a_traceback_only_on_demand(cli):
    said = cli("run", "--target", "zzz", "--traceback")
    assert said.code == 3
    assert "Traceback" in said.err


def test_an_error_of_our_own_is_one_sentence_too(cli, write):
    write(
        "sitecustomize.py",
        "import edgeconv.target as t\ndef load(*_): raise ValueError('a bug\\nof ours')\nt.load = load\n",
    )
    said = cli.refuses("plan", code=1, says="ValueError: a bug", env={"PYTHONPATH": str(cli.folder)})
    assert "report it" in said.err


def test_the_missing_extra(cli, write):
    write(
        "sitecustomize.py",
        "import sys\n"
        "class Without:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return None if name.split('.')[0] == 'tensorflow' else self.finder.find_spec(name, path, target)\n"
        "    def __getattr__(self, name): return getattr(self.finder, name)\n"
        "sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]\n",
    )
    environment = {"PYTHONPATH": str(cli.folder)}
    said = cli.refuses("run", code=14, says="pip install 'edgeconv[convert]'", env=environment)
    assert "converting needs packages that are not installed: tensorflow" in said.err
    assert cli("plan", env=environment).code == 0


def test_an_output_that_cannot_be_written_is_a_full_disk(cli):
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [SCRIPT, "targets"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=cli.folder, check=False
        )  # fmt: skip
    assert process.returncode == 31, process
    assert "Traceback" not in process.stderr
    assert "no space is left" in process.stderr


def test_a_reader_that_has_gone(cli):
    process = cli.start("run", "--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait(60) in (0, 1)


# from a worker process


@pytest.mark.parametrize(
    ("factory", "code", "says"),
    [
        ("raises", 8, "raised KeyError: 'no such backbone' (line "),
        ("aborts", 22, "process died with signal SIGABRT"),
        ("leaves", 22, "process died with exit code 7"),
    ],
)
def test_a_factory_that_takes_its_process_down(cli, factory, code, says):
    said = cli.refuses("run", "--model", f"net.py:{factory}", code=code, says=says)
    assert said.out == ""
    assert not (cli.folder / "artifacts").exists()


def test_a_hang_ends_at_the_time_limit(cli):
    cli.refuses("run", "--model", "net.py:sleeps", "--time-limit", "2", code=23, says="within the time limit of 2 s")
    if (cli.folder / "pid").exists():  # on a busy machine imports alone may take the two seconds
        assert gone(int((cli.folder / "pid").read_text()))


@pytest.mark.slow
def test_a_memory_blow_up_ends_at_the_targets_limit(cli, write):
    write("targets/small.toml", 'stages = ["onnx"]\n[limits]\nmemory_gb = 1.5\n')
    said = cli.refuses("run", "--model", "net.py:eats", "--target", "small", code=24, says="over its limit of 1.5 GB")
    assert "memory_gb" in said.err


def test_weights_that_do_not_fit_and_json(cli):
    torch.save({"head.weight": torch.ones(3)}, cli.folder / "w.pt")
    said = cli.refuses(
        "run", "--model", "net.py:make", "--weights", "w.pt", "--json", code=9, says="missing: conv.bias"
    )
    data = json.loads(said.out)
    assert (data["verdict"], data["error"], data["exit_code"]) == ("failed", "WeightsMismatch", 9)
    assert "detail" not in data


@pytest.mark.slow
def test_one_bad_model_among_several_does_not_stop_the_others(cli, write):
    write("edgeconv.toml", "[models.a]\nmodel = 'net.py:raises'\n[models.b]\nmodel = 'net.py:number'\n")
    said = cli("run", "--json")
    assert said.code == 8
    assert [(row["model"], row["error"]) for row in json.loads(said.out)["reports"]] == [
        ("a", "FactoryFailed"),
        ("b", "FactoryFailed"),
    ]
    assert said.err.count("error in") == 2
    assert "Traceback" not in said.err
    cli.is_clean()


@pytest.mark.slow
@pytest.mark.slice
def test_an_op_that_opset_13_does_not_have_is_named_with_its_module(cli):
    said = cli.refuses("run", "--model", "net.py:spread", code=21, says="ScatterElements")
    assert "tail.1" in said.err
    assert "error in net-spread onnx" in said.err or "error in onnx" in said.err


@pytest.mark.slow
def test_control_flow_on_values_names_the_line_of_the_model(cli):
    line = (cli.folder / "net.py").read_text().splitlines().index("        if x.sum() > 0:") + 1
    cli.refuses("run", "--model", "net.py:flow", code=20, says=f"(line {line} of {cli.folder / 'net.py'})")


@pytest.mark.slow
@pytest.mark.slice
def test_an_op_that_tflite_does_not_have(cli):
    said = cli.refuses("run", "--model", "net.py:det", code=21)
    assert "tf.MatrixDeterminant, from Det (in '" in said.err
    assert not (cli.folder / "artifacts").exists()


@pytest.mark.slow
def test_an_output_full_of_nan(cli):
    cli.refuses("run", "--model", "net.py:nan", code=26, says="'output' is all NaN")
    assert not (cli.folder / "artifacts").exists()


# the world around


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_a_full_disk(cli):
    """The kernel's EFBIG; it needs no right to mount anything."""
    said = cli.refuses(
        "run", "--model", "net.py:make", code=31, says="--cache-dir",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )  # fmt: skip
    assert "no space is left" in said.err or "too large" in said.err


@pytest.fixture
def full_disk(cli):
    """Runs a command with its cache on a disk of so many kilobytes, then `cache verify` there; returns both codes."""

    def run(kilobytes: int, *arguments: str) -> tuple[int, str, str]:
        script = (
            f'mount -t tmpfs -o size={kilobytes}k none \'{cli.cache}\' || exit 99; "$@"; code=$?; "$1" cache verify'
        )
        script += f"; find '{cli.cache}'/v1/work -mindepth 1; exit $code"
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        said = subprocess.run(
            [*unshare, "bash", "-c", script, "_", str(SCRIPT), *arguments],
            cwd=cli.folder, env={**os.environ, "EDGECONV_CACHE": str(cli.cache)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return said.returncode, said.stdout, said.stderr

    return run


def may_mount() -> bool:
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    try:
        said = subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return said.returncode == 0


def sizes() -> list[int]:
    """Kilobytes at which a run stops early, in the cache's own writing and in a converter's; none where none can be made."""
    return [8, 24] if may_mount() else []


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("kilobytes", sizes() or [None])
def test_a_full_disk(cli, full_disk, kilobytes):
    if kilobytes is None:  # no right to mount: what the system says of a full device is all that can be tried
        with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)
        return
    code, out, err = full_disk(kilobytes, "run", "--model", "net.py:make")
    assert code == 31, (out, err)
    assert out == "the cache is clean\n"
    assert_one_sentence(Said(code, out, err))
    assert "no space is left" in err
    assert "--cache-dir" in err
    assert not (cli.folder / "artifacts").exists()


@pytest.mark.slow
@pytest.mark.slice
def test_ctrl_c_ends_the_workers_and_the_next_run_goes_on(cli):
    # whoever runs the tests in the background has SIGINT ignored, which children inherit
    process = cli.start(
        "run", "--model", "net.py:sleeps", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    while not (cli.folder / "pid").exists() or not (cli.folder / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted; ")
    assert out == ""
    assert gone(int((cli.folder / "pid").read_text()))
    assert not (cli.folder / "artifacts").exists()
    cli.is_clean()
    assert cli("run", "--model", "net.py:make").code in (0, 40)
    cli.is_clean()


def test_one_sentence_is_what_the_tests_take_it_for(cli):
    assert_one_sentence(cli("run", "--target", "zzz"))
