"""Stage `quantize`: onnxruntime's dynamic quantization with QUInt8 weights, on a grid that TFLite shares.

onnxruntime chooses scale 2·absmax/255, and one scale for a whole Conv weight. TFLite wants int8 in [−127, 127] with
scale absmax/127 an output channel. QUInt8 with zero point 128 and q in [1, 255] is the same grid shifted by 128, so the
graph that onnxruntime's quantizer built keeps its shape and only its weights, scales and zero points are set anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from edgeconv.artifact import Kind
from edgeconv.errors import BadOutput
from edgeconv.stage import Job, Stage

ZERO_POINT = 128


@dataclass(frozen=True)
class Quantize(Stage):
    """Options of the stage.

    Attributes:
        weight_type: QUInt8, the one that the whole chain carries exactly.
        op_types: ONNX ops whose weights are quantized.
        min_elements: smaller weights stay float; the bytes saved would be less than the scales cost.
        correct_bias: take the mean of the error that rounding brings out of the biases, see `correct_bias`.
    """

    weight_type: Literal["QUInt8"] = "QUInt8"
    op_types: tuple[str, ...] = ("Conv", "MatMul", "Gemm", "ConvTranspose", "Gather")
    min_elements: int = 64
    correct_bias: bool = True

    name: ClassVar[str] = "quantize"
    consumes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    produces: ClassVar[Kind] = "onnx-quantized"
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")
    built_from: ClassVar[tuple[str, ...]] = (
        "edgeconv.rewrite.base",
        "edgeconv.rewrite.fold_dequantize",
        "edgeconv.rewrite.fold_fake_quant",
        "edgeconv.rewrite.fold_quantized",
        "edgeconv.rewrite.given_integers",
        "edgeconv.stages.correct_bias",
        "edgeconv.stages.front_end",
        "edgeconv.stages.quantize_stored",
    )
    worker: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("onnxruntime.quantization",)

    def build(self, job: Job) -> dict[str, Any]:
        """Quantize; returns how many weights and elements became integer, and what stayed float."""
        import logging

        import onnx
        from onnx import numpy_helper
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from edgeconv.stages import correct_bias, quantize_stored

        logging.getLogger().setLevel(logging.ERROR)  # it recommends a pre-processing that the stage before has done
        model, given = _float_again(onnx.load(str(job.source)))
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        plain = _gemm_as_matmul(model, weights, given) if "Gemm" in self.op_types else model
        prepared = job.scratch / "prepared.onnx"
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
        chosen, kept = self._choose(plain, weights)
        stored = quantize_stored.chosen(plain, weights, self.op_types, self.min_elements)
        corrected = {}
        if self.correct_bias and not given:  # the biases of a graph quantized elsewhere go with its integers
            corrected = correct_bias.correct(plain, _rounded(plain, weights, chosen, stored), job.scratch)
        _unshare(plain, weights, set(chosen))
        onnx.save(plain, str(prepared))
        quantize_dynamic(
            str(prepared), str(job.destination), weight_type=QuantType.QUInt8,
            per_channel=False,  # its loop over channels takes a minute for 60 million weights; _regrid sets them all anew
            op_types_to_quantize=[op for op in self.op_types if op in {"Conv", "MatMul"}] or ["MatMul"],
            nodes_to_quantize=chosen or ["\0none"],  # an empty list would mean all of them
            extra_options={"WeightSymmetric": True, "MatMulConstBOnly": True, "EnableSubgraph": True},
        )  # fmt: skip
        quantized = onnx.load(str(job.destination))
        count, elements, lost = _regrid(quantized, weights, given)
        for name, axis in stored.items():
            rows = np.moveaxis(weights[name], axis, 0)
            q, scale = grid(rows, conv=True)
            if name in given and (snr := _keep_given(q, scale, given[name], rows, conv=True)) is not None:
                lost[name] = snr
            quantize_stored.dequantized(quantized, name, axis, np.moveaxis(q, 0, axis), scale, ZERO_POINT)
            count, elements = count + 1, elements + q.size
        _keep_places(plain, quantized)
        del quantized.metadata_props[:]
        quantized.producer_name = quantized.producer_version = ""
        quantized.ir_version = plain.ir_version
        onnx.save(quantized, str(job.destination))
        came: dict[str, Any] = {
            "given_quantized": len(given),
            "given_carried_exactly": len(given) - len(lost),
            "given_snr_db": lost,
        }
        if lost:
            came["warnings"] = [
                f"{len(lost)} of {len(given)} weights that came quantized have integers that TFLite's int8 cannot hold; "
                f"quantized anew they have {min(lost.values()):.1f} dB or more (report.json lists them)"
            ]
        notes = {"weights": count, "elements": elements, "kept_float": kept, "bias_correction": corrected}
        return {**notes, **(came if given else {})}

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        """Onnxruntime loads it, and its integer weights are uint8 around 128 within [1, 255]."""
        import onnx
        import onnxruntime
        from onnx import numpy_helper

        try:
            onnxruntime.InferenceSession(str(job.destination), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadOutput(f"onnxruntime does not load the quantized graph: {str(error).splitlines()[0]}") from error
        graph = onnx.load(str(job.destination)).graph
        arrays = {tensor.name: tensor for tensor in graph.initializer}
        for node in _nodes(graph):
            place = {"ConvInteger": 1, "MatMulInteger": 1, "DequantizeLinear": 0}.get(node.op_type)
            name = "" if place is None else node.input[place]
            ours = node.op_type == "DequantizeLinear" or name.endswith("_quantized")  # not the model's own integers
            if ours and name in arrays:
                q = numpy_helper.to_array(arrays[name])
                if q.dtype != np.uint8 or q.min(initial=255) < 1:
                    raise BadOutput(f"the weight {name} is off the grid: {q.dtype}, smallest {q.min()}")

    def _choose(self, model: Any, weights: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Names of the nodes to quantize, and why the others stay float."""
        from edgeconv.stages import front_end

        chosen, kept = [], {}
        sensitive = front_end.before_it(model, weights)
        for node in _nodes(model.graph):
            if node.op_type not in set(self.op_types) | ({"MatMul"} if "Gemm" in self.op_types else set()):
                continue
            weight = weights.get(node.input[1])
            if weight is None:
                kept[node.name] = "computed weight"
            elif weight.dtype != np.float32:
                kept[node.name] = f"{weight.dtype} weight"
            elif node.op_type in {"MatMul", "Gemm"} and weight.ndim == 2 and weight.shape[_turned(node)] == 1:
                kept[node.name] = "one input feature"
            elif weight.size < self.min_elements:
                kept[node.name] = f"only {weight.size} elements"
            elif not np.isfinite(weight).all():
                kept[node.name] = "NaN or Inf in the weight"
            elif node.name in sensitive:
                kept[node.name] = sensitive[node.name]
            else:
                chosen.append(node.name)
        return chosen, kept


def _turned(node: Any) -> int:
    """The axis of a product's weight that holds the input features."""
    return next((int(one.i) for one in node.attribute if one.name == "transB"), 0)


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes of an `onnx.GraphProto` and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)


def _keep_places(before: Any, after: Any) -> None:
    """Give the nodes that the quantizer made the metadata of those they stand for: errors then name the module."""
    by_output = {name: node for node in _nodes(before.graph) for name in node.output}
    by_name = {node.name: node for node in _nodes(before.graph)}
    for node in _nodes(after.graph):
        if node.metadata_props or node.op_type == "DynamicQuantizeLinear":
            continue
        origin = by_output.get(node.output[0]) or by_name.get(node.name.rpartition("_quant")[0])
        origin = origin or by_name.get(node.name.partition("_quant")[0])
        if origin is not None:
            node.metadata_props.extend(origin.metadata_props)


def _unshare(model: Any, weights: dict[str, Any], chosen: set[str]) -> None:
    """Give nodes that stay float a copy of a weight that integers take the place of.

    The quantizer would dequantize those for them as if they had one scale: they have one an output channel.
    """
    from onnx import numpy_helper

    quantized = {
        node.name for node in _nodes(model.graph) if node.op_type in {"Conv", "MatMul"} and node.name in chosen
    }
    taken = {node.input[1] for node in _nodes(model.graph) if node.name in quantized}
    copied = set()
    for node in _nodes(model.graph):
        for place, name in enumerate(node.input):
            if name in taken and not (node.name in quantized and place == 1):
                node.input[place] = f"{name}_float"
                copied.add(name)
    for name in sorted(copied):
        model.graph.initializer.append(numpy_helper.from_array(weights[name], f"{name}_float"))


def _float_again(model: Any) -> tuple[Any, dict[str, Any]]:
    """A model that came quantized as a float one, and the integers it came with; any other as it is."""
    kinds = {"MatMulInteger", "ConvInteger", "DequantizeLinear"}
    if not any(node.op_type in kinds for node in _nodes(model.graph)):
        return model, {}
    import onnx_ir as ir

    from edgeconv.rewrite import given_integers

    graph = ir.from_proto(model)
    given = given_integers.take(graph)
    return ir.to_proto(graph), given


def _gemm_as_matmul(model: Any, weights: dict[str, Any], given: dict[str, Any]) -> Any:
    """Write each Gemm with a constant weight as MatMul and Add: the quantizer takes MatMul only."""
    import onnx
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    made = []
    users: dict[str, int] = {}
    for node in _nodes(graph):
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weight = weights.get(node.input[1]) if node.op_type == "Gemm" else None
        if weight is None or attributes.get("transA", 0) or attributes.get("beta", 1.0) != 1.0:
            made.append(node)
            continue
        matrix = (weight.T if attributes.get("transB", 0) else weight) * np.float32(attributes.get("alpha", 1.0))
        name = f"{node.name}_weight"
        if node.input[1] in given and attributes.get("alpha", 1.0) == 1.0:
            given[name] = given.pop(node.input[1])
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(matrix), name))
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        parts = [helper.make_node("MatMul", [node.input[0], name], [product], name=f"{node.name}_matmul")]
        if has_bias:
            parts.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_bias"))
        for part in parts:
            part.metadata_props.extend(node.metadata_props)
        made += parts
        users[node.input[1]] -= 1
    for tensor in [tensor for tensor in graph.initializer if users.get(tensor.name) == 0]:
        graph.initializer.remove(tensor)
    del graph.node[:]
    graph.node.extend(made)
    return result


def _rounded(model: Any, weights: dict[str, Any], chosen: list[str], stored: dict[str, int]) -> dict[str, Any]:
    """What the weights of the chosen nodes, and those to be stored as integers, are once they are rounded; float32."""
    nodes = {node.name: node for node in _nodes(model.graph)}
    axes = {nodes[name].input[1]: 0 if nodes[name].op_type == "Conv" else -1 for name in chosen} | stored
    found = {}
    for name, axis in axes.items():
        rows = np.moveaxis(weights[name], axis, 0)
        q, scale = grid(rows, conv=True)
        real = (q.astype(np.float32) - ZERO_POINT) * scale.reshape(-1, *[1] * (rows.ndim - 1))
        found[name] = np.moveaxis(real, 0, axis)
    return found


def _regrid(model: Any, weights: dict[str, Any], given: dict[str, Any]) -> tuple[int, int, dict[str, float]]:
    """Set every integer weight, its scale and zero point to the symmetric per-channel grid of the float weight.

    Channels that came with integers which fit keep them. Returns how many weights and elements there are, and the SNR in dB
    of the weights that came quantized and could not keep all of their integers.
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    elements = 0
    lost: dict[str, float] = {}
    for node in _nodes(model.graph):
        if node.op_type not in {"ConvInteger", "MatMulInteger"} or node.input[1] in done:
            continue
        stem = node.input[1].removesuffix("_quantized")
        weight = weights.get(stem) if stem != node.input[1] else None
        if weight is None:  # the model's own integer op, not one that the quantizer made
            continue
        conv = node.op_type == "ConvInteger"
        q, scale = grid(weight, conv=conv)
        if stem in given:
            snr = _keep_given(q, scale, given[stem], weight, conv=conv)
            lost |= {} if snr is None else {node.name: snr}
        # the scale is multiplied with the product: [O, 1, 1] beside [N, O, H, W], [out] beside [..., out]
        around = (-1, *[1] * (weight.ndim - 2)) if conv else (-1,)
        for name, array in (
            (f"{stem}_quantized", q),
            (f"{stem}_scale", scale.reshape(around)),
            (f"{stem}_zero_point", np.array(ZERO_POINT, np.uint8)),
        ):
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        done.add(node.input[1])
        elements += weight.size
    return len(done), elements, lost


def _keep_given(q: Any, scale: Any, given: Any, weight: Any, *, conv: bool) -> float | None:
    """Put the integers of channels that fit into `q` and `scale`; SNR in dB of the weight, None if all of them did."""
    rows = q if conv else np.swapaxes(q, 0, -1)  # a view: output channel first
    fits = given.fits()
    rows[fits] = (given.integers[fits].reshape(-1, *rows.shape[1:]) + ZERO_POINT).astype(np.uint8)
    scale[fits] = given.scale[fits]
    if fits.all():
        return None
    real = (rows.astype(np.float32) - ZERO_POINT) * scale.reshape(-1, *[1] * (rows.ndim - 1))
    wanted = weight if conv else np.swapaxes(weight, 0, -1)
    noise = float(np.square(real - wanted).sum())
    return round(10 * float(np.log10(np.square(wanted, dtype=np.float64).sum() / noise)), 2) if noise else None


def grid(weight: Any, *, conv: bool) -> tuple[Any, Any]:
    """Symmetric per-output-channel QUInt8.

    Args:
        weight: float32, [O, I, …] for a conv, [..., in, out] for a matrix product.
        conv: which of the two.

    Returns:
        uint8 in [1, 255] around 128, of the weight's shape; float32 scale absmax/127, one an output channel (1 where a
        channel is all zero).
    """
    axes = tuple(range(1, weight.ndim)) if conv else tuple(range(weight.ndim - 1))
    peak = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    q = np.clip(np.round(weight / scale), -127, 127).astype(np.int16) + ZERO_POINT
    return q.astype(np.uint8), scale.reshape(-1)
