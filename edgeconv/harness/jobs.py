"""The jobs that measurements run in worker processes: reference and fidelity. Plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import CalibrationError, MeasurementError, NonFinite
from edgeconv.harness import metrics
from edgeconv.harness.accuracy import check_labels, class_map, evaluate
from edgeconv.harness.runtimes import RUNTIMES, Array, Arrays, open_artifact
from edgeconv.source import InputSpec, ModelSource

#: Seeds of parity inputs start here; examples and exports are made from seed 0, so no stage has seen these.
FIRST_SEED = 1000

#: Sizes at which a file with an open batch is proven, besides the one that the chain ran at.
BATCHES = (1, 2, 5)


def reference(payload: dict[str, Any]) -> dict[str, Any]:
    """Run the original model on unseen inputs and, where there is one, on a labelled set.

    Payload:
        source: the ModelSource. inputs: its specs. seeds: how many; given: `.npz` with the inputs by name instead, or absent,
        or None. labelled: as for `fidelity`, or None.
        destination: `.npz` to write: in/<seed>/<name>, out/<seed>/<name>, batch/<size>/in/<name> and so on where the batch
        is open, and logits for the labelled set.

    Raises:
        NonFinite: an output holds no finite number.
    """
    source = ModelSource.from_json(payload["source"])
    specs = [InputSpec.from_json(spec) for spec in payload["inputs"]]
    run, runtime = _original(source)
    arrays: Arrays = {}
    given = _given(payload)
    for seed in range(1 if given else payload["seeds"]):
        generator = np.random.default_rng(FIRST_SEED + seed)
        inputs = given or {spec.name: spec.sample(generator) for spec in specs}
        outputs = run(inputs)
        _refuse_nonfinite(outputs, runtime, "the user's" if given else f"random, seed {FIRST_SEED}")
        for size in BATCHES if source.batch is not None and seed == 0 else ():
            part = {spec.name: inputs[spec.name][:size] if spec.shape else inputs[spec.name] for spec in specs}
            arrays |= {f"batch/{size}/in/{name}": array for name, array in part.items()}
            arrays |= {f"batch/{size}/out/{name}": array for name, array in run(part).items()}
        arrays |= {f"in/{seed}/{name}": array for name, array in inputs.items()}
        arrays |= {f"out/{seed}/{name}": array for name, array in outputs.items()}
    if payload["labelled"]:
        arrays["logits"] = _logits(run, payload["labelled"])
    with Path(payload["destination"]).open("wb") as stream:
        np.savez(stream, **arrays)
    first = {name.split("/", 2)[2]: array for name, array in arrays.items() if name.startswith("out/0/")}
    contract = [{"name": n, "shape": list(a.shape), "dtype": a.dtype.name} for n, a in first.items()]
    return {"runtime": runtime, "outputs": contract}


def _given(payload: dict[str, Any]) -> Arrays:
    if not payload.get("given"):
        return {}
    with np.load(payload["given"], allow_pickle=False) as stored:
        return dict(stored)


def _original(source: ModelSource) -> tuple[Any, str]:
    """A function from inputs to outputs by name, and what computes it."""
    if source.kind == "onnx":
        assert source.file is not None
        return RUNTIMES["onnxruntime"](source.file, 1).run, "onnxruntime"
    import torch

    from edgeconv.source import loading

    module = loading.load(source).module
    torch.set_num_threads(1)  # sums then round alike on every machine, and small models do not wait for a busy core

    def run(inputs: Arrays) -> Arrays:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        found = loading.outputs_of(module, tensors)
        return {name: np.asarray(tensor.detach().numpy()) for name, tensor in found.items()}

    return run, "torch"


def _refuse_nonfinite(outputs: Arrays, runtime: str, inputs: str) -> None:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and array.size and not np.isfinite(array).any():
            what = "NaN" if np.isnan(array).all() else "NaN or Inf"
            raise NonFinite(
                f"the original model's output {name!r} is all {what} in {runtime} (inputs: {inputs})",
                hint="check the weights, or declare the range of the inputs: --input NAME=SHAPE:DTYPE:LOW..HIGH",
            )


def _logits(run: Any, labelled: dict[str, Any]) -> Array:
    """The output that the labelled set scores, [N, …], one sample at a time: a .tflite has a fixed batch."""
    with np.load(labelled["npz"]) as stored:
        data, labels = stored["inputs"], stored["labels"]
    rows = []
    for sample in data:
        # stages before the last have a fixed batch: the sample as often as that takes
        outputs = list(run({labelled["input"]: np.repeat(sample[None], labelled.get("batch") or 1, 0)}).values())
        if labelled["output"] >= len(outputs):
            raise CalibrationError(
                f"the labelled set scores output {labelled['output']}, the model has {len(outputs)} (counted from 0)",
                hint="change `output` in the [labelled] section of the calibration TOML",
            )
        found = outputs[labelled["output"]][0]
        if labelled["metrics"] == ["mean_iou"] and found.dtype.kind == "f":
            check_labels(labels, len(found), labelled["options"].get("ignore_label"))
            found = class_map(found, 0)  # all that counts, and a hundredth of the bytes
        rows.append(found)
    return np.stack(rows)


def fidelity(payload: dict[str, Any]) -> dict[str, Any]:
    """Parity of one artifact in one runtime against the reference, and its accuracy on the labelled set.

    Payload:
        runtime, artifact, layouts, reference, threads; labelled: {"npz", "input", "output", "metrics", "options", "base"}
        or None.

    Returns:
        {"parity": see `metrics.summarize`, "accuracy": see `accuracy.evaluate`, or None,
        "contract": inputs and outputs as the runtime sees them, or None}
    """
    runtime = open_artifact(payload)
    contract = runtime.contract()  # before anything is resized
    with np.load(payload["reference"]) as stored:
        arrays = dict(stored)
    samples: list[tuple[Mapping[str, Array], Mapping[str, Array]]] = []
    for seed in range(sum(1 for name in {n.split("/")[1] for n in arrays if n.startswith("in/")})):
        inputs = {n.split("/", 2)[2]: a for n, a in arrays.items() if n.startswith(f"in/{seed}/")}
        wanted = {n.split("/", 2)[2]: a for n, a in arrays.items() if n.startswith(f"out/{seed}/")}
        found = runtime.run(inputs)
        _same_shape(wanted, found)
        samples.append((wanted, found))
    batches = {}
    for size in BATCHES if payload.get("batches") else ():
        sides = [
            {n.split("/", 3)[3]: a for n, a in arrays.items() if n.startswith(f"batch/{size}/{side}/")}
            for side in ("in", "out")
        ]
        found = runtime.run(sides[0])
        _same_shape(sides[1], found)
        batches[str(size)] = metrics.summarize([(sides[1], found)])["snr_db"]
    accuracy = None
    if payload["labelled"]:
        with np.load(payload["labelled"]["npz"]) as data:
            labels = data["labels"]
        labelled = payload["labelled"]
        found_logits = _logits(runtime.run, labelled)
        accuracy = evaluate(
            labelled["metrics"], arrays["logits"], found_logits, labels, labelled["options"], Path(labelled["base"])
        )
    return {"parity": {**metrics.summarize(samples), "batches": batches}, "accuracy": accuracy, "contract": contract}


def contract(payload: dict[str, Any]) -> dict[str, Any]:
    """Inputs and outputs of an artifact; none where its kind does not keep them."""
    found: dict[str, Any] = open_artifact(payload).contract() or {}
    return found


def _same_shape(wanted: Arrays, found: Arrays) -> None:
    if list(wanted) != list(found):
        raise MeasurementError(f"the outputs are {list(found)}, the original model's are {list(wanted)}")
    for name, array in wanted.items():
        if array.shape != found[name].shape:
            raise MeasurementError(
                f"the output {name!r} has the shape {list(found[name].shape)}, the original's has {list(array.shape)}"
            )


def write_labelled(path: Path, inputs: Array, labels: Array) -> None:
    """The file through which jobs get a preprocessed labelled set."""
    with path.open("wb") as stream:
        np.savez(stream, inputs=inputs, labels=labels)
