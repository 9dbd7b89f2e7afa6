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
    "alias clone contiguous cumsum detach diagonal expand flatten flip gather index index_select "
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
            if any(map(_is_pair, torch.utils._pytree.tree_leaves(found, is_leaf=_is_pair))):
                raise ValueError("an output is complex")
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
                raise ValueError(f"{name} writes through {through}")
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


def _is_pair(one: Any) -> bool:
    return isinstance(one, Pair)


def _called(target: Any, args: Any, kwargs: Any) -> Any:
    """One operator on whatever it is given."""
    import torch

    if target is operator.getitem:
        return target(*args)
    leaves = torch.utils._pytree.tree_leaves((args, kwargs), is_leaf=_is_pair)
    pairs = any(map(_is_pair, leaves))
    name = _name(target)
    if name in _FILLED and kwargs.get("dtype") is not None and kwargs["dtype"].is_complex:
        re = target(*_whole(args), **{**kwargs, "dtype": kwargs["dtype"].to_real()})
        return Pair(re, torch.zeros_like(re))
    if name in _MAKES:
        return _MAKES[name](*args)
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
    """The operator on all real parts, and on all imaginary ones."""
    import torch

    def part(place: int) -> Any:
        def of(one: Any) -> Any:
            return one[place] if _is_pair(one) else one

        return torch.utils._pytree.tree_map(of, (args, kwargs), is_leaf=_is_pair)

    (re_args, re_kwargs), (im_args, im_kwargs) = part(0), part(1)
    re, im = target(*re_args, **re_kwargs), target(*im_args, **im_kwargs)
    if isinstance(re, (tuple, list)):
        return [Pair(*both) for both in zip(re, im, strict=True)]
    return Pair(re, im)


def _mixed(target: Any, args: Any, kwargs: Any) -> Any:
    """The same where some of the values are real: those have an imaginary part of zero."""
    places = _VALUES[_name(target)]
    paired = [
        ([*map(_pair, one)] if isinstance(one, (list, tuple)) and not _is_pair(one) else _pair(one))
        if place in places
        else one
        for place, one in enumerate(args)
    ]
    return _alike(target, paired, kwargs)


def _functional(name: str, args: Any, kwargs: Any) -> Any:
    """What an operator that writes into its first argument writes there."""
    import torch

    if name in _COMPUTED:
        return _COMPUTED[name](*args, **kwargs)
    if name in _VALUES:
        packet = getattr(torch.ops.aten, name)
        overloads = [getattr(packet, overload) for overload in packet.overloads()]
        target = next(one for one in overloads if len(one._schema.arguments) >= len(args) and "out" not in str(one))
        return _mixed(target, args, kwargs)
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
    """A bilinear operator: four real products, or two where one side is real."""

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


def _complex(re: Any, im: Any) -> Pair:
    """Tensors of their own, as torch.complex makes one."""
    import torch

    return Pair(*(part.clone() for part in torch.broadcast_tensors(re, im)))


def _polar(size: Any, angle: Any) -> Pair:
    return Pair(size * angle.cos(), size * angle.sin())


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _to(x: Pair, *args: Any, **kwargs: Any) -> Any:
    """Another dtype: of a real one only the real part is left."""
    import torch

    kind = next((one for one in (*args, *kwargs.values()) if isinstance(one, torch.dtype)), torch.complex64)
    return x if kind.is_complex else x.re.to(kind)


def _zeros(x: Pair, size: Any = None, *, dtype: Any = None, **_: Any) -> Any:
    import torch

    shape = x.re.shape if size is None else size
    return Pair(x.re.new_zeros(shape), x.re.new_zeros(shape)) if dtype is None else torch.zeros(shape, dtype=dtype)


def _filled(x: Pair, value: Any = 0.0) -> Pair:
    value = _pair(value)
    return Pair(x.re * 0 + value.re, x.im * 0 + value.im)


def _masked(x: Pair, mask: Any, value: Any) -> Pair:
    value = _pair(value)
    return Pair(x.re.masked_fill(mask, value.re), x.im.masked_fill(mask, value.im))


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
#: What makes a pair of real tensors.
_MAKES: dict[str, Callable[..., Any]] = {
    "view_as_complex": _from_real,
    "complex": _complex,
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
    "to": _to,
    "_to_copy": _to,
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
    "zeros_like": _zeros,
    "new_zeros": _zeros,
    "masked_fill": _masked,
    "copy": lambda _, values, *__: _pair(values),
    **{name: _product_by(name) for name in ("matmul", "mm", "bmm", "einsum", "outer", "mv", "dot")},
}
