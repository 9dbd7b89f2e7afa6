from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgeconv.errors import DiskFull, MissingExtra, OutOfMemory, StageCrashed, StageError, StageTimeout, UnsupportedOp
from edgeconv.worker import Limits, Worker


@pytest.fixture
def worker(monkeypatch):
    folder = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{folder.parent}")
    with Worker(limits=Limits(seconds=60)) as worker:
        yield worker


def gone(pid: int) -> bool:
    """The process has ended, soon."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_jobs_run_in_one_process_whatever_they_print(worker):
    first = worker.run("worker_jobs:echo", {"a": 1})
    second = worker.run("worker_jobs:echo", {"a": [None, "ü", 1.5]})
    assert first["a"] == 1
    assert second["a"] == [None, "ü", 1.5]
    assert first["pid"] == second["pid"] != os.getpid()
    assert not first["cwd on path"]


def test_an_answer_larger_than_a_pipe(worker):
    assert len(worker.run("worker_jobs:large", {"size": 3_000_000})["text"]) == 3_000_000


@pytest.mark.parametrize(
    ("job", "kind", "says"),
    [
        ("abort", StageCrashed, "died with signal SIGABRT"),
        ("segfault", StageCrashed, "died with signal SIGSEGV"),
        ("leave", StageCrashed, "died with exit code 7"),
        ("leave_well", StageCrashed, "died with exit code 0"),
        ("real_time_signal", StageCrashed, "died with signal 36"),
        ("killed", OutOfMemory, "killed (SIGKILL), most likely by the kernel"),
        ("memory_error", OutOfMemory, "ran out of memory"),
        ("disk_full", DiskFull, "no space is left"),
        ("disk_full_in_cpp", DiskFull, "no space is left"),
        ("raises", StageCrashed, "raised ValueError: first line"),
        ("raises_nothing", StageCrashed, "raised RuntimeError"),
        ("exits", StageCrashed, "raised SystemExit: 3"),
        ("not_plain", StageCrashed, "raised TypeError"),
        ("no_such_function", StageCrashed, "raised AttributeError"),
        ("missing_package", MissingExtra, "the package 'no_such_package_anywhere' is needed"),
    ],
)
def test_whatever_a_converter_does_is_one_typed_error_and_the_next_job_works(worker, job, kind, says):
    with pytest.raises(kind) as caught:
        worker.run(f"worker_jobs:{job}", {})
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert worker.run("worker_jobs:echo", {"a": 2})["a"] == 2


def test_the_missing_extra_says_how_to_get_it(worker):
    with pytest.raises(MissingExtra) as caught:
        worker.run("worker_jobs:missing_package", {})
    assert caught.value.hint == "pip install 'edgeconv[convert]'"


def test_last_words_are_kept_for_the_traceback(worker):
    with pytest.raises(StageCrashed) as caught:
        worker.run("worker_jobs:abort", {}, who="the model")
    assert "last words" in caught.value.detail
    assert caught.value.message.startswith("the model's process died")
    with pytest.raises(StageCrashed) as caught:
        worker.run("worker_jobs:raises", {})
    assert "second line" in caught.value.detail
    assert "Traceback" in caught.value.detail


@pytest.mark.parametrize("job", ["raises", "memory_error", "disk_full", "killed"])
def test_an_error_names_whose_code_it_was_and_advises_nobody_to_convert(worker, job):
    with pytest.raises((StageError, DiskFull)) as caught:
        worker.run(f"worker_jobs:{job}", {}, who="the measurement")
    assert "the measurement" in caught.value.message
    assert "convert" not in caught.value.message + caught.value.hint


def test_a_typed_error_comes_through_whole(worker):
    with pytest.raises(UnsupportedOp, match="Det in head") as caught:
        worker.run("worker_jobs:typed", {})
    assert (caught.value.hint, caught.value.stage) == ("another op", "tflite")
    assert "Traceback" in caught.value.detail


@pytest.mark.parametrize("job", ["hang", "hang_with_a_child"])
def test_a_hang_ends_at_the_time_limit_and_takes_its_children_along(worker, job, tmp_path):
    worker.run("worker_jobs:echo", {})
    pid_file = tmp_path / "pid"
    with pytest.raises(StageTimeout, match=r"no result within the time limit of 1 s") as caught:
        worker.run(f"worker_jobs:{job}", {"pid file": str(pid_file)}, seconds=1)
    assert "--time-limit" in caught.value.hint
    assert gone(int(pid_file.read_text()))
    assert worker.run("worker_jobs:echo", {"a": 3})["a"] == 3


def test_a_memory_blow_up_ends_at_the_limit(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with Worker(limits=Limits(60, bytes=400 << 20)) as worker:
        with pytest.raises(OutOfMemory, match=r"grew to 0\.\d GB, over its limit of 0\.4 GB") as caught:
            worker.run("worker_jobs:eat_memory", {})
        assert "memory_gb" in caught.value.hint
        assert worker.run("worker_jobs:echo", {"a": 4})["a"] == 4
        assert worker.peak_bytes < 400 << 20


def test_an_interrupt_ends_the_process(worker, tmp_path, monkeypatch):
    pid = worker.run("worker_jobs:echo", {})["pid"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeconv.worker.select.select", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.run("worker_jobs:hang", {"pid file": str(tmp_path / "pid")})
    assert gone(pid)


def test_closing_ends_the_process_even_in_the_midst_of_imports(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with Worker(("worker_jobs", "no_such_module_to_preload")) as worker:
        pid = worker.run("worker_jobs:echo", {})["pid"]
    assert gone(pid)
    worker = Worker()
    worker.start()
    assert worker._process is not None
    pid = worker._process.pid
    worker.close()
    worker.close()
    assert gone(pid)


def test_a_worker_dies_with_its_parent():
    import subprocess
    import sys

    text = "from edgeconv.worker import Worker; import os\n"
    text += "w = Worker(); print(w.run('worker_jobs:echo', {})['pid'], flush=True); os.kill(os.getpid(), 9)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    said = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert gone(int(said.stdout))
