"""Programs on pairs compute what PyTorch computes on complex tensors, also where something is written into one."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgeconv.stages import capture, complex_pairs

M = torch.tensor([[True, False, True, False]])
TURN = torch.polar(torch.ones(4), torch.arange(4.0))


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.rope = nn.Module()
        self.rope.register_buffer("freqs", TURN.clone())
        self.register_buffer("rope_freqs", torch.full((4,), 5.0))
        self._function = function

    def forward(self, x, y):
        return self._function(self, x, y)


def programs(function):
    net = Net(function)
    x, y = torch.rand(4, 4) + 0.5, torch.rand(4, 4) - 0.5
    program = torch.export.export(net, (x, y), strict=False)
    assert complex_pairs.has_complex(program)
    return net, complex_pairs.without_complex(program, {"x": x, "y": y})


def in_place(_, x, y):
    x = x * 1
    z = torch.complex(x, y)
    z *= 2j
    return z.abs() + x


def turned(_, x, y):
    z = torch.complex(x, y)
    z[:] = torch.complex(-z.imag, z.real)
    return torch.view_as_real(z)


def halves(_, x, y):
    z = torch.complex(x, y)
    a, _b = z.chunk(2, -1)
    a *= 3
    return z.abs()


def zeroed(_, x, y):
    z = torch.complex(x, y)
    z[:, 1:] = 0
    z[0] = y[0]
    return torch.view_as_real(z)


@pytest.mark.parametrize(
    "function",
    [
        in_place,
        turned,
        halves,
        zeroed,
        lambda _, x, y: torch.complex(x[:, :1], y[:1]).sum().abs(),
        lambda _, x, y: torch.view_as_real(torch.where(M, torch.complex(x, y), 1.0)),
        lambda _, x, y: torch.view_as_real(torch.where(M, torch.complex(x, y), M.long())),
        lambda _, x, y: torch.view_as_real(torch.complex(x, y).scatter(1, torch.tensor([[2], [0], [1], [3]]), 1.0)),
        lambda _, x, y: torch.complex(x, y).to(torch.float32).abs(),
        lambda _, x, y: torch.nn.functional.pad(torch.complex(x, y), (0, 2)).abs(),
        lambda _, x, y: torch.nn.functional.pad(torch.complex(x, y), (1, 2), value=1.5).imag,
        lambda _, x, y: torch.nn.functional.pad(torch.complex(x, y), (2, 1), "reflect").angle(),
        lambda _, x, y: torch.zeros_like(torch.complex(x, y), dtype=torch.float32) + torch.complex(x, y).abs(),
        lambda self, x, y: (torch.complex(x, y) * self.rope.freqs).abs() * self.rope_freqs,
        lambda _, x, y: torch.view_as_real(torch.complex(x, y) * torch.tensor(1j)),
        lambda _, x, y: torch.stack(torch.complex(x, y).unbind(1)).imag,
        lambda _, x, y: nn.functional.pad(torch.complex(x, y), (1, 1), value=1.0).imag,
    ],
)
def test_pairs_compute_as_complex_tensors_do(function):
    net, program = programs(function)
    x, y = torch.rand(4, 4) + 0.5, torch.rand(4, 4) - 0.5
    torch.testing.assert_close(program.module()(x=x, y=y), net(x.clone(), y.clone()))
    rest = {value.dtype for node in program.graph.nodes if hasattr(value := node.meta.get("val"), "dtype")}
    assert not any(dtype.is_complex for dtype in rest) or "pad" in str(program.graph)


def seen_as_real(_, x, y):
    z = torch.complex(x, y)
    torch.view_as_real(z)[..., 1] = 0
    return z.abs()


def conjugated(_, x, y):
    z = torch.complex(x, y)
    w = z.conj()
    w *= 2
    return z.abs()


@pytest.mark.parametrize("function", [seen_as_real, conjugated, lambda _, x, y: torch.complex(x, y)])
def test_what_pairs_cannot_follow_is_refused(function):
    with pytest.raises(complex_pairs.NoForm, match=r"writes through|is complex"):
        programs(function)


@pytest.mark.parametrize(
    ("function", "reason"),
    [(seen_as_real, "writes through view_as_real"), (lambda _, x, y: torch.polar(x, y).abs(), "")],
)
def test_a_program_says_why_its_numbers_stay_complex(function, reason):
    net, example = Net(function), {"x": torch.rand(4, 4) + 0.5, "y": torch.rand(4, 4)}
    program = torch.export.export(net, (), kwargs=example, strict=False)
    said = capture.stays_complex(capture.traced(SimpleNamespace(program=program, example=example)))
    assert reason in said
    assert bool(reason) == bool(said)
