"""Takes the mean error that rounded weights bring out of the biases, which stay float.

A rounded weight is off by a constant; behind a ReLU activations have a mean, and so has the error of what is computed from
them. That mean is a number an output channel, and the bias can take it back at no cost at all (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2). It is measured here: each op runs a second
time with the rounding errors for weights, and the mean of what comes out is the correction.

No picture is at hand, so the inputs are of the declared ranges: noise, and where there are two long axes also smooth random
fields of random contrast. On other inputs of both kinds the outputs must come closer to the float model's, else nothing changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv.calibration import resize_bilinear
from edgeconv.source import InputSpec

Array = npt.NDArray[Any]

#: Key under which the stage `onnx` leaves the declared inputs in the graph's metadata.
INPUTS = "edgeconv.inputs"
#: Inputs of each kind that errors are averaged over, and others that judge the result. Smooth fields differ more.
MEASURED = {"noise": 4, "smooth": 8}
JUDGED = 2
#: Small models, whose ops may see one position an input, get up to 16 times as many: as many as this allows (2 G
#: multiplications an input of the above take a second in all).
MULTIPLICATIONS, MOST_TIMES = 2_000_000_000, 16
#: How much of the correction is taken: all of it, or where that helps one kind of input and harms the other, a part.
SHARES = (1.0, 0.5, 0.25)
#: No other step draws from seeds above this one.
FIRST_SEED = 3000
#: Axes shorter than this hold no picture.
LEAST_SIDE = 8
#: Coarse to fine grids that a smooth field is the sum of, with amplitudes like those of photographs (1 / frequency).
OCTAVES = (2, 4, 8, 16, 32)
#: What onnxruntime takes from memory is a protobuf; beside the weights it holds their errors.
MOST_BYTES = 900_000_000


def declare(specs: tuple[InputSpec, ...], proto: Any) -> None:
    """Leave the inputs' ranges in the `onnx.ModelProto`, for `declared`."""
    proto.metadata_props.add(key=INPUTS, value=json.dumps([spec.to_json() for spec in specs], sort_keys=True))


def declared(proto: Any) -> tuple[InputSpec, ...]:
    """The inputs that `declare` left, in the graph's shapes; of standard ranges where there are none."""
    import onnx

    found = {
        entry["name"]: InputSpec.from_json(entry)
        for prop in proto.metadata_props
        if prop.key == INPUTS
        for entry in json.loads(prop.value)
    }
    specs = []
    for value in proto.graph.input:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        spec = found.get(value.name)
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        specs.append(InputSpec(value.name, shape, dtype, spec.low if spec else None, spec.high if spec else None))
    return tuple(specs)


def correct(model: Any, rounded: dict[str, Array], scratch: Path) -> dict[str, Any]:
    """Set the biases of the ops with rounded weights, in place, where that brings the outputs closer to the float model's.

    Args:
        model: `onnx.ModelProto` in float32, its products written as MatMul and Add.
        rounded: what the weights will be, by initializer; float32, of their shapes.
        scratch: an empty folder.

    Returns:
        Notes: `corrected`, how many biases changed, `share`, see SHARES, and `snr_db`, by kind of input, of the model with
        rounded weights before and after; or `reason`, why nothing changed.
    """
    if model.ByteSize() > MOST_BYTES:
        return {"corrected": 0, "reason": f"the graph has more than {MOST_BYTES:,} bytes"}
    places = list(_places(model, rounded))
    if not places:
        return {"corrected": 0, "reason": "there is no conv or product with rounded weights"}
    specs, shapes = declared(model), _shapes(model)
    times = _times(model, places, shapes)
    kinds = ["noise", *(["smooth"] if any(_is_picture(spec) for spec in specs) else [])]
    feeds = list(_draw(specs, {kind: times * MEASURED[kind] for kind in kinds}))
    errors = _mean_errors(_twin(model, places, rounded, shapes), feeds, scratch)
    judges = {kind: list(_draw(specs, {kind: times * JUDGED}, skip=10_000)) for kind in kinds}
    wanted = _outputs(_session(model, scratch / "float.onnx"), judges)
    before = _judge(wanted, _outputs(_changed(model, rounded, scratch / "before.onnx", {}), judges))
    tried = []
    for share in SHARES:
        part = {place: share * error for place, error in zip(places, errors, strict=True)}
        after = _judge(wanted, _outputs(_changed(model, rounded, scratch / "after.onnx", part), judges))
        snr = {kind: [round(before[kind], 2), round(after[kind], 2)] for kind in before}
        if after != before and all(after[kind] >= before[kind] for kind in before):
            for place, error in part.items():
                place.take_back(model, error)
            return {"corrected": len(places), "share": share, "snr_db": snr}
        tried.append(
            f"{share:.0%}: " + ", ".join(f"{kind} {old:.1f} → {new:.1f} dB" for kind, (old, new) in snr.items())
        )
    return {"corrected": 0, "reason": f"on other inputs the outputs came no closer ({'; '.join(tried)})"}


@dataclass(frozen=True)
class _Place:
    """One op with a rounded weight, and where its bias stands.

    Attributes:
        output: of the op.
        holder: output of the node that has the bias; "" if an Add must be made for it.
        side: which of the holder's inputs the bias is.
        channels: how long it is.
    """

    output: str
    holder: str
    side: int
    channels: int

    def take_back(self, model: Any, error: Array) -> None:
        """Give the op a bias of its own that is smaller by `error`, [channels]."""
        from onnx import helper, numpy_helper

        graph = model.graph
        at, node = next((at, node) for at, node in enumerate(graph.node) if self.output in node.output)
        name = f"{self.output}_corrected_bias"
        holder = next((other for other in graph.node if self.holder in other.output), None) if self.holder else None
        if holder is None:
            holder = helper.make_node(
                "Add", [f"{self.output}_product", name], [self.output], name=f"{self.output}_bias"
            )
            holder.metadata_props.extend(node.metadata_props)
            node.output[0] = f"{self.output}_product"
            graph.node.insert(at + 1, holder)
        old = next((tensor for tensor in graph.initializer if tensor.name == _input(holder, self.side)), None)
        bias = numpy_helper.to_array(old) if old is not None else np.zeros(self.channels, np.float32)
        new = (bias.astype(np.float64) - error.astype(np.float64).reshape(bias.shape)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(new, name))
        if self.side < len(holder.input):
            holder.input[self.side] = name
        else:
            holder.input.append(name)
        if old is not None and not any(old.name in other.input for other in graph.node):
            graph.initializer.remove(old)


def _input(node: Any, place: int) -> str:
    return str(node.input[place]) if place < len(node.input) else ""


def _places(model: Any, rounded: dict[str, Array]) -> Iterator[_Place]:
    """Convs and products of the main graph. A product without a bias gets one: TFLite's op adds it anyway."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type not in {"Conv", "ConvTranspose", "MatMul"} or _input(node, 1) not in rounded:
            continue
        output, shape = node.output[0], rounded[node.input[1]].shape
        if node.op_type != "MatMul":
            bias = _input(node, 2)
            if not bias or bias in shapes:
                groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
                channels = shape[0] if node.op_type == "Conv" else shape[1] * groups
                yield _Place(output, output, 2, channels)
        elif len(shape) == 2:
            after = readers.get(output, [])
            adds = [add for add in after if add.op_type == "Add" and len(after) == 1 and output not in outputs]
            found = [
                (add.output[0], side)
                for add in adds
                for side, name in enumerate(add.input)
                if shapes.get(name, ())[-1:] == (shape[1],) and int(np.prod(shapes[name])) == shape[1]
            ]
            holder, side = found[0] if found else ("", 1)
            yield _Place(output, holder, side, shape[1])


def _twin(model: Any, places: list[_Place], rounded: dict[str, Array], shapes: dict[str, list[int]]) -> Any:
    """The model with a second op beside each of `places` whose weights are the rounding errors.

    Its outputs are the means of what those give over batch and positions, [channels] each.
    """
    import onnx
    from onnx import helper, numpy_helper

    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.output[0]: node for node in model.graph.node}
    for name in sorted({nodes[place.output].input[1] for place in places}):
        off = rounded[name].astype(np.float64) - numpy_helper.to_array(weights[name])
        twin.graph.initializer.append(numpy_helper.from_array(off.astype(np.float32), f"{name}_off"))
    del twin.graph.output[:]
    for place in places:
        node = nodes[place.output]
        second = onnx.NodeProto()
        second.CopyFrom(node)
        del second.input[2:], second.output[:]
        second.name, second.input[1] = f"{place.output}_rounding", f"{node.input[1]}_off"
        second.output.append(f"{place.output}_rounding")
        rank = len(shapes[place.output])
        axes = list(range(rank - 1)) if node.op_type == "MatMul" else [0, *range(2, rank)]
        mean = f"{place.output}_rounding_mean"
        if axes:
            average = helper.make_node("ReduceMean", [second.output[0]], [mean], axes=axes, keepdims=0)
        else:  # the product of a vector is one for each channel already
            average = helper.make_node("Identity", [second.output[0]], [mean])
        twin.graph.node.extend([second, average])
        twin.graph.output.append(helper.make_tensor_value_info(mean, onnx.TensorProto.FLOAT, None))
    return twin


def _mean_errors(twin: Any, feeds: list[dict[str, Array]], scratch: Path) -> list[Array]:
    """What `_twin` gives, averaged over those inputs that give numbers: a row of which all is masked has a mean of NaN."""
    session = _session(twin, scratch / "twin.onnx")
    runs = [[np.asarray(one, np.float64) for one in session.run(None, feed)] for feed in feeds]
    found = []
    for errors in zip(*runs, strict=True):
        finite = [one for one in errors if np.isfinite(one).all()]
        found.append(np.mean(finite, axis=0) if finite else np.zeros_like(errors[0]))
    return found


def _shapes(model: Any) -> dict[str, list[int]]:
    """Of all values of the main graph whose shape is known."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _times(model: Any, places: list[_Place], shapes: dict[str, list[int]]) -> int:
    """How many times as many inputs a small model gets."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    work = 0
    for node in model.graph.node:
        if any(node.output[0] == place.output for place in places):
            shape = weights[node.input[1]]
            positions = np.prod(shapes[node.output[0]], dtype=np.int64) // shape[1 if node.op_type == "MatMul" else 0]
            work += int(positions) * int(np.prod(shape, dtype=np.int64))
    return int(np.clip(MULTIPLICATIONS // max(1, work), 1, MOST_TIMES))


def _changed(model: Any, rounded: dict[str, Array], path: Path, errors: dict[_Place, Array]) -> Any:
    """A session of the model with rounded weights, and with the biases corrected by `errors`."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in rounded:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rounded[tensor.name]), tensor.name))
    for place, error in errors.items():
        place.take_back(copy, error)
    return _session(copy, path)


def _session(model: Any, path: Path) -> Any:
    import onnx
    import onnxruntime

    onnx.save(model, str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums then have one order, and the same model gives the same bytes
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    path.unlink()
    return session


def _outputs(session: Any, feeds: dict[str, list[dict[str, Array]]]) -> dict[str, list[list[Array]]]:
    """What the session gives for each input of each kind."""
    return {kind: [session.run(None, feed) for feed in ones] for kind, ones in feeds.items()}


def _judge(wanted: dict[str, list[list[Array]]], found: dict[str, list[list[Array]]]) -> dict[str, float]:
    """SNR in dB, the mean over outputs and inputs, by kind of input."""
    result = {}
    for kind, inputs in wanted.items():
        pairs = [pair for one, other in zip(inputs, found[kind], strict=True) for pair in zip(one, other, strict=True)]
        snr = [_snr(a, b) for a, b in pairs if a.dtype.kind == "f" and np.isfinite(a).all() and a.any()]
        if snr:
            result[kind] = float(np.mean(snr))
    return result


def _snr(wanted: Array, found: Array) -> float:
    right = wanted.astype(np.float64)
    noise = np.square(found - right).sum()
    if not np.isfinite(noise):
        return -200.0
    return 200.0 if noise == 0 else min(200.0, 10 * float(np.log10(np.square(right).sum() / noise)))


def _is_picture(spec: InputSpec) -> bool:
    return spec.dtype.startswith("float") and len(spec.shape) >= 4 and min(spec.shape[-2:]) >= LEAST_SIDE


def _draw(specs: tuple[InputSpec, ...], counts: dict[str, int], skip: int = 0) -> Iterator[dict[str, Array]]:
    """Inputs by name, `counts[kind]` of each kind; `skip` seeds on, there are others.

    A model with a large batch sees as many samples in fewer inputs.
    """
    batch = max([spec.shape[0] for spec in specs if len(spec.shape) > 1], default=1)
    for kind, count in counts.items():
        for number in range(-(-count // max(1, batch))):
            generator = np.random.default_rng([FIRST_SEED, skip + number, kind == "smooth"])
            yield {
                spec.name: smooth(spec, generator) if kind == "smooth" and _is_picture(spec) else spec.sample(generator)
                for spec in specs
            }


def smooth(spec: InputSpec, generator: np.random.Generator) -> Array:
    """Random fields without edges, like an unsharp photograph; of the spec's shape and dtype.

    Each sample takes a random part of the declared range. Without a range it has mean zero and a deviation of up to one.
    """
    height, width = spec.shape[-2:]
    field = np.zeros(spec.shape)
    for size in OCTAVES:
        field += resize_bilinear(generator.standard_normal((*spec.shape[:-2], size, size)), height, width) / size
    axes, one_each = tuple(range(1, field.ndim)), (spec.shape[0], *[1] * (field.ndim - 1))
    field -= field.mean(axes, keepdims=True)
    if spec.low is None or spec.high is None:
        field *= generator.uniform(0.2, 1, one_each) / field.std(axes, keepdims=True)
        field += generator.standard_normal(one_each)
    else:
        low, high = np.sort(generator.uniform(spec.low, spec.high, (2, *one_each)), axis=0)
        field = field / np.abs(field).max(axes, keepdims=True) * (high - low) / 2 + (high + low) / 2
    return field.astype(spec.dtype)
