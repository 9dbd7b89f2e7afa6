"""What torch.export makes of modules that read their own tensors."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from edgeconv.source.examples import spec_of
from edgeconv.source.traceable import exported as exported_with
from edgeconv.source.traceable import followed


def exported(module, x):
    """The program's outputs on another input, beside the module's own."""
    with followed(module):
        program = torch.export.export(module, (x,), strict=False)
    other = x + torch.rand(x.shape)
    torch.testing.assert_close(program.module()(other), module(other))
    return program


def written(x):
    made = torch.zeros(2, 6)
    made[:, 1] = x[:, 0]
    made[1] += int(torch.ones(2).sum())
    return made


def normalized(x, mean, std):
    """As torchvision's function of that name does."""
    mean, std = torch.as_tensor(mean, dtype=x.dtype), torch.as_tensor(std, dtype=x.dtype)
    if (std == 0).any():
        raise ValueError("division by zero")
    return x.view(2, 3, 2).clone().sub_(mean.view(-1, 1)).div_(std.view(-1, 1))


class Net(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.left = torch.nn.Buffer(torch.tensor(2))
        self.rate = torch.nn.Buffer(torch.tensor(0.5))
        self.plain = [torch.tensor(3)]
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: torch.nn.functional.pad(x, (self.left, self.left + 1)),
        lambda self, x: x[..., : self.left],
        lambda self, x: x.view(self.left, -1) if self.left > 1 else x,
        lambda self, x: x * int(self.left * 2),
        lambda self, x: x.new_zeros((x.shape[0], self.left)) + x[:, : self.left],
        lambda self, x: x.roll(int(torch.ceil(x.shape[-1] * self.rate)), -1),
        lambda self, x: x.mean(dim=torch.arange(1, len(x.shape)).tolist()),
        lambda self, x: x[:, : self.plain[0].item()] + torch.zeros(2, self.plain[0]),
        lambda self, x: x.to(torch.from_numpy(torch.tensor(0.0, dtype=torch.float64).numpy()).dtype),
        lambda self, x: written(x)[:, : int(self.left)],
        lambda self, x: normalized(x, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
    ],
    ids=["pad", "slice", "view", "factor", "new", "computed", "list", "plain", "numpy", "beside a write", "of lists"],
)
def test_sizes_that_are_buffers(forward):
    exported(Net(forward), torch.rand(2, 6))


def test_a_buffer_that_the_forward_wrote_is_not_known_any_more():
    def forward(self, x):
        self.left.add_(1)
        return x * int(self.left)

    with pytest.raises(Exception, match=r"(?i)data.dependent|unbacked"), followed(net := Net(forward)):
        torch.export.export(net, (torch.rand(2, 6),), strict=False)


def test_what_the_forward_wrote_into_a_constant_is_not_known_any_more():
    def forward(self, x):
        made = torch.zeros(2)
        row = made[:1]
        made.add_(1)
        return x * int(row.sum())

    with pytest.raises(Exception, match=r"(?i)data.dependent|unbacked"), followed(net := Net(forward)):
        torch.export.export(net, (torch.rand(2, 6),), strict=False)


class Masked(torch.nn.Module):
    def forward(self, x, lengths):
        inside = torch.arange(int(lengths.max())) < lengths[:, None]
        return x * inside


class Asks(torch.nn.Module):
    def forward(self, x, lengths):
        return x * 2 if lengths.max() > 3 else x


def test_a_size_that_an_input_gives_is_read_where_its_value_never_changes():
    example = {"x": torch.rand(2, 6), "lengths": torch.tensor([6, 6])}
    net = Masked()
    with followed(net, {"lengths": example["lengths"]}) as seen:
        program = torch.export.export(net, (), kwargs=example, strict=False)
    assert seen.read
    shorter = {"x": example["x"], "lengths": torch.tensor([6, 2])}  # the mask is still made of the input
    torch.testing.assert_close(program.module()(**shorter), net(**shorter))


def test_a_condition_on_such_an_input_stays_an_error():
    example = {"x": torch.rand(2, 6), "lengths": torch.tensor([6, 6])}
    net = Asks()
    with (
        pytest.raises(Exception, match=r"(?i)data.dependent|unbacked"),
        followed(net, {"lengths": example["lengths"]}),
    ):
        torch.export.export(net, (), kwargs=example, strict=False)


def export(forward, *given):
    with followed(net := Function(forward)):
        return torch.export.export(net, given, strict=False).module()


class Function(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.rnn = torch.nn.GRU(4, 4, batch_first=True)
        self.n = torch.nn.Buffer(torch.tensor(2))
        self._forward = forward

    def forward(self, *given):
        return self._forward(self, *given)


def test_functions_over_a_batch_and_branches_are_traced_as_ever():
    def mapped(self, x):
        return torch.vmap(lambda row: (row * torch.arange(4.0)).sum(-1))(x)[:, : int(self.n)]

    def branched(self, x):
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    x = torch.rand(3, 2, 4)
    for forward in (mapped, branched):
        torch.testing.assert_close(export(forward, x)(-x), forward(Function(forward), -x))


def test_a_count_that_is_no_size_stays_an_input():
    class Scaled(torch.nn.Module):
        def forward(self, x, step):
            return x[:, step.item()] * step.item()

    example = {"x": torch.rand(2, 6), "step": torch.tensor([3])}
    specs = [spec_of(name, one) for name, one in example.items()]
    program, told = exported_with(Scaled(), example, specs)
    other = {**example, "step": torch.tensor([5])}
    torch.testing.assert_close(program.module()(**other), Scaled()(**other))
    assert told == []


def test_what_was_read_for_a_size_is_told():
    example = {"x": torch.rand(2, 6), "lengths": torch.tensor([6, 6]), "kind": torch.tensor([1, 1])}

    class Kinds(Masked):
        def forward(self, x, lengths, kind):
            return super().forward(x, lengths) * kind[:, None]

    program, told = exported_with(Kinds(), example, [spec_of(name, one) for name, one in example.items()])
    assert len(told) == 1
    assert "of lengths," in told[0]
    assert not any(isinstance(size, torch.SymInt) for node in program.graph.nodes for size in sizes_of(node))


def sizes_of(node):
    made = node.meta.get("val")
    return made.shape if isinstance(made, torch.Tensor) else ()


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, packed: packed.data.sum(),
        lambda self, packed: self.rnn(packed)[0].data.mean(0),
        lambda self, packed: 2 * packed.data,
        lambda self, packed: packed.batch_sizes.sum() * packed.data.new_ones(1),
        lambda self, packed: packed.batch_sizes[-1] * torch.ones(1),
    ],
    ids=["sum", "mean", "returned", "sizes", "last size"],
)
def test_what_sees_all_rows_of_a_packed_sequence_is_refused(forward):
    def whole(self, x, lengths):
        return forward(self, pack_padded_sequence(x, lengths, batch_first=True))

    with pytest.raises(ValueError, match="packed sequence"):
        export(whole, torch.rand(3, 6, 4), torch.tensor([6, 4, 2]))


def test_constant_lengths_cut_the_steps_as_pytorch_does():
    def forward(self, x):
        packed, _ = self.rnn(pack_padded_sequence(x, [5, 4, 2], batch_first=True))
        return pad_packed_sequence(packed, batch_first=True)[0]

    program, net, x = export(forward, torch.rand(3, 6, 4)), Function(forward), torch.rand(3, 6, 4)
    net.load_state_dict({name: one for name, one in program.state_dict().items() if name in net.state_dict()})
    torch.testing.assert_close(program(x), net(x))


def test_steps_behind_the_longest_sequence_are_told():
    def forward(self, x, lengths):
        packed, _ = self.rnn(pack_padded_sequence(x, lengths, batch_first=True))
        return pad_packed_sequence(packed, batch_first=True)[0]

    with followed(net := Function(forward)) as seen:
        torch.export.export(net, (torch.rand(3, 6, 4), torch.tensor([6, 4, 2])), strict=False)
    assert seen.steps == {6}


class Packed(torch.nn.Module):
    def __init__(self, kind, bidirectional, in_order):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(4, 3, 2, batch_first=True, bidirectional=bidirectional)
        self.in_order = in_order

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=self.in_order)
        packed = PackedSequence(torch.tanh(packed.data), *packed[1:])
        packed, states = self.rnn(packed)
        return pad_packed_sequence(packed, batch_first=True, padding_value=2.0, total_length=7), states


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_of_any_length(kind, bidirectional, in_order):
    net = Packed(kind, bidirectional, in_order).eval()
    with followed(net):
        program = torch.export.export(net, (torch.rand(3, 6, 4), torch.tensor([6, 6, 6])), strict=False)
    for lengths in ([6, 4, 1], [5, 5, 2]) if in_order else ([2, 6, 4], [3, 1, 5]):
        given = torch.rand(3, 6, 4), torch.tensor(lengths)
        torch.testing.assert_close(program.module()(*given), net(*given))
