"""The emulated Arm machine: what is said without one, and what it counts with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeconv import fingerprint
from edgeconv.errors import DeviceMissing, MeasurementError, UsageError
from edgeconv.harness import devices
from edgeconv.harness.devices import arm

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    return path


def test_a_missing_set_up_is_one_sentence_that_names_the_script(file, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECONV_ARM", str(tmp_path / "arm"))
    with pytest.raises(DeviceMissing, match="is not set up") as caught:
        devices.measure("arm:cortex-a76", devices.Order(file))
    assert "scripts/setup_arm" in caught.value.hint


@pytest.mark.parametrize("facts", [{"version": 0}, {"version": arm.SETUP_VERSION, "plugin_source": "another"}])
def test_a_set_up_of_another_edgeconv_is_refused(file, tmp_path, monkeypatch, facts):
    monkeypatch.setenv("EDGECONV_ARM", str(tmp_path))
    (tmp_path / "setup.json").write_text(json.dumps(facts))
    with pytest.raises(DeviceMissing, match="of another edgeconv") as caught:
        devices.measure("arm:cortex-a76", devices.Order(file))
    assert caught.value.hint == "run scripts/setup_arm again"
    (tmp_path / "setup.json").write_text("{")
    with pytest.raises(DeviceMissing, match="is damaged"):
        arm.find_setup()


@pytest.mark.parametrize(
    ("device", "told"),
    [("arm:cortex-z80", "no Arm processor 'cortex-z80'"), ("arm", "no Arm processor ''"), ("gpu", "no device 'gpu'")],
)
def test_a_device_that_does_not_exist(file, device, told):
    with pytest.raises(UsageError, match=told) as caught:
        devices.measure(device, devices.Order(file))
    assert "cortex-a76" in caught.value.hint


def test_only_tflite_files(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"is an ONNX file, --device arm:cortex-a76 takes TFLite files only"):
        devices.measure("arm:cortex-a76", devices.Order(tmp_path / "x.onnx"))
    with pytest.raises(UsageError, match="there is no file"):
        devices.measure("arm:cortex-a76", devices.Order(tmp_path / "none.tflite"))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UsageError, match="saved is a SavedModel, --device callgrind takes TFLite files only"):
        devices.measure("callgrind", devices.Order(tmp_path / "saved"))


def test_a_file_is_taken_by_its_content(file):
    devices.check("callgrind", devices.Order(file.rename(file.with_suffix(".bin"))))


def test_a_limit_that_was_given_is_meant_as_given():
    assert devices.Order(Path("x"), seconds=20.0).limit(6) == 20.0
    assert devices.Order(Path("x")).limit(6) == 1800.0


def test_the_guest_sees_the_processor_and_not_the_host(tmp_path):
    setup = arm.Setup(tmp_path / "arm", {})
    job = arm.lay_root(setup, arm.CPUS["cortex-a76"], tmp_path / "root")
    told = (tmp_path / "root/proc/cpuinfo").read_text()
    assert "CPU implementer\t: 0x41\n" in told
    assert "CPU part\t: 0xd0b\n" in told
    assert "asimddp" in told
    assert (tmp_path / "root/sys/devices/system/cpu/cpu0/cache/index2/size").read_text() == "512K\n"
    assert "asimddp" not in arm.CPUS["cortex-a53"].cpuinfo()
    assert "CPU part\t: 0xd03\n" in arm.CPUS["cortex-a53"].cpuinfo()
    assert job == tmp_path / "root/job"


def test_a_guest_that_fails_hangs_or_is_not_there_is_an_error_of_its_run():
    python = [sys.executable, "-c"]
    with pytest.raises(MeasurementError, match=r"fails on cortex-a53 \(exit code 3\): no such op"):
        arm._execute([*python, "import sys; print('no such op', file=sys.stderr); sys.exit(3)"], "cortex-a53", 60)
    with pytest.raises(MeasurementError, match=r"cortex-a53 \(signal 11\)"):
        arm._execute([*python, "import os; os.kill(os.getpid(), 11)"], "cortex-a53", 60)
    with pytest.raises(MeasurementError, match=r"within 0\.2 s"):
        arm._execute([*python, "import time; time.sleep(60)"], "cortex-a53", 0.2)
    with pytest.raises(DeviceMissing, match="no /no/qemu"):
        arm._execute(["/no/qemu"], "cortex-a53", 1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The sample's .tflite."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, "-m", "edgeconv", "run", "--target", "android", "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGECONV_CACHE": str(folder / "cache")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "digits" / "android" / "digits.tflite"


@pytest.fixture(scope="module")
def machine():
    """The set-up, made by the script if it is not there yet."""
    subprocess.run([sys.executable, ROOT / "scripts" / "setup_arm"], check=True)
    return arm.find_setup()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_counts_repeat_and_the_processors_differ(machine, digits, runtime):
    """The dot-product instructions are used on the processor that has them, and outputs are the host's."""
    found = {}
    for cpu in ("cortex-a76", "cortex-a53"):
        record = devices.measure(f"arm:{cpu}", devices.Order(digits, runtime, repeats=2))
        assert record.equality.verdict in {"equal", "close"}
        runs = record.instructions.runs
        assert runs[0].load == runs[1].load
        if runtime == "litert":
            assert record.instructions.repeats_exactly
            assert runs[0].per_invoke == runs[1].per_invoke
        else:  # its matrix library looks at the clock; the record says so
            assert runs[0].per_invoke == pytest.approx(runs[1].per_invoke, rel=5e-4)
            assert record.instructions.repeats_exactly or "its clock says so" in record.instructions.reason
        assert (record.facts["hwcap"] >> 20 & 1) == ("asimddp" in record.facts["features"])  # HWCAP_ASIMDDP
        found[cpu] = record.instructions
        fields = record.fields()
        assert fields["instructions_per_invoke"] == pytest.approx(runs[0].per_invoke, rel=5e-4)
        assert fields["instructions_load"] == runs[0].load > 100_000
        assert any("xnn_" in row.symbol for row in record.instructions.by_symbol)
        total = sum(row.instructions for row in record.instructions.by_symbol)
        assert 0.9 < total / runs[0].per_invoke < 1.1
    assert found["cortex-a76"].by_kind["int8_dot_product"] > 0
    assert found["cortex-a53"].by_kind["int8_dot_product"] == 0
    assert found["cortex-a76"].instructions_per_invoke < found["cortex-a53"].instructions_per_invoke


@pytest.mark.slow
def test_the_command_keeps_a_record_and_draws_a_page(cli, machine, digits, tmp_path):
    said = cli("bench", str(digits), "-d", "arm:cortex-a53", "--repeats", "1", "--json", "--html", "arm.html")
    assert said.code == 0, said
    record = json.loads(said.out)
    (kept,) = (tmp_path / "benchmarks").iterdir()
    assert kept.name == f"digits-{record['sha256'][:8]}.litert.arm-cortex-a53.json"
    assert json.loads(kept.read_text()) == record
    (image,) = record["inputs"]
    assert (image["name"], image["source"], image["high"]) == ("image", "manifest", 1.0)
    assert [row["shape"] for row in record["outputs"]] == [[1, 10]]
    page = (tmp_path / "arm.html").read_text()
    assert f"<td>an invoke</td><td>{record['instructions_per_invoke']:,}</td>" in page
    assert "What it is not: a time" in page
    assert "Instructions of an invoke by function" in page
    assert f"<td>{record['outputs'][0]['name']}</td><td>float32</td>" in page


@pytest.mark.slow
def test_callgrind_counts_this_machine(digits):
    if not shutil.which("valgrind"):
        with pytest.raises(DeviceMissing, match="no valgrind"):
            devices.measure("callgrind", devices.Order(digits))
        return
    record = devices.measure("callgrind", devices.Order(digits, repeats=2))
    assert record.instructions.counter == "callgrind"
    assert record.instructions.runs[0].per_invoke == record.instructions.runs[1].per_invoke
    assert record.instructions.by_symbol[0].symbol.startswith("xnn_")
    total = sum(row.instructions for row in record.instructions.by_symbol)
    assert total / record.instructions.instructions_per_invoke == pytest.approx(1, abs=0.1)


def test_without_valgrind(file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    from edgeconv.harness.devices import callgrind

    with pytest.raises(DeviceMissing, match="no valgrind"):
        callgrind.measure("litert", file, file, tmp_path, repeats=1, seconds=1)


def test_callgrinds_report_is_read_without_what_functions_call(tmp_path):
    (tmp_path / "out").write_text(
        "events: Ir\nob=(1) /lib/libx.so\nfn=(1) gemm\n10 100\ncfn=(2) pad\ncalls=3 10 \n12 30\n13 5\n\n"
        "fn=(2)\n20 30\n\ntotals: 135\n"
    )
    from edgeconv.harness.devices import callgrind

    total, functions = callgrind._read(tmp_path / "out")
    assert total == 135
    assert functions == {("libx.so", "gemm"): 105, ("libx.so", "pad"): 30}


def test_the_set_up_script_says_when_there_is_nothing_to_do(tmp_path):
    """And what it is for, without touching anything."""
    told = subprocess.run(
        [sys.executable, ROOT / "scripts" / "setup_arm", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "EDGECONV_ARM" in told
    from importlib import metadata

    packages = {name: metadata.version(name) for name in ("numpy", "ai-edge-litert", "tflite-runtime")}
    facts = {
        "version": arm.SETUP_VERSION,
        "plugin_source": fingerprint.of_file(arm.PLUGIN_SOURCE),
        "packages": packages,
    }
    (tmp_path / "setup.json").write_text(json.dumps(facts))
    environment = {**os.environ, "EDGECONV_ARM": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "setup_arm"], capture_output=True, text=True, env=environment, check=True
    )
    assert "set up and current" in done.stdout


def test_a_device_record_is_a_bench_record_by_its_schema(tmp_path):
    """Programs find the counts at the top, and the rest is described."""
    import jsonschema

    from edgeconv.harness.devices.record import CountRun, DeviceRecord, Equality, Instructions, OutputEquality
    from edgeconv.report.bench import BenchRecord, bench_schema

    counted = Instructions(
        counter="qemu-tcg-plugin", counter_version="7.2", counted_on="aarch64, cortex-a76", instructions_per_invoke=100,
        instructions_load=500, instructions_first_invoke=120, invoke_counts=[1, 3], repeats_exactly=True, reason="",
        runs=[CountRun(per_invoke=100.0, first_invoke=120, load=500)] * 2,
    )  # fmt: skip
    output = OutputEquality(dtype="float32", verdict="equal", max_abs_error=0.0, snr_db=200.0)
    equality = Equality(verdict="equal", min_snr_db=60.0, host_runtime="litert 2.3.0", outputs={"y": output})
    record = DeviceRecord(
        device="arm:cortex-a76", kind="emulated", runtime="litert", runtime_version="2.3.0", threads=1, equality=equality,
        instructions=counted, what_it_is="a count", what_it_is_not="a time",
    )  # fmt: skip
    about = {"file": "x.tflite", "kind": "tflite", "bytes": 1, "sha256": "0" * 64, "seconds": 1.0}
    whole = BenchRecord(**about, device=record.device, **record.fields())
    data = json.loads(whole.model_dump_json())
    jsonschema.validate(data, bench_schema())
    assert (data["instructions_per_invoke"], data["instructions_load"]) == (100, 500)
    assert data["device_notes"]["equality"]["outputs"]["y"]["verdict"] == "equal"
    assert data["latency"] is None
    from rich.console import Console

    from edgeconv.report.device_view import render

    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(render([whole]))
    assert "to the last bit" in captured.get()
    assert "What it is not: a time." in captured.get()
