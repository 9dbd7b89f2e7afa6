"""Packed sequences while a program is traced: all steps of all sequences, and how long each is.

PyTorch packs without the steps behind a sequence's end; how many are left depends on the lengths' values, and torch.export
stops there. Kept whole, the sizes are known, and a recurrent net that is told the lengths computes the same: `recurrent`,
an operator that ONNX has (its recurrent nodes take `sequence_lens`) and PyTorch has not.
"""

from __future__ import annotations

import functools
from typing import Any

#: ATen's recurrent nets.
KINDS = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


@functools.cache
def recurrent() -> Any:
    """The operator `edgeconv::recurrent`, registered in this process; programs that hold it cannot be loaded before.

    Its arguments: x [steps, batch, features], lengths [batch], the first states [layers · directions, batch, hidden] (two
    for an LSTM), the weights as ATen takes them, then kind (see `KINDS`), has_biases, num_layers, bidirectional. It returns the
    hidden states of the last layer [steps, batch, directions · hidden], zeros behind a sequence's end, and the last states.
    """
    import torch

    def computed(
        x: torch.Tensor, lengths: torch.Tensor, states: list[torch.Tensor], weights: list[torch.Tensor], kind: str,
        has_biases: bool, num_layers: int, bidirectional: bool,
    ) -> list[torch.Tensor]:  # fmt: skip
        order = torch.argsort(lengths, descending=True)
        back = torch.argsort(order)
        data, sizes = torch._VF._pack_padded_sequence(x[:, order], lengths[order].cpu(), False)
        first = [one[:, order] for one in states]
        made = getattr(torch._VF, kind)(
            data,
            sizes,
            first if kind == "lstm" else first[0],
            weights,
            has_biases,
            num_layers,
            0.0,
            False,
            bidirectional,
        )
        out, _ = torch._VF._pad_packed_sequence(made[0], sizes, False, 0.0, x.shape[0])
        return [one[:, back].contiguous() for one in (out, *made[1:])]

    computed.__annotations__ = {
        "x": torch.Tensor, "lengths": torch.Tensor, "states": list[torch.Tensor], "weights": list[torch.Tensor],
        "kind": str, "has_biases": bool, "num_layers": int, "bidirectional": bool, "return": list[torch.Tensor],
    }  # fmt: skip
    made = torch.library.custom_op("edgeconv::recurrent", computed, mutates_args=())

    def shaped(
        x: Any, lengths: Any, states: Any, weights: Any, kind: Any, has_biases: Any, num_layers: Any, bidirectional: Any
    ) -> Any:
        del lengths, weights, kind, has_biases, num_layers
        width = states[0].shape[-1] * (2 if bidirectional else 1)
        return [x.new_empty((*x.shape[:2], width)), *(torch.empty_like(one) for one in states)]

    made.register_fake(shaped)
    return torch.ops.edgeconv.recurrent.default


class Packer:
    """What stands for packed sequences in one trace: the lengths by their `batch_sizes`."""

    def __init__(self) -> None:
        self._lengths: dict[int, tuple[Any, Any]] = {}

    def called(self, name: str, args: Any) -> Any:
        """What a function of PyTorch gives of packed sequences; None if this is none of those."""
        if name == "_pack_padded_sequence":
            return self._pack(*args)
        if name == "__getitem__" and id(args[0]) in self._lengths and type(args[1]) is int and args[1] == 0:
            return self._lengths[id(args[0])][1].shape[0]  # how many sequences there are
        if len(args) > 1 and id(args[1]) in self._lengths:
            if name == "_pad_packed_sequence":
                return self._pad(*args)
            if name in KINDS:
                return self._recurrent(name, *args)
        return None

    def _pack(self, x: Any, lengths: Any, batch_first: bool) -> Any:
        import torch

        x = x.transpose(0, 1) if batch_first else x
        sizes = torch.full((x.shape[0],), x.shape[1], dtype=torch.int64)
        self._lengths[id(sizes)] = (sizes, lengths)
        return x.flatten(0, 1), sizes

    def _pad(self, data: Any, sizes: Any, batch_first: bool, value: float, total: int) -> Any:
        import torch

        lengths = self._lengths[id(sizes)][1]
        count, steps = lengths.shape[0], sizes.shape[0]
        data = data.unflatten(0, (steps, count))
        inside = torch.arange(steps, device=lengths.device)[:, None] < lengths
        data = torch.where(inside.reshape(steps, count, *[1] * (data.dim() - 2)), data, value)
        if total > steps:
            data = torch.cat([data, data.new_full((total - steps, *data.shape[1:]), value)])
        return data.transpose(0, 1) if batch_first else data, lengths

    def _recurrent(
        self, kind: str, data: Any, sizes: Any, states: Any, weights: Any, has_biases: bool, num_layers: int,
        dropout: float, train: bool, bidirectional: bool,
    ) -> Any:  # fmt: skip
        del dropout, train  # an evaluated model drops nothing
        lengths = self._lengths[id(sizes)][1]
        states = list(states) if kind == "lstm" else [states]
        x = data.unflatten(0, (sizes.shape[0], lengths.shape[0]))
        out, *last = recurrent()(x, lengths, states, list(weights), kind, has_biases, num_layers, bidirectional)
        return out.flatten(0, 1), *last
