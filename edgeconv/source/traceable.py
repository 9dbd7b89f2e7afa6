"""Ways through PyTorch's own modules that torch.export can take, where they have several that compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def prefer() -> Callable[[], None]:
    """Choose them in this process; returns what takes it back.

    The fast path of transformers in eval mode is an operator of its own, which has no other form, and leaves zeros where a
    padding mask says so. Whether a mask is the causal one is found out by comparing its values, only to be computed faster.
    """
    import torch
    from torch.nn.modules import transformer

    enabled = torch.backends.mha.get_fastpath_enabled()
    detect = transformer._detect_is_causal_mask

    def as_told(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        del mask, size
        return is_causal is True

    torch.backends.mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = as_told

    def restore() -> None:
        torch.backends.mha.set_fastpath_enabled(enabled)
        transformer._detect_is_causal_mask = detect

    return restore


def followed(module: Any) -> Any:
    """A mode under which torch.export takes two things that it otherwise loses.

    `x.data` is x.detach(). And Python may read values that come of buffers and parameters alone, as int(self.stride.max())
    does: they are constant, but the tensors that stand for them while a program is traced hold none.
    """
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    real = {name: one.detach().clone() for name, one in _state(module) if one.numel() <= _MOST_READ}
    known: dict[int, tuple[Any, Any]] = {}
    written: list[bool] = []

    def value_of(one: Any) -> Any:
        if written:
            return None
        if not known:
            known.update({id(one): (one, real[name]) for name, one in _state(module) if name in real})
        return known.get(id(one), (None, None))[1]

    class Follow(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(function, "__name__", "")
            if function == torch.Tensor.data.__get__:
                function = torch.Tensor.detach
            if name in _READS and value_of(args[0]) is not None:
                with _disable_current_modes():
                    return function(value_of(args[0]))
            args, kwargs = self._sizes(name, args, kwargs or {})
            made = function(*args, **kwargs)
            self._note(function, name, args, kwargs, made)
            return made

        def _sizes(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
            """Known integers where sizes stand, as F.pad(x, (self.left, self.right)): no method of the tensors reads those."""

            def number(one: Any) -> Any:
                if isinstance(one, slice):
                    return slice(number(one.start), number(one.stop), number(one.step))
                if isinstance(one, torch.Tensor) and one.dim() == 0 and not one.is_floating_point():
                    real = value_of(one)
                    return one if real is None else real.item()
                return one

            def numbers(one: Any) -> Any:
                return type(one)(map(number, one)) if type(one) in (tuple, list) else number(one)

            if name not in _SIZED or not args:
                return args, kwargs
            with _disable_current_modes():
                return (args[0], *map(numbers, args[1:])), {key: numbers(one) for key, one in kwargs.items()}

        def _note(self, function: Any, name: str, args: Any, kwargs: Any, made: Any) -> None:
            """Compute the same from the real values, where all are known; after a write into one, none is."""
            tensors = [one for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
            if not tensors:
                return
            in_place = name.endswith("_") and not name.endswith("__") and name not in {"requires_grad_", "detach_"}
            if in_place or name in _WRITES or function == torch.Tensor.data.__set__ or "out" in kwargs:
                into = torch.utils._pytree.tree_leaves(kwargs.get("out", tensors[0]))
                written.extend([True] if any(value_of(one) is not None for one in into) else [])
                return
            if (
                not isinstance(made, torch.Tensor)
                or made.numel() > _MOST_READ
                or any(value_of(one) is None for one in tensors)
            ):
                return
            with _disable_current_modes():
                swapped = torch.utils._pytree.tree_map(
                    lambda one: value_of(one) if isinstance(one, torch.Tensor) else one, (args, kwargs)
                )
                known[id(made)] = (made, function(*swapped[0], **swapped[1]))

    return Follow()


#: Writes that are not told by a name with an underscore behind.
_WRITES = frozenset("__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__".split())
#: What takes sizes behind its first argument.
_SIZED = frozenset(
    "pad constant_pad_nd view reshape expand repeat tile roll unflatten split chunk narrow interpolate __getitem__ "
    "new_zeros new_ones new_full new_empty".split()
)
#: How Python reads a tensor's value, and how large what may be read is at most.
_READS, _MOST_READ = frozenset({"item", "tolist", "__bool__", "__float__", "__index__", "__int__"}), 4096


def _state(module: Any) -> list[tuple[str, Any]]:
    """A module's buffers and parameters; none of other callables."""
    return [*module.named_buffers(), *module.named_parameters()] if hasattr(module, "named_buffers") else []
