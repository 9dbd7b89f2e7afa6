"""What torch.export makes of modules that read their own tensors."""

import pytest
import torch

from edgeconv.source.traceable import followed


def exported(module, x):
    """The program's outputs on another input, beside the module's own."""
    with followed(module):
        program = torch.export.export(module, (x,), strict=False)
    other = x + torch.rand(x.shape)
    torch.testing.assert_close(program.module()(other), module(other))
    return program


class Net(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.left = torch.nn.Buffer(torch.tensor(2))
        self.rate = torch.nn.Buffer(torch.tensor(0.5))
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
    ],
    ids=["pad", "slice", "view", "factor", "new", "computed"],
)
def test_sizes_that_are_buffers(forward):
    exported(Net(forward), torch.rand(2, 6))


def test_a_buffer_that_the_forward_wrote_is_not_known_any_more():
    def forward(self, x):
        self.left.add_(1)
        return x * int(self.left)

    with pytest.raises(Exception, match=r"(?i)data.dependent|unbacked"), followed(net := Net(forward)):
        torch.export.export(net, (torch.rand(2, 6),), strict=False)
