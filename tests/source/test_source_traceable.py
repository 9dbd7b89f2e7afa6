"""What torch.export makes of modules that read their own tensors."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

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
