"""Packed sequences while a program is traced: all steps of all sequences, and how long each is.

PyTorch packs without the steps behind a sequence's end; how many are left depends on the lengths' values, and torch.export
stops there. Kept whole, the sizes are known, and a recurrent net that is told the lengths computes the same: `recurrent`,
an operator that ONNX has (its recurrent nodes take `sequence_lens`) and PyTorch has not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
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
    """What stands for packed sequences in one trace: the lengths by their `batch_sizes`.

    Their data has rows that PyTorch would not have. What treats each row for itself may have it; of anything else the result
    would be another.

    Args:
        value_of: a tensor's value, if it is constant.
        tell: takes a tensor and its value.
    """

    def __init__(self, value_of: Callable[[Any], Any], tell: Callable[[Any, Any], None]) -> None:
        self.steps: set[int] = set()
        self._value_of, self._tell = value_of, tell
        self._lengths: dict[int, tuple[Any, Any]] = {}
        self._data: dict[int, Any] = {}

    def called(self, name: str, args: Any, kwargs: Any) -> Any:
        """What a function of PyTorch gives of packed sequences; None if it is to be called itself.

        Raises:
            ValueError: it would see rows that are not there in PyTorch.
        """
        if name == "_pack_padded_sequence":
            return self._pack(*args)
        if len(args) > 1 and id(args[1]) in self._lengths:
            if name == "_pad_packed_sequence":
                return self._pad(*args)
            if name in KINDS:
                return self._recurrent(name, *args)
        first = name == "__getitem__" and type(args[1]) is int and args[1] == 0
        if name not in _LOOKS and name not in _BY_ROW and not (first and id(args[0]) in self._lengths):
            self.refuse(name, (args, kwargs))
        return None

    def note(self, name: str, args: Any, made: Any) -> None:
        """What is computed of packed data row by row is packed data."""
        if name in _BY_ROW and any(id(one) in self._data for one in args):
            self._data[id(made)] = made

    def refuse(self, name: str, given: Any) -> None:
        """Raise if anything packed is among what is given."""
        import torch

        if not self._lengths:
            return
        for one in torch.utils._pytree.tree_leaves(given, is_leaf=lambda one: isinstance(one, torch.Tensor)):
            if id(one) in self._data or id(one) in self._lengths:
                raise ValueError(f"{name} of a packed sequence depends on how long the sequences are")

    def _pack(self, x: Any, lengths: Any, batch_first: bool) -> Any:
        import torch

        x = x.transpose(0, 1) if batch_first else x
        known = self._value_of(lengths)
        with _disabled():
            steps = x.shape[0] if known is None else int(known.max())
            value = torch.full((steps,), x.shape[1], dtype=torch.int64)
        x, sizes = x[:steps], torch.full((steps,), x.shape[1], dtype=torch.int64)
        self._tell(sizes, value)
        self._lengths[id(sizes)] = (sizes, (lengths, known is not None))
        return self._rows(x.flatten(0, 1)), sizes

    def _rows(self, data: Any) -> Any:
        self._data[id(data)] = data
        return data

    def _pad(self, data: Any, sizes: Any, batch_first: bool, value: float, total: int) -> Any:
        import torch

        lengths, known = self._lengths[id(sizes)][1]
        count, steps = lengths.shape[0], sizes.shape[0]
        if total == steps and not known:
            self.steps.add(steps)
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
        lengths = self._lengths[id(sizes)][1][0]
        states = list(states) if kind == "lstm" else [states]
        x = data.unflatten(0, (sizes.shape[0], lengths.shape[0]))
        out, *last = recurrent()(x, lengths, states, list(weights), kind, has_biases, num_layers, bidirectional)
        return self._rows(out.flatten(0, 1)), *last


def _disabled() -> Any:
    from torch.utils._python_dispatch import _disable_current_modes

    return _disable_current_modes()


#: What only looks at a tensor's form.
_LOOKS = frozenset(
    "__get__ __set__ size dim ndimension numel is_floating_point is_complex stride type get_device".split()
)
#: What treats each row of its first argument for itself, the others being weights or numbers.
_BY_ROW = frozenset(
    "linear embedding dropout alpha_dropout feature_dropout relu relu_ relu6 gelu silu mish tanh sigmoid elu selu celu "
    "leaky_relu hardtanh hardswish hardsigmoid softplus softsign prelu layer_norm rms_norm batch_norm normalize mul add sub "
    "div __mul__ __add__ __sub__ __truediv__ __rmul__ __radd__ abs exp log sqrt square neg clamp to float cpu contiguous "
    "clone detach type_as requires_grad_".split()
)
