"""Complex tensors as pairs of real ones, before the exporter sees them.

TFLite has none, and the exporter knows some operators on them. Rotary embeddings, state-space kernels and vocoders turn, slice
and multiply complex tensors whose ends are real again (`abs`, `view_as_real`, an inverse transform): the same program of
real and imaginary parts. Operators that are not here, Fourier transforms above all, get a complex tensor made of the
pair for themselves and give one back; the exporter translates those that it can.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from edgeconv.stages.complex_math import COMPUTED, MAKES, NoForm, Pair, is_pair, pair_of

#: Operators that do the same to both parts.
_ALIKE = frozenset(
    "alias clone contiguous cumsum detach diagonal expand flatten flip gather index index_select "
    "lift_fresh_copy masked_select mean movedim narrow neg permute repeat reshape roll select slice split "
    "split_with_sizes squeeze sum t transpose tril triu unbind unflatten unfold unsqueeze view _unsafe_view chunk "
    "swapaxes fft_fftshift fft_ifftshift tile repeat_interleave".split()
)
#: What makes tensors of one number, real or not as their dtype says.
_FILLED = frozenset("zeros ones empty full new_zeros new_ones new_empty zeros_like ones_like empty_like".split())
#: Operators on several values of which some may be real, and which arguments those are.
_VALUES: dict[str, tuple[int, ...]] = {
    "cat": (0,),
    "stack": (0,),
    "where": (1, 2),
    "slice_scatter": (0, 1),
    "select_scatter": (0, 1),
    "index_put": (0, 2),
    "index_copy": (0, 3),
    "index_add": (0, 3),
    "scatter": (0, 3),
    "constant_pad_nd": (0, 2),
}


def has_complex(program: Any) -> bool:
    """Whether any value of a torch.export program is complex."""
    return any(
        getattr(value, "dtype", None) is not None and value.dtype.is_complex
        for node in program.graph.nodes
        for value in _values(node.meta.get("val"))
    )


def _values(found: Any) -> Sequence[Any]:
    return found if isinstance(found, (tuple, list)) else [found]


def without_complex(program: Any, example: dict[str, Any]) -> Any:
    """The program traced anew, with pairs where it has complex tensors.

    Args:
        program: torch.export.ExportedProgram with real inputs and outputs.
        example: its inputs by name.

    Raises:
        NoForm: something in it has none on pairs, and what.
        Exception: whatever torch.export raises.
    """
    import torch

    from edgeconv.source.calling import INNER

    class OnPairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = program.module()
            setattr(self, INNER, inner)
            self.pairs: dict[str, str] = {}  # the stem of its parts' names by the name of a complex weight
            for name in sorted({node.target for node in inner.graph.nodes if node.op == "get_attr"}):
                tensor = operator.attrgetter(name)(inner)
                if isinstance(tensor, torch.Tensor) and tensor.is_complex():
                    self.pairs[name] = stem = f"pair_{len(self.pairs)}"
                    parts = torch.view_as_real(tensor.detach().resolve_conj())
                    for part, key in enumerate(Pair._fields):
                        self.register_buffer(f"{stem}_{key}", parts[..., part].clone())
                    above, _, own = name.rpartition(".")
                    delattr(inner.get_submodule(above), own)

        def forward(self, **tensors: Any) -> Any:
            found = _interpreter(self, getattr(self, INNER)).run(*tensors.values())
            if any(map(is_pair, torch.utils._pytree.tree_leaves(found, is_leaf=is_pair))):
                raise NoForm("an output is complex")
            return found

    _refuse_writes_through(program.graph)
    return torch.export.export(OnPairs(), (), kwargs=dict(example), strict=False)


def _refuse_writes_through(graph: Any) -> None:
    """Raise where something is written into a view that is none of the parts: a pair seen as one tensor, or conjugated."""
    for node in graph.nodes:
        name = _name(node.target)
        base: Any = node.args[0] if name.endswith("_") and not name.endswith("__") and node.args else None
        while hasattr(base, "target"):
            through = _name(base.target)
            if through in {"view_as_real", "_conj", "conj", "resolve_conj"}:
                raise NoForm(f"{name} writes through {through}")
            base = base.args[0] if through in _ALIKE | {"getitem"} and base.args else None


def _name(target: Any) -> str:
    packet = getattr(target, "overloadpacket", None)
    return str(getattr(packet if packet is not None else target, "__name__", ""))


def _interpreter(holder: Any, graph_module: Any) -> Any:
    import torch

    class Interpreter(torch.fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            if target in holder.pairs:
                return Pair(*(getattr(holder, f"{holder.pairs[target]}_{key}") for key in Pair._fields))
            return super().get_attr(target, args, kwargs)

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return _called(target, args, kwargs)

    return Interpreter(graph_module)


def _called(target: Any, args: Any, kwargs: Any) -> Any:
    """One operator on whatever it is given."""
    import torch

    if target is operator.getitem:
        return target(*args)
    leaves = torch.utils._pytree.tree_leaves((args, kwargs), is_leaf=is_pair)
    pairs = any(map(is_pair, leaves))
    name = _name(target)
    if name in _FILLED and kwargs.get("dtype") is not None and kwargs["dtype"].is_complex:
        re = target(*_whole(args), **{**kwargs, "dtype": kwargs["dtype"].to_real()})
        return Pair(re, torch.zeros_like(re))
    if name in MAKES:
        return MAKES[name](*args)
    if not pairs and not any(isinstance(one, complex) for one in leaves):
        made = target(*args, **kwargs)
    elif name in _ALIKE:
        return _alike(target, args, kwargs)
    elif name in _VALUES:
        return _mixed(target, args, kwargs)
    elif name == "_assert_tensor_metadata":
        return None  # of a tensor that is not there any more
    elif name in {"detach_", "requires_grad_"}:
        return args[0]
    elif name.endswith("_") and is_pair(args[0]):
        return _written(args[0], _functional(name[:-1], args, kwargs))
    elif name in COMPUTED:
        return COMPUTED[name](*args, **kwargs)
    else:
        made = target(*_whole(args), **_whole(kwargs))
    return torch.utils._pytree.tree_map(_apart, made)


def _whole(given: Any) -> Any:
    """Complex tensors for pairs."""
    import torch

    def joined(one: Any) -> Any:
        return torch.complex(one.re, one.im) if is_pair(one) else one

    return torch.utils._pytree.tree_map(joined, given, is_leaf=is_pair)


def _apart(one: Any) -> Any:
    """A pair for a complex tensor."""
    import torch

    if isinstance(one, torch.Tensor) and one.is_complex():
        parts = torch.view_as_real(one)
        return Pair(
            parts[..., 0].clone(), parts[..., 1].clone()
        )  # what is written into them is no part of a complex one
    return one


def _alike(target: Any, args: Any, kwargs: Any) -> Any:
    """The operator on all real parts, and on all imaginary ones."""
    import torch

    def part(place: int) -> Any:
        def of(one: Any) -> Any:
            return one[place] if is_pair(one) else one

        return torch.utils._pytree.tree_map(of, (args, kwargs), is_leaf=is_pair)

    (re_args, re_kwargs), (im_args, im_kwargs) = part(0), part(1)
    re, im = target(*re_args, **re_kwargs), target(*im_args, **im_kwargs)
    if isinstance(re, (tuple, list)):
        return [Pair(*both) for both in zip(re, im, strict=True)]
    return Pair(re, im)


def _mixed(target: Any, args: Any, kwargs: Any) -> Any:
    """The same where some of the values are real: those have an imaginary part of zero."""
    places = _VALUES[_name(target)]
    paired = [
        ([*map(pair_of, one)] if isinstance(one, (list, tuple)) and not is_pair(one) else pair_of(one))
        if place in places
        else one
        for place, one in enumerate(args)
    ]
    return _alike(target, paired, kwargs)


def _functional(name: str, args: Any, kwargs: Any) -> Any:
    """What an operator that writes into its first argument writes there."""
    import torch

    if name in COMPUTED:
        return COMPUTED[name](*args, **kwargs)
    if name in _VALUES:
        packet = getattr(torch.ops.aten, name)
        overloads = [getattr(packet, overload) for overload in packet.overloads()]
        target = next(one for one in overloads if len(one._schema.arguments) >= len(args) and "out" not in str(one))
        return _mixed(target, args, kwargs)
    raise NoForm(f"{name} in place has no form on pairs")


def _written(into: Any, values: Pair) -> Pair:
    into.re.copy_(values.re)
    into.im.copy_(values.im)
    return into
