"""What the host computes from the same inputs, and how close the device comes. The first runs in a worker process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import MeasurementError
from edgeconv.harness import inputs, metrics, vocabulary
from edgeconv.harness.devices.record import Equality, OutputEquality
from edgeconv.harness.runtimes import RUNTIMES, Array

#: Floats of another processor are close at 60 dB, an error of a thousandth. Sums in another order leave 120 dB.
MIN_SNR_DB = 60.0
#: Where the runtime itself quantizes activations (int8 weights, float activations), each kernel rounds them its own way, and
#: a value near a half step falls to either side. How far that takes a file's outputs apart, the host's own two sets of kernels
#: show: the delegate's and the interpreter's. A device may err by twice as much (6 dB).
KERNELS_MARGIN_DB = 6.0


def outputs(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: run an artifact once on the host.

    Payload:
        runtime, artifact; inputs: `.npz` by the file's own names and layout, or None to draw some.
        inputs_to, outputs_to: `.npz` files to write.

    Returns:
        ends: inputs and outputs as the file has them. inputs: a bench record's rows, which say what each was fed.
        min_snr_db: from where on floats of a device are close.
    """
    artifact = Path(payload["artifact"])
    runtime = RUNTIMES[payload["runtime"]](artifact, 1)
    runtime.prepare()
    contract = runtime.ends()
    ends = contract["inputs"]
    given = payload["inputs"]
    if given:
        arrays = inputs.read(Path(given), ends)
        rows = [{**end, "low": None, "high": None, "source": f"user: {Path(given).name}"} for end in ends]
    else:
        rows = inputs.choose(artifact, ends, vocabulary.known(artifact, ends))
        arrays = inputs.make(rows)
    found = runtime.run(arrays)
    inputs.write(Path(payload["inputs_to"]), arrays)
    inputs.write(Path(payload["outputs_to"]), found)
    return {"ends": contract, "inputs": rows, "min_snr_db": _bound(artifact, payload["runtime"], arrays, found)}


def _bound(artifact: Path, runtime: str, arrays: dict[str, Array], found: dict[str, Array]) -> float:
    if not _dynamic_ops(artifact):
        return MIN_SNR_DB
    plain = RUNTIMES[runtime](artifact, 1, plain=True)
    plain.prepare()
    others = plain.run(arrays)
    apart = [metrics.compare(found[name], others[name])["snr_db"] for name in found if found[name].dtype.kind == "f"]
    return min([MIN_SNR_DB, *(float(snr) - KERNELS_MARGIN_DB for snr in apart)])


def _dynamic_ops(artifact: Path) -> int:
    """How many ops of a .tflite multiply float activations with int8 weights."""
    from edgeconv.rewrite import flatbuffer

    model = flatbuffer.read(artifact)
    count = 0
    for graph in model.subgraphs:
        for op in graph.operators:
            if len(op.inputs) > 1 and flatbuffer.op_name(model, op) in _PRODUCTS:
                types = [flatbuffer.type_name(graph.tensors[int(index)].type) for index in op.inputs[:2]]
                count += types == ["FLOAT32", "INT8"]
    return count


_PRODUCTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"}


def compare(host: Path, device: Path, host_runtime: str, min_snr_db: float) -> Equality:
    """The device's outputs beside the host's.

    Args:
        host: its outputs, `.npz` by name.
        device: the same of the device.
        host_runtime: for the record.
        min_snr_db: from where on floats are close, as `outputs` told.

    Raises:
        MeasurementError: their names, shapes or dtypes differ.
    """
    with np.load(host) as wanted, np.load(device) as found:
        if set(wanted.files) != set(found.files):
            raise MeasurementError(f"the device gives the outputs {found.files}, the host {wanted.files}")
        rows = {name: _row(wanted[name], found[name], name, min_snr_db) for name in wanted.files}
    order = ("equal", "close", "differs")
    worst = max((row.verdict for row in rows.values()), key=order.index, default="equal")
    return Equality(verdict=worst, min_snr_db=min_snr_db, host_runtime=host_runtime, outputs=rows)


def _row(wanted: Array, found: Array, name: str, bound: float) -> OutputEquality:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        raise MeasurementError(
            f"the device's output {name!r} is {found.dtype}{list(found.shape)}, the host's {wanted.dtype}{list(wanted.shape)}"
        )
    numbers = metrics.compare(wanted, found)
    snr, largest = numbers["snr_db"], numbers["max_abs_error"]
    same = np.array_equal(wanted, found, equal_nan=wanted.dtype.kind == "f")
    close = wanted.dtype.kind == "f" and snr >= bound and not numbers["nan"] and not numbers["inf"]
    verdict = "equal" if same else "close" if close else "differs"
    return OutputEquality(dtype=wanted.dtype.name, verdict=verdict, max_abs_error=largest, snr_db=snr)
