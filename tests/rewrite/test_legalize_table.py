"""Every operator that changed after opset 13 is accounted for, and real exports come down to it."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.errors import UnsupportedOp
from edgeconv.rewrite.base import SCOPES
from edgeconv.rewrite.legalize import HANDLED, OUT_OF_REACH, PASSES, SAME, misfit, to_opset_13
from tests.rewrite.helpers import infer, model

NEWEST = onnx.defs.onnx_opset_version()
FLOAT = TensorProto.FLOAT


def _schema(name, opset):
    try:
        return onnx.defs.get_schema(name, opset, "")
    except onnx.defs.SchemaError:
        return None


def _history():
    return sorted({schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""})


def _changed():
    names = []
    for name in _history():
        old = _schema(name, 13)
        since = {found.since_version for opset in range(14, NEWEST + 1) if (found := _schema(name, opset))}
        if since - ({old.since_version} if old else set()):
            names.append(name)
    return names


@pytest.mark.parametrize("name", _changed())
def test_every_changed_operator_is_in_the_table(name):
    assert sum(name in table for table in (HANDLED, SAME, OUT_OF_REACH)) == 1


@pytest.mark.parametrize("name", sorted(SAME & set(_history())))
def test_same_means_new_types_only(name):
    old, new = _schema(name, 13), _schema(name, NEWEST)
    assert set(old.attributes) == set(new.attributes)
    assert [value.name for value in old.inputs] == [value.name for value in new.inputs]
    assert len(old.outputs) == len(new.outputs)
    for mine, theirs in zip(old.inputs, new.inputs, strict=True):
        assert mine.types <= theirs.types
        assert mine.option == theirs.option


@pytest.mark.skipif(NEWEST < 28, reason="the table was made with the operators of opset 28")
def test_table_names_no_operator_that_never_changed():
    assert set(SAME) | set(OUT_OF_REACH) | set(HANDLED) <= set(_changed())


def test_each_pass_stands_in_a_file_of_its_name():
    for one in PASSES:
        assert type(one).__module__ == f"edgeconv.rewrite.{one.name}"


def _add_scope(proto, index, scopes):
    entry = proto.graph.node[index].metadata_props.add()
    entry.key, entry.value = SCOPES, scopes


def test_all_offenders_are_named_with_module_and_reason():
    nodes = [
        helper.make_node("Bernoulli", ["x"], ["a"], name="chance"),
        helper.make_node("BlackmanWindow", ["n"], ["b"]),
        helper.make_node("CumProd", ["x", "m"], ["c"]),
        helper.make_node("BlackmanWindow", ["n"], ["d"]),
    ]
    inputs = {"x": (FLOAT, [1, 8, 1]), "z": (FLOAT, [1, 1, 4, 4]), "n": (TensorProto.INT64, [])}
    constants = {"s": np.array([1, 1, 0.5, 0.5], np.float32)}
    proto = model(nodes, inputs, ["a", "b", "c", "d"], constants, opset=18)
    _add_scope(proto, 1, "['', 'front', 'front.window', 'op']")
    _add_scope(proto, 2, "['', 'down', 'op']")
    _add_scope(proto, 3, "['', 'back', 'op']")
    with pytest.raises(UnsupportedOp) as caught:
        to_opset_13(ir.from_proto(proto))
    message = caught.value.message
    assert message.startswith("4 operators cannot be expressed at opset 13: ")
    assert "BlackmanWindow (a window function; compute it outside the model) in front.window, back" in message
    assert "Bernoulli (a random draw, which no TFLite file can repeat) in chance" in message
    assert "CumProd (opset 13 has no running product) in down" in message
    assert "in down" in message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("node", "kind", "reason"),
    [
        (helper.make_node("Nonsense", ["x"], ["y"]), FLOAT, "unknown at opset 13"),
        (helper.make_node("Relu", ["x"], ["y"], domain="com.acme"), FLOAT, "an operator of the domain com.acme"),
        (helper.make_node("Relu", ["x"], ["y"], soft=1), FLOAT, "its attribute soft is newer than opset 13"),
        (helper.make_node("Relu", ["x", "x"], ["y"]), FLOAT, "it has 2 inputs, opset 13 allows 1 to 1"),
        (helper.make_node("Relu", ["x"], ["y", "z"]), FLOAT, "it has 2 outputs, opset 13 has 1"),
        (helper.make_node("Neg", ["x"], ["y"]), TensorProto.UINT8, "opset 13 does not have it for uint8"),
        (helper.make_node("Relu", ["x"], ["y"]), FLOAT, ""),
        (helper.make_node("Concat", ["x", "x", "x"], ["y"], axis=0), FLOAT, ""),
    ],
)
def test_misfits(node, kind, reason):
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", kind, [2])], [])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.acme", 1)])
    found = ir.from_proto(proto)
    assert misfit(found.graph[0], found.opset_imports) == reason


def test_older_opset_is_refused_with_a_way_out():
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, [2])}, ["y"], opset=11)
    with pytest.raises(UnsupportedOp, match="declares opset 11") as caught:
        to_opset_13(ir.from_proto(proto))
    assert "convert_version" in caught.value.hint


def test_functions_are_inlined():
    body = [helper.make_node("HardSwish", ["a"], ["b"])]
    own = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    graph = helper.make_graph(
        [helper.make_node("F", ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    found = ir.from_proto(helper.make_model(graph, opset_imports=imports, functions=[own], ir_version=10))
    assert to_opset_13(found) == {"legalize_hard_swish": 1}
    assert found.opset_imports == {"": 13}
    assert not found.functions


class Exports:
    """Small modules, each with its inputs; torch is imported only when one is built."""

    @staticmethod
    def conv_hardswish_se():
        import torch
        from torch import nn

        class SqueezeExcite(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
                self.squeeze, self.act, self.gate = nn.Conv2d(8, 8, 1), nn.Hardswish(), nn.Hardsigmoid()

            def forward(self, x):
                x = self.act(self.norm(self.conv(x)))
                return x * self.gate(self.squeeze(x.mean((2, 3), keepdim=True)))

        return SqueezeExcite(), (torch.randn(1, 3, 8, 8),)

    @staticmethod
    def layer_norm_mlp():
        import torch
        from torch import nn

        layers = nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.GELU(approximate="tanh")
        return nn.Sequential(*layers, nn.Mish(), nn.SiLU()), (torch.randn(2, 5, 16),)

    @staticmethod
    def encoder():
        import torch
        from torch import nn

        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu", norm_first=True)
        return layer, (torch.randn(2, 5, 16),)

    @staticmethod
    def norms():
        import torch
        from torch import nn

        return nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.InstanceNorm2d(8)), (torch.randn(2, 3, 6, 6),)

    @staticmethod
    def recurrent():
        import torch
        from torch import nn

        class Last(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
                self.gru = nn.GRU(10, 4, batch_first=True)

            def forward(self, x):
                return self.gru(self.lstm(x)[0])[1]

        return Last(), (torch.randn(2, 7, 6),)

    @staticmethod
    def functional():
        import torch
        import torch.nn.functional as F
        from torch import nn

        class Functional(nn.Module):
            def forward(self, x):
                up = F.interpolate(x, scale_factor=2, mode="bilinear")
                same = F.interpolate(up, size=(6, 5), mode="bilinear", align_corners=True)
                attended = F.scaled_dot_product_attention(x, x, x, is_causal=True)
                back = F.fold(F.unfold(x, 3, padding=1), (6, 5), 3, padding=1)
                parts = [*x.split([1, 3], 1), *x.chunk(4, 2)]
                reduced = [
                    x.amax(1),
                    x.norm(dim=-1),
                    x.logsumexp(1),
                    x.std(1),
                    x.tril(),
                    F.pad(x[0], (1, 1), mode="circular"),
                ]
                return same, attended, back, *parts, *reduced

        return Functional(), (torch.randn(1, 4, 6, 5),)


@pytest.mark.parametrize("name", [name for name in vars(Exports) if not name.startswith("_")])
def test_export_comes_down_and_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, inputs = getattr(Exports, name)()
    module.eval()
    exported = torch.onnx.export(module, inputs, dynamo=True, opset_version=18, verbose=False).model
    counts = to_opset_13(exported)
    assert counts
    assert exported.opset_imports == {"": 13}
    proto = ir.to_proto(exported)
    onnx.checker.check_model(proto, full_check=True)
    with torch.no_grad():
        wanted = module(*inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    feeds = {value.name: x.numpy() for value, x in zip(proto.graph.input, inputs, strict=True)}
    for want, got in zip(wanted, infer(proto, feeds), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-4)
