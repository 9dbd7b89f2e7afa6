"""Every form in which a model can come goes through the whole chain, with parity."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.errors import Untrusted
from edgeconv.harness.metrics import compare
from edgeconv.harness.runtimes import RUNTIMES, open_artifact
from edgeconv.source import loading, onnx_file, parse_reference
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite
from tests.stages.chain_helpers import run_stages

pytestmark = pytest.mark.slow

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(8, 5)
    def forward(self, image):
        return self.out(torch.relu(self.norm(self.conv(image))).mean((2, 3)))

def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.rand(1, 3, 16, 16),)
"""


def snr_of(source, folder):
    """SNR in dB of the float .tflite against the source itself."""
    paths, notes = run_stages(source, [Onnx(), SavedModel(), Tflite(mode="float32")], folder / "chain")
    runtime = open_artifact(
        {"runtime": "litert", "artifact": str(paths["tflite"]), "threads": 1, "layouts": notes["tflite"]["layouts"]}
    )
    generator = np.random.default_rng(4)
    if source.kind == "onnx":
        specs = onnx_file.snapshot_of(source).inputs
        inputs = {spec.name: spec.sample(generator) for spec in specs}
        wanted = RUNTIMES["onnxruntime"](source.file, 1).run(inputs)
    else:
        import torch

        loaded = loading.load(source)
        inputs = {spec.name: spec.sample(generator) for spec in loaded.inputs}
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        wanted = {name: t.detach().numpy() for name, t in loading.outputs_of(loaded.module, tensors).items()}
    found = runtime.run(inputs)
    assert list(found) == list(wanted)
    return min(compare(wanted[name], found[name])["snr_db"] for name in wanted)


@pytest.fixture
def net(tmp_path):
    """The module of NET, whose file stands in `tmp_path`."""
    path = tmp_path / f"form_{abs(hash(str(tmp_path)))}.py"
    path.write_text(NET)
    space = {}
    exec(NET, space)
    return path, space["make"]


@pytest.mark.parametrize("form", ["factory", "safetensors", "state_dict", "pt2", "torchscript"])
def test_pytorch_forms(form, net, tmp_path):
    import torch
    from safetensors.torch import save_file

    path, make = net
    module, example = make()
    state = {name: tensor + 0.1 for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    state |= {name: tensor for name, tensor in module.state_dict().items() if name not in state}
    reference, options = f"{path.name}:make", {}
    if form == "safetensors":
        save_file(state, tmp_path / "w.safetensors")
        options = {"weights": "w.safetensors"}
    elif form == "state_dict":
        torch.save(state, tmp_path / "w.pt")
        options = {"weights": "w.pt"}
    elif form == "pt2":
        reference = "net.pt2"
        torch.export.save(torch.export.export(module, example), tmp_path / reference)
    elif form == "torchscript":
        from edgeconv.source import parse_input

        reference = "net.ts"
        torch.jit.trace(module, example).save(tmp_path / reference)
        spec = parse_input("image=1x3x16x16")
        with pytest.raises(Untrusted):
            loading.load(parse_reference(reference, base=tmp_path, inputs=(spec,)))
        options = {"trust": True, "inputs": (spec,)}
    assert snr_of(parse_reference(reference, base=tmp_path, **options), tmp_path) > 100


def graph(opset):
    """Conv, pad, split, squeeze, reductions, softmax, clip, upsampling: ops whose form changed between opsets 9 and 18."""
    generator = np.random.default_rng(0)
    weights = {"w": generator.standard_normal((4, 3, 3, 3)).astype(np.float32)}

    def ints(name, values):
        weights[name] = np.array(values, np.int64)
        return name

    late = opset >= 13
    pads = [0, 0, 1, 1, 0, 0, 1, 1]
    reduced = ["r"] if opset < 18 else ["r", ints("axes", [2, 3])]
    nodes = [
        helper.make_node("Pad", ["image"] if opset < 11 else ["image", ints("pads", pads)], ["p"],
                         **({"pads": pads} if opset < 11 else {})),
        helper.make_node("Conv", ["p", "w"], ["c"]),
        helper.make_node("Split", ["c", ints("sizes", [2, 2])] if late else ["c"], ["a", "b"], axis=1,
                         **({} if late else {"split": [2, 2]})),
        helper.make_node("Sub", ["a", "b"], ["r"]),
        helper.make_node("ReduceMean", reduced, ["m"], keepdims=1, **({"axes": [2, 3]} if opset < 18 else {})),
        helper.make_node("Squeeze", ["m", ints("two", [2, 3])] if late else ["m"], ["s"], **({} if late else {"axes": [2, 3]})),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]  # fmt: skip
    proto = helper.make_model(
        helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ), opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10,
    )  # fmt: skip
    onnx.checker.check_model(proto)
    return proto


NEWEST = min(onnx.defs.onnx_opset_version(), 23)  # what onnxruntime, the reference here, reads


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 15, 18, 20, NEWEST])
def test_onnx_of_every_age(opset, tmp_path):
    onnx.save(graph(opset), tmp_path / "net.onnx")
    assert snr_of(parse_reference("net.onnx", base=tmp_path), tmp_path) > 100


def test_onnx_with_external_data(tmp_path):
    onnx.save(
        graph(18), tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100,
        convert_attribute=False,
    )  # fmt: skip
    assert (tmp_path / "weights.bin").is_file()
    assert snr_of(parse_reference("net.onnx", base=tmp_path), tmp_path) > 100
