"""Runtimes: each runs one artifact kind, with inputs and outputs by name. Used inside worker processes only."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgeconv.errors import MeasurementError

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


class Runtime(Protocol):
    """A loaded artifact. `prepare` comes before anything else."""

    def prepare(self) -> None:
        """Plan and allocate what the first invoke needs; nothing to do where loading did it. Raises MeasurementError."""

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """Inputs and outputs: name, shape (1 where it is free), dtype."""

    def free(self) -> dict[str, list[int]]:
        """Axes by input whose size the file leaves open, which `ends` gives as 1."""

    def delegates(self) -> dict[str, int]:
        """Pieces of the graph that each delegate (or execution provider) took; empty where the runtime has none."""

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by the model's names, for inputs by the model's names. Raises MeasurementError."""

    def invoke(self) -> None:
        """Run once more on the inputs of the last `run`, without copying anything in or out where that is possible."""

    def contract(self) -> dict[str, list[dict[str, Any]]] | None:
        """`ends` of a final artifact, whose names and shapes are promised; None for an intermediate one."""


class OnnxRuntime:
    """onnxruntime on the CPU, sequential. A session is prepared when it is loaded: the two phases are one."""

    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    module: ClassVar[str] = "onnxruntime"

    def __init__(self, path: Path, threads: int, profile: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise MeasurementError(
                f"onnxruntime does not load {path.name}: {_first_line(error)}", hint=_LOADS
            ) from error
        self._names = [value.name for value in self._session.get_outputs()]
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._last: Arrays = {}

    def prepare(self) -> None:
        """See Runtime."""

    def delegates(self) -> dict[str, int]:
        """See Runtime."""
        return dict.fromkeys(self._session.get_providers(), 1)

    def end_profile(self) -> str:
        """Path of the events that were recorded, if a prefix for it was given."""
        return str(self._session.end_profiling())

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """See Runtime."""
        sides = {"inputs": self._session.get_inputs(), "outputs": self._session.get_outputs()}
        return {
            side: [{"name": v.name, "shape": _fixed(v.shape), "dtype": _ORT_DTYPES.get(v.type, v.type)} for v in values]
            for side, values in sides.items()
        }

    def free(self) -> dict[str, list[int]]:
        """See Runtime."""
        return {value.name: _open(value.shape) for value in self._session.get_inputs()}

    def run(self, inputs: Arrays) -> Arrays:
        """See Runtime."""
        self._last = {name: array for name, array in inputs.items() if name in self._inputs}
        try:
            return dict(zip(self._names, self._session.run(None, self._last), strict=True))
        except Exception as error:
            raise MeasurementError(f"onnxruntime fails: {_first_line(error)}", hint=_RUNS) from error

    def invoke(self) -> None:
        """See Runtime."""
        self._session.run(None, self._last)

    def contract(self) -> None:
        """See Runtime."""


class TfSavedModel:
    """A SavedModel's serving_default signature in TensorFlow."""

    distributions: ClassVar[tuple[str, ...]] = ("tensorflow",)
    module: ClassVar[str] = "tensorflow"

    def __init__(self, path: Path, threads: int) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        try:
            self._loaded = tf.saved_model.load(str(path))
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise MeasurementError(
                f"TensorFlow does not load {path.name}: {_first_line(error)}", hint=_LOADS
            ) from error
        self._last: dict[str, Any] = {}
        self._path = path

    def prepare(self) -> None:
        """See Runtime."""
        if "serving_default" not in self._loaded.signatures:
            known = ", ".join(self._loaded.signatures) or "none"
            raise MeasurementError(f"{self._path.name} has no signature serving_default; it has: {known}", hint=_LOADS)
        self._function = self._loaded.signatures["serving_default"]
        names = self._path / "assets.extra" / "edgeconv.json"
        self._names = json.loads(names.read_text()) if names.is_file() else self._own_names()

    def delegates(self) -> dict[str, int]:
        """See Runtime."""
        return {}

    def _own_names(self) -> dict[str, list[dict[str, str]]]:
        """Of a SavedModel that edgeconv did not write: what its signature says."""
        sides = {"inputs": self._function.structured_input_signature[1], "outputs": self._function.structured_outputs}
        return {side: [{"name": name, "safe": name} for name in names] for side, names in sides.items()}

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """See Runtime."""
        specs = {"inputs": self._function.structured_input_signature[1], "outputs": self._function.structured_outputs}
        return {
            side: [
                {
                    "name": entry["name"],
                    "shape": _fixed(specs[side][entry["safe"]].shape.as_list()),
                    "dtype": specs[side][entry["safe"]].dtype.name,
                }
                for entry in self._names[side]
            ]
            for side in ("inputs", "outputs")
        }

    def free(self) -> dict[str, list[int]]:
        """See Runtime."""
        specs = self._function.structured_input_signature[1]
        return {entry["name"]: _open(specs[entry["safe"]].shape.as_list()) for entry in self._names["inputs"]}

    def run(self, inputs: Arrays) -> Arrays:
        """See Runtime."""
        import tensorflow as tf

        self._last = {entry["safe"]: tf.constant(inputs[entry["name"]]) for entry in self._names["inputs"]}
        try:
            results = self._function(**self._last)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise MeasurementError(f"TensorFlow fails: {_first_line(error)}", hint=_RUNS) from error
        return {entry["name"]: results[entry["safe"]].numpy() for entry in self._names["outputs"]}

    def invoke(self) -> None:
        """See Runtime."""
        self._function(**self._last)

    def contract(self) -> None:
        """See Runtime."""


class _Tflite:
    """Common to both TFLite interpreters; XNNPACK is on, as both have it by default, or with `plain` off."""

    def __init__(self, path: Path, threads: int, *, plain: bool = False) -> None:
        self._file = path.name
        library = importlib.import_module(self.module)
        resolver = library.OpResolverType
        kernels = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolver.AUTO
        try:
            self._interpreter = library.Interpreter(
                model_path=str(path), num_threads=threads, experimental_op_resolver_type=kernels
            )
        except (RuntimeError, ValueError) as error:
            raise MeasurementError(
                f"{self.label} does not load {self._file}: {_first_line(error)}", hint=_LOADS
            ) from error

    label: ClassVar[str] = ""
    module: ClassVar[str] = ""

    def prepare(self) -> None:
        """See Runtime."""
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise MeasurementError(
                f"{self.label} does not load {self._file}: {_first_line(error)}", hint=_LOADS
            ) from error
        self._inputs = {entry["name"]: entry for entry in self._interpreter.get_input_details()}
        self._outputs = {entry["name"]: entry for entry in self._interpreter.get_output_details()}

    def run(self, inputs: Arrays) -> Arrays:
        """See Runtime."""
        wrong = [name for name, entry in self._inputs.items() if tuple(entry["shape"]) != np.shape(inputs[name])]
        if wrong and all(-1 in self._inputs[name]["shape_signature"] for name in wrong):
            for name in wrong:
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], list(np.shape(inputs[name])))
            self.prepare()
        for name, entry in self._inputs.items():
            self._interpreter.set_tensor(entry["index"], np.asarray(inputs[name], order="C"))
        self.invoke()
        return {name: self._interpreter.get_tensor(entry["index"]) for name, entry in self._outputs.items()}

    def invoke(self) -> None:
        """See Runtime."""
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise MeasurementError(f"{self.label} fails: {_first_line(error)}", hint=_RUNS) from error

    def delegates(self) -> dict[str, int]:
        """See Runtime. XNNPACK is the only delegate that these interpreters apply by themselves."""
        pieces = sum(node["op_name"] == "DELEGATE" for node in self._interpreter._get_ops_details())
        return {"XNNPACK": pieces} if pieces else {}

    def contract(self) -> dict[str, list[dict[str, Any]]]:
        """See Runtime."""
        return self.ends()

    def free(self) -> dict[str, list[int]]:
        """See Runtime."""
        return {name: _open([int(n) for n in entry["shape_signature"]]) for name, entry in self._inputs.items()}

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """See Runtime."""
        return {
            side: [
                {
                    "name": entry["name"],
                    "shape": [int(n) for n in entry["shape"]],
                    "dtype": np.dtype(entry["dtype"]).name,
                }
                for entry in entries.values()
            ]
            for side, entries in (("inputs", self._inputs), ("outputs", self._outputs))
        }


class TfliteRuntime(_Tflite):
    """tflite-runtime, the interpreter of TFLite 2.14."""

    distributions: ClassVar[tuple[str, ...]] = ("tflite-runtime",)
    module: ClassVar[str] = "tflite_runtime.interpreter"
    label = "tflite-runtime"


class LiteRt(_Tflite):
    """LiteRT, TFLite's successor."""

    distributions: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)
    module: ClassVar[str] = "ai_edge_litert.interpreter"
    label = "LiteRT"


class Relaid:
    """A runtime whose artifact has some inputs and outputs in another layout than the original model.

    Args:
        runtime: the loaded artifact.
        layouts: {"inputs": {name: perm}, "outputs": {name: perm}}; the artifact's is Transpose(the model's, perm).
    """

    def __init__(self, runtime: Runtime, layouts: dict[str, dict[str, list[int]]]) -> None:
        self._runtime = runtime
        self._layouts = layouts
        self.prepare = runtime.prepare
        self.invoke = runtime.invoke
        self.contract = runtime.contract
        self.ends = runtime.ends

    def run(self, inputs: Arrays) -> Arrays:
        """See Runtime; takes and gives the original model's layouts."""
        turns = self._layouts["inputs"]
        found = self._runtime.run({n: a.transpose(turns[n]) if n in turns else a for n, a in inputs.items()})
        back = {name: np.argsort(perm) for name, perm in self._layouts["outputs"].items()}
        return {n: a.transpose(back[n]) if n in back else a for n, a in found.items()}


def open_artifact(payload: dict[str, Any]) -> Any:
    """The artifact of a job's payload in its runtime, prepared, as the original model sees it."""
    runtime = RUNTIMES[payload["runtime"]](Path(payload["artifact"]), payload["threads"])
    runtime.prepare()
    return Relaid(runtime, payload["layouts"]) if payload.get("layouts") else runtime


#: Runtime class by the name that targets and reports use.
RUNTIMES: dict[str, Any] = {
    "onnxruntime": OnnxRuntime,
    "tensorflow": TfSavedModel,
    "tflite-runtime": TfliteRuntime,
    "litert": LiteRt,
}

#: The runtime that an intermediate artifact kind is proven in.
OF_KIND = {"onnx": "onnxruntime", "onnx-quantized": "onnxruntime", "saved-model": "tensorflow"}


_LOADS = "check that the file is complete and that this runtime is new enough for it, or choose another with --runtime"
_RUNS = "check the inputs, or choose another runtime"

#: numpy names of onnxruntime's types; others stay as they are, and no input can be made of them.
_ORT_DTYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def _fixed(shape: Any) -> list[int]:
    """A shape with 1 where a dimension is free."""
    return [n if isinstance(n, int) and n > 0 else 1 for n in shape or []]


def _open(shape: Any) -> list[int]:
    """Axes at which `_fixed` puts 1."""
    return [axis for axis, n in enumerate(shape or []) if not (isinstance(n, int) and n > 0)]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
