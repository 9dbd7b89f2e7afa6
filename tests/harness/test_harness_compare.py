"""`edgeconv compare`: three verdicts, one over them, an exit code each, and errors that name the file."""

import json

import jsonschema
import numpy as np
import pytest

from edgeconv.errors import EXIT_COMPARED, OutOfMemory
from edgeconv.harness import Options, compare, fitting
from edgeconv.harness.compare import Side, overall
from edgeconv.harness.files import look
from edgeconv.harness.machine import Confinement
from edgeconv.report import compare_schema
from scripts.selftest_models import bottomless, conv_chain, endless

QUICK = ("--rounds", "8", "--block-seconds", "0.01")


@pytest.mark.slow
@pytest.mark.slice
def test_twice_the_work_is_slower_and_larger_and_the_record_fits_its_schema(cli, tmp_path):
    a, b = conv_chain(tmp_path / "a.tflite", 4), conv_chain(tmp_path / "b.tflite", 9)
    said = cli("compare", "a.tflite", "b.tflite", "--json", *QUICK)
    assert said.code == EXIT_COMPARED["slower"], said
    record = json.loads(said.out)
    jsonschema.validate(record, compare_schema())
    assert record["latency"]["verdict"] == "slower"
    assert record["size"]["verdict"] == "larger"
    assert record["size"]["found_bytes"] == b.stat().st_size - a.stat().st_size
    assert record["fidelity"]["verdict"] == "unknown"
    assert record["verdict"] == "worse"
    back = cli("compare", "b.tflite", "a.tflite", *QUICK)
    assert back.code == EXIT_COMPARED["faster"]
    assert "better" in back.out


@pytest.mark.slow
@pytest.mark.slice
def test_fidelity_is_measured_against_the_users_reference(cli, tmp_path):
    """The reference is A's own output, under other names and with channels first: A is exact, B is far."""
    a, _ = conv_chain(tmp_path / "a.tflite", 2), conv_chain(tmp_path / "b.tflite", 2, seed=1)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(a))
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).standard_normal((1, 16, 16, 32)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    arrays = {"in/0/x": image.transpose(0, 3, 1, 2), "out/0/y": output.transpose(0, 3, 1, 2)}
    np.savez(tmp_path / "reference.npz", **arrays)
    said = cli("compare", "a.tflite", "b.tflite", "--json", "--reference", "reference.npz", *QUICK)
    fidelity = json.loads(said.out)["fidelity"]
    assert fidelity["verdict"] == "farther"
    assert fidelity["a"]["snr_db"] > 100
    assert fidelity["b"]["snr_db"] < 10


def test_a_stuck_or_crashing_file_is_an_error_that_names_it(cli, tmp_path):
    conv_chain(tmp_path / "good.tflite", 1)
    endless(tmp_path / "stuck.tflite")
    bottomless(tmp_path / "crash.tflite")
    quick = (*QUICK, "--time-limit", "8")
    cli.refuses("compare", "good.tflite", "stuck.tflite", *quick, code=23, says="B, stuck.tflite in litert")
    cli.refuses("compare", "crash.tflite", "good.tflite", *quick, code=22, says="A, crash.tflite in litert")
    cli.refuses("compare", "stuck.tflite", "good.tflite", *quick, code=23, says="try: give it more with --time-limit")
    said = cli("bench", "stuck.tflite", "crash.tflite", "good.tflite", "--json", "--no-ops", "--no-memory", "--time-limit", "8",
               "--min-runs", "5", "--min-seconds", "0")  # fmt: skip
    stuck, crash, good = json.loads(said.out)["results"]
    assert (stuck["error"]["error"], crash["error"]["error"], good["error"]) == ("StageTimeout", "StageCrashed", None)
    assert said.code == 23
    assert "SIGSEGV" in crash["error"]["message"]


def test_fidelity_is_confined_as_latency_is_and_what_it_keeps_does_not_count(tmp_path):
    """The file needs less than 60 MB; inputs and outputs of all samples, in float64 at last, take more."""
    file = look(conv_chain(tmp_path / "large.tflite", 1, size=512, channels=8))
    sides = {"A": Side(file, "litert"), "B": Side(file, "litert")}

    def fidelity(megabytes):
        bench = Options(Confinement(memory_mb=megabytes, niceness=3))
        return compare.fidelity(sides, None, 1.0, compare.PairOptions(bench), tmp_path)

    assert fidelity(60)["b"]["snr_db"] > 100
    with pytest.raises(OutOfMemory, match="does not run in litert within 2 MB"):
        fidelity(2)


def test_wrong_references_are_refused_in_one_sentence(cli, tmp_path):
    conv_chain(tmp_path / "a.tflite", 1, size=4, channels=4)
    two = ("compare", "a.tflite", "a.tflite")
    cli.refuses(*two, "--reference", "none.npz", code=2, says="there is no file none.npz")
    cli.refuses(*two, "--reference", "net.py", code=2, says="a reference is a .npz or .onnx file")
    cli.refuses(*two, "--reference", "x.npz", "--model", "net.py:make", code=2, says="exclude each other")
    np.savez(tmp_path / "x.npz", y=np.zeros(3))
    cli.refuses(*two, "--reference", "x.npz", code=10, says="has no inputs of the reference")
    np.savez(tmp_path / "y.npz", image=np.zeros((1, 3, 3), np.float32), y=np.zeros(3))
    cli.refuses(*two, "--reference", "y.npz", code=10, says="nothing in the reference fits a.tflite's input 'image'")


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        (("faster", "smaller", "same"), "better"), (("same", "same", "same"), "same"), (("slower", "same", "unknown"), "worse"),
        (("slower", "smaller", "same"), "mixed"), (("inconclusive", "smaller", "same"), "inconclusive"),
        (("inconclusive", "smaller", "farther"), "mixed"),
    ],
)  # fmt: skip
def test_one_verdict_over_three(verdicts, wanted):
    assert overall(*verdicts)[0] == wanted


def test_exit_codes_are_none_of_an_errors():
    from edgeconv import errors

    codes = {kind.exit_code for kind in errors._tree(errors.EdgeconvError).values()} | {40, 130}
    assert len(set(EXIT_COMPARED.values())) == 4
    assert not codes & set(EXIT_COMPARED.values())


def test_arrays_are_turned_to_fit_and_nothing_else():
    array = np.arange(24).reshape(1, 2, 3, 4)
    assert fitting.fit(array, [1, 3, 4, 2]).tolist() == array.transpose(0, 2, 3, 1).tolist()
    assert fitting.fit(array, [1, 4, 2, 3]).tolist() == array.transpose(0, 3, 1, 2).tolist()
    assert fitting.fit(np.zeros((1, 10)), [1, 1, 10]).shape == (1, 1, 10)
    assert fitting.fit(array, [1, 4, 3, 2]) is None


def adding(path, constant, op="Add"):
    """An ONNX file that adds a constant to x, float32 [1, n]; or another op of the two."""
    from onnx import TensorProto, helper, numpy_helper, save

    constant = np.asarray([constant], np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(constant.shape)) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "c"], ["y"])], "g", ends[:1], ends[1:], [numpy_helper.from_array(constant, "c")]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.slow
def test_nan_where_the_reference_is_finite_is_farther_whatever_the_other_places_say(cli, tmp_path):
    adding(tmp_path / "good.onnx", [0, 0, 0, 0])
    adding(tmp_path / "nan.onnx", [np.nan, 0, np.inf, 0])
    array = np.linspace(-1, 1, 4, dtype=np.float32)[None]
    np.savez(tmp_path / "reference.npz", x=array, y=array)
    for reference in (("--reference", "reference.npz"), ()):
        said = cli("compare", "good.onnx", "nan.onnx", "--json", *reference, *QUICK)
        fidelity = json.loads(said.out)["fidelity"]
        assert fidelity["verdict"] == "farther", said
        count = 1 if reference else 4  # of four samples
        assert fidelity["reason"] == f"B gives {count} NaN and {count} Inf where the reference has finite numbers"
    said = cli("compare", "nan.onnx", "good.onnx", "--reference", "reference.npz", *QUICK)
    assert "fidelity closer" in said.out
    assert "A gives 1 NaN and 1 Inf" in said.out


@pytest.mark.slow
def test_the_users_inputs_are_those_on_which_files_are_held_against_a_model(cli, tmp_path, write):
    """B differs from the model below zero only, and the user's inputs are above."""
    write("same.py", "import torch\nclass Same(torch.nn.Module):\n    def forward(self, x):\n        return x * 1.0\n\n"
          "def make():\n    return Same().eval(), (torch.ones(1, 4),)\n")  # fmt: skip
    adding(tmp_path / "a.onnx", [0, 0, 0, 0])
    adding(tmp_path / "b.onnx", [0, 0, 0, 0], "Max")
    np.savez(tmp_path / "x.npz", x=np.linspace(0, 1, 4, dtype=np.float32)[None])
    two = ("compare", "a.onnx", "b.onnx", "--model", "same.py:make", "--json", *QUICK)
    assert json.loads(cli(*two).out)["fidelity"]["verdict"] == "farther"
    fidelity = json.loads(cli(*two, "--inputs", "x.npz").out)["fidelity"]
    assert (fidelity["verdict"], fidelity["b"]["samples"]) == ("same", 1)
    np.savez(tmp_path / "y.npz", x=np.zeros((1, 5), np.float32))
    cli.refuses(*two, "--inputs", "y.npz", code=10, says="nothing in y.npz fits the model's input 'x' [1, 4]")


def test_a_comparison_that_fails_says_so_as_json_too(cli, tmp_path):
    conv_chain(tmp_path / "good.tflite", 1, size=4, channels=4)
    bottomless(tmp_path / "crash.tflite")
    said = cli.refuses("compare", "good.tflite", "crash.tflite", "--json", *QUICK, code=22)
    record = json.loads(said.out)
    jsonschema.validate(record, compare_schema())
    assert (record["a"], record["b"]) == ("good.tflite", "crash.tflite")
    assert (record["where"], record["error"]["exit_code"]) == ("B, crash.tflite in litert", 22)
    assert "SIGSEGV" in record["error"]["message"]
    said = cli.refuses("compare", "good.tflite", "none.tflite", "--json", code=2)
    assert json.loads(said.out)["error"]["message"] == "there is no file none.tflite"
    assert cli.refuses("compare", "good.tflite", "none.tflite", code=2).out == ""
