"""Complex tensors as pairs of real ones, before the exporter sees them.

TFLite has none, and the exporter knows some operators on them. Rotary embeddings, state-space kernels and vocoders turn, slice
and multiply complex tensors whose ends are real again (`abs`, `view_as_real`, an inverse transform): the same program of
real and imaginary parts. Operators that are not here, Fourier transforms above all, get a complex tensor made of the
pair for themselves and give one back; the exporter translates those that it can.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """Real and imaginary part, of one shape."""

    re: Any
    im: Any


#: Operators that do the same to both parts.
_ALIKE = frozenset(
    "alias clone contiguous constant_pad_nd cumsum detach diagonal expand flatten flip gather index index_select "
    "lift_fresh_copy masked_select mean movedim narrow neg permute repeat reshape roll select slice split "
    "split_with_sizes squeeze sum t transpose tril triu unbind unflatten unfold unsqueeze view _unsafe_view chunk "
    "swapaxes fft_fftshift fft_ifftshift tile repeat_interleave".split()
)


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
        Exception: whatever torch.export raises.
    """
    import torch

    from edgeconv.source.calling import INNER

    class OnPairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = program.module()
            setattr(self, INNER, inner)
            for name in {node.target for node in inner.graph.nodes if node.op == "get_attr"}:
                tensor = operator.attrgetter(name)(inner)
                if isinstance(tensor, torch.Tensor) and tensor.is_complex():
                    parts = torch.view_as_real(tensor.detach().resolve_conj())
                    for part, key in enumerate(Pair._fields):
                        self.register_buffer(_part(name, key), parts[..., part].clone())

        def forward(self, **tensors: Any) -> Any:
            return _interpreter(self, getattr(self, INNER)).run(*tensors.values())

    return torch.export.export(OnPairs(), (), kwargs=dict(example), strict=False)


def _part(name: str, key: str) -> str:
    return f"{name.replace('.', '_')}_{key}"


def _interpreter(holder: Any, graph_module: Any) -> Any:
    import torch

    class Interpreter(torch.fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            if hasattr(holder, _part(target, "re")):
                return Pair(*(getattr(holder, _part(target, key)) for key in Pair._fields))
            return super().get_attr(target, args, kwargs)

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return _called(target, args, kwargs)

    return Interpreter(graph_module)


def _is_pair(one: Any) -> bool:
    return isinstance(one, Pair)


def _called(target: Any, args: Any, kwargs: Any) -> Any:
    """One operator on whatever it is given."""
    import torch

    leaves = torch.utils._pytree.tree_leaves((args, kwargs), is_leaf=_is_pair)
    pairs = any(map(_is_pair, leaves))
    name = target.overloadpacket.__name__ if isinstance(target, torch._ops.OpOverload) else ""
    if name in _FILLED and kwargs.get("dtype") is not None and kwargs["dtype"].is_complex:
        re = target(*args, **{**kwargs, "dtype": kwargs["dtype"].to_real()})
        return Pair(re, torch.zeros_like(re))
    if name in _MAKES:
        return _MAKES[name](*args, **{key: one for key, one in kwargs.items() if key in {"dim", "alpha"}})
    if not pairs and not any(isinstance(one, complex) for one in leaves):
        made = target(*args, **kwargs)
    elif name in _ALIKE or name in _MIXED:
        return _alike(target, args, kwargs)
    elif name.endswith("_") and _is_pair(args[0]):
        return _written(args[0], _functional(name[:-1], args, kwargs))
    elif name in _COMPUTED:
        return _COMPUTED[name](*args, **kwargs)
    else:
        made = target(*_whole(args), **_whole(kwargs))
    return torch.utils._pytree.tree_map(_apart, made)


def _whole(given: Any) -> Any:
    """Complex tensors for pairs."""
    import torch

    def joined(one: Any) -> Any:
        return torch.complex(one.re, one.im) if _is_pair(one) else one

    return torch.utils._pytree.tree_map(joined, given, is_leaf=_is_pair)


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
    """The operator on all real parts, and on all imaginary ones; what is real has an imaginary part of zero."""
    import torch

    mixed = target.overloadpacket.__name__ in _MIXED

    def part(place: int) -> Any:
        def of(one: Any) -> Any:
            if _is_pair(one):
                return one[place]
            if mixed and place and isinstance(one, torch.Tensor) and one.is_floating_point():
                return torch.zeros_like(one)
            return one

        return torch.utils._pytree.tree_map(of, (args, kwargs), is_leaf=_is_pair)

    (re_args, re_kwargs), (im_args, im_kwargs) = part(0), part(1)
    re, im = target(*re_args, **re_kwargs), target(*im_args, **im_kwargs)
    if isinstance(re, (tuple, list)):
        return [Pair(*both) for both in zip(re, im, strict=True)]
    return Pair(re, im)


def _functional(name: str, args: Any, kwargs: Any) -> Any:
    """What an operator that writes into its first argument writes there."""
    import torch

    if name in _COMPUTED:
        return _COMPUTED[name](*args, **kwargs)
    if name in _MIXED:
        packet = getattr(torch.ops.aten, name)
        overloads = [getattr(packet, overload) for overload in packet.overloads()]
        target = next(one for one in overloads if len(one._schema.arguments) >= len(args) and "out" not in str(one))
        return _alike(target, args, kwargs)
    raise ValueError(f"{name} in place has no form on pairs")


def _written(into: Any, values: Pair) -> Pair:
    into.re.copy_(values.re)
    into.im.copy_(values.im)
    return into


def _pair(one: Any) -> Pair:
    """A number or a real tensor as a pair."""
    import torch

    if _is_pair(one):
        return one
    if isinstance(one, torch.Tensor):
        return Pair(one, torch.zeros_like(one))
    return Pair(one.real, one.imag)


def _is_real(one: Any) -> bool:
    return not _is_pair(one) and not isinstance(one, complex)


def _multiply(a: Any, b: Any) -> Pair:
    if _is_real(a):
        a, b = b, a
    a = _pair(a) if _is_pair(a) or isinstance(a, complex) else a
    if _is_real(b):
        return Pair(a.re * b, a.im * b)
    b = _pair(b)
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def _divide(a: Any, b: Any) -> Pair:
    if _is_real(b):
        return Pair(a.re / b, a.im / b)
    b = _pair(b)
    norm = b.re * b.re + b.im * b.im
    return _multiply(a, Pair(b.re / norm, -(b.im / norm)))


def _sum_of(sign: int) -> Callable[..., Pair]:
    def computed(a: Any, b: Any, alpha: Any = 1) -> Pair:
        a, b = _pair(a), _multiply(b, sign * alpha) if _is_pair(b) else _pair(b * (sign * alpha))
        return Pair(a.re + b.re, a.im + b.im)

    return computed


def _product_by(name: str) -> Callable[..., Pair]:
    """A bilinear operator: three or four real products, none for a part that is zero."""

    def computed(*args: Any) -> Pair:
        import torch

        function = getattr(torch, name)
        if name == "einsum":
            before, (a, b) = args[:1], args[1]
            return _bilinear(lambda x, y: function(*before, [x, y]), a, b)
        return _bilinear(function, *args)

    return computed


def _bilinear(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Pair:
    if _is_real(a):
        return Pair(function(a, b.re), function(a, b.im))
    if _is_real(b):
        return Pair(function(a.re, b), function(a.im, b))
    return Pair(
        function(a.re, b.re) - function(a.im, b.im),
        function(a.re, b.im) + function(a.im, b.re),
    )


def _exp(x: Pair) -> Pair:
    return Pair(x.re.exp() * x.im.cos(), x.re.exp() * x.im.sin())


def _power(x: Any, exponent: Any) -> Any:
    """Whole powers by multiplication, others by the angle."""
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and 1 <= exponent <= 8:
        made = x
        for _ in range(int(exponent) - 1):
            made = _multiply(made, x)
        return made
    if not _is_pair(x) or not _is_real(exponent):
        raise ValueError("powers of complex exponents have no form of real operators here")
    size, angle = _length(x) ** exponent, _angle(x) * exponent
    return Pair(size * angle.cos(), size * angle.sin())


def _length(x: Pair) -> Any:
    import torch

    return torch.sqrt(x.re * x.re + x.im * x.im)


def _angle(x: Pair) -> Any:
    import torch

    return torch.atan2(x.im, x.re)


def _as_real(x: Any) -> Any:
    import torch

    return torch.stack(tuple(x), -1)


def _from_real(x: Any) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


def _polar(size: Any, angle: Any) -> Pair:
    return Pair(size * angle.cos(), size * angle.sin())


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _filled(x: Pair, value: Any = 0.0) -> Pair:
    value = _pair(value)
    return Pair(x.re * 0 + value.re, x.im * 0 + value.im)


def _masked(x: Pair, mask: Any, value: Any) -> Pair:
    value = _pair(value)
    return Pair(x.re.masked_fill(mask, value.re), x.im.masked_fill(mask, value.im))


#: What makes tensors of one number, real or not as their dtype says.
_FILLED = frozenset("zeros ones empty full new_zeros new_ones new_empty zeros_like ones_like empty_like".split())
#: Operators on several tensors of which some may be real.
_MIXED = frozenset("cat stack where slice_scatter select_scatter index_put index_copy index_add scatter".split())
#: What makes a pair of real tensors.
_MAKES: dict[str, Callable[..., Any]] = {
    "view_as_complex": _from_real,
    "complex": Pair,
    "polar": _polar,
}
_COMPUTED: dict[str, Callable[..., Any]] = {
    "view_as_real": _as_real,
    "real": lambda x: x.re,
    "imag": lambda x: x.im,
    "abs": _length,
    "angle": _angle,
    "_conj": lambda x: Pair(x.re, -x.im),
    "conj": lambda x: Pair(x.re, -x.im),
    "conj_physical": lambda x: Pair(x.re, -x.im),
    "_conj_physical": lambda x: Pair(x.re, -x.im),
    "resolve_conj": _same,
    "resolve_neg": _same,
    "to": _same,
    "mul": _multiply,
    "div": _divide,
    "add": _sum_of(1),
    "sub": _sum_of(-1),
    "rsub": lambda a, b, alpha=1: _sum_of(-1)(b, a, alpha),
    "square": lambda x: _multiply(x, x),
    "pow": _power,
    "reciprocal": lambda x: _divide(Pair(1.0, 0.0), x),
    "exp": _exp,
    "log": lambda x: Pair(_length(x).log(), _angle(x)),
    "fill": _filled,
    "zero": _filled,
    "zeros_like": lambda x, **_: _filled(x),
    "new_zeros": lambda x, size, **_: Pair(x.re.new_zeros(size), x.re.new_zeros(size)),
    "masked_fill": _masked,
    "copy": lambda _, values, *__: _pair(values),
    **{name: _product_by(name) for name in ("matmul", "mm", "bmm", "einsum", "outer", "mv", "dot")},
}
