"""Arithmetic of complex numbers as pairs of real tensors: what `complex_pairs` puts for PyTorch's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class NoForm(ValueError):
    """A program does with a complex tensor what cannot be done with a pair."""


class Pair(NamedTuple):
    """Real and imaginary part, of one shape."""

    re: Any
    im: Any


def is_pair(one: Any) -> bool:
    """Whether something stands for a complex tensor."""
    return isinstance(one, Pair)


def pair_of(one: Any) -> Pair:
    """A number or a real tensor as a pair."""
    import torch

    if is_pair(one):
        return one
    if isinstance(one, torch.Tensor):
        return Pair(one, torch.zeros_like(one))
    return Pair(one.real, one.imag)


def _is_real(one: Any) -> bool:
    return not is_pair(one) and not isinstance(one, complex)


def _multiply(a: Any, b: Any) -> Pair:
    if _is_real(a):
        a, b = b, a
    a = pair_of(a) if is_pair(a) or isinstance(a, complex) else a
    if _is_real(b):
        return Pair(a.re * b, a.im * b)
    b = pair_of(b)
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def _divide(a: Any, b: Any) -> Pair:
    if _is_real(b):
        return Pair(a.re / b, a.im / b)
    b = pair_of(b)
    norm = b.re * b.re + b.im * b.im
    return _multiply(a, Pair(b.re / norm, -(b.im / norm)))


def _sum_of(sign: int) -> Callable[..., Pair]:
    def computed(a: Any, b: Any, alpha: Any = 1) -> Pair:
        a, b = pair_of(a), _multiply(b, sign * alpha) if is_pair(b) else pair_of(b * (sign * alpha))
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
    if not is_pair(x) or not _is_real(exponent):
        raise NoForm("powers of complex exponents have no form of real operators here")
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
    value = pair_of(value)
    return Pair(x.re * 0 + value.re, x.im * 0 + value.im)


def _padded(x: Pair, widths: Any, mode: str = "constant", value: Any = None) -> Pair:
    import torch

    number = pair_of(value or 0.0)
    fills = number if mode == "constant" else (None, None)
    pad = torch.nn.functional.pad
    return Pair(*(pad(part, widths, mode, fill) for part, fill in zip(x, fills, strict=True)))


def _masked(x: Pair, mask: Any, value: Any) -> Pair:
    value = pair_of(value)
    return Pair(x.re.masked_fill(mask, value.re), x.im.masked_fill(mask, value.im))


#: What makes a pair of real tensors.
MAKES: dict[str, Callable[..., Any]] = {
    "view_as_complex": _from_real,
    "complex": _complex,
    "polar": _polar,
}
COMPUTED: dict[str, Callable[..., Any]] = {
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
    "pad": _padded,
    "constant_pad_nd": lambda x, widths, value=0.0: _padded(x, widths, "constant", value),
    "copy": lambda _, values, *__: pair_of(values),
    **{name: _product_by(name) for name in ("matmul", "mm", "bmm", "einsum", "outer", "mv", "dot")},
}
