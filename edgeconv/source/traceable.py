"""Ways through PyTorch's own modules that torch.export can take, where they have several that compute the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeconv.source.packed import Packer


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


def exported(module: Any, example: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, list[str]]:
    """A torch.export program, and what must be said of it: sentences for the report.

    Where sizes would depend on numbers that the module reads of an input, these are taken for constants if the input has but
    one value (lengths of an example that has no padding).

    Args:
        module: with a forward that takes `example` by name.
        example: tensors by input name.
        inputs: their specs.

    Raises:
        Exception: whatever torch.export raises.
    """
    steady = {spec.name: example[spec.name] for spec in inputs if _has_one_value(spec)}
    try:
        program, seen = _once(module, example, {})
    except Exception:
        if not steady:
            raise
        return _told(*_once(module, example, steady))
    if steady and _has_open_sizes(program):
        with contextlib.suppress(Exception):  # then the first one is what there is
            return _told(*_once(module, example, steady))
    return _told(program, seen)


def _once(module: Any, example: Mapping[str, Any], steady: Mapping[str, Any]) -> tuple[Any, Any]:
    import torch

    with followed(module, steady) as seen:
        return torch.export.export(module, (), kwargs=dict(example), strict=False), seen


def _told(program: Any, seen: Any) -> tuple[Any, list[str]]:
    told = []
    if seen.read:
        told.append(
            f"the model reads numbers of {' or '.join(sorted(seen.read))}, as a rule for a size: in the file they are what "
            "the example's value gives, and conditions on them are decided"
        )
    if seen.steps:
        told.append(
            f"pad_packed_sequence gives {' or '.join(map(str, sorted(seen.steps)))} steps in the file, PyTorch as many as the "
            "longest sequence has; total_length makes both the same"
        )
    return program, told


def _has_one_value(spec: Any) -> bool:
    """Whether a spec is that of lengths or of a count, and allows one value only."""
    return (
        spec.dtype.startswith(("int", "uint"))
        and len(spec.shape) <= 1
        and spec.low is not None
        and spec.low == spec.high
    )


def _has_open_sizes(program: Any) -> bool:
    import torch

    return any(
        isinstance(size, torch.SymInt)
        for node in program.graph.nodes
        for one in torch.utils._pytree.tree_leaves(node.meta.get("val"))
        if isinstance(one, torch.Tensor)
        for size in one.shape
    )


def followed(module: Any, steady: Mapping[str, Any] | None = None) -> Any:
    """A mode under which torch.export takes what it otherwise loses.

    `x.data` is x.detach(). And Python may read values that come of buffers and parameters alone, as int(self.stride.max())
    does: they are constant, but the tensors that stand for them while a program is traced hold none.

    Args:
        module: what is traced under it.
        steady: inputs by name whose value never changes, or may be taken for that: of them (and what is constant) numbers
            may be read too, as int(lengths.max()) does for a size. `if lengths.max() > 9` stays an error; a number, once it
            is read, may decide a condition.

    Returns:
        A context manager; its `read` tells of which of `steady` a number was read, its `steps` the lengths that packed
        sequences were padded to.
    """
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    known = _Known(module, steady or {})
    packer = Packer(known.constant, known.tell)

    class Follow(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        read, steps = known.read, packer.steps
        _hooks: Any = ()

        def __enter__(self) -> Any:
            if hasattr(module, "register_forward_pre_hook"):
                self._hooks = (
                    module.register_forward_pre_hook(known.start, with_kwargs=True),
                    module.register_forward_hook(lambda _, args, out: packer.refuse("the forward's return", out)),
                )
            return super().__enter__()

        def __exit__(self, *raised: Any) -> Any:
            for hook in self._hooks:
                hook.remove()
            return super().__exit__(*raised)

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.compiler.is_dynamo_compiling():  # branches of torch.cond
                return function(*args, **(kwargs or {}))
            name = getattr(function, "__name__", "")
            if function == torch.Tensor.data.__get__:
                function = torch.Tensor.detach
            if name in _READS and known.may_read(name, args[0]):
                with _disable_current_modes():
                    return function(known.value_of(args[0]))
            args, kwargs = known.sizes(name, args, kwargs or {})
            made = packer.called(name, args, kwargs)
            if made is not None:
                return made
            made = function(*args, **kwargs)
            packer.note(name, args, made)
            known.note(function, name, args, kwargs, made)
            return made

    return Follow()


class _Known:
    """The values of tensors in a trace that come of a module's state, of constants, and of `steady` inputs."""

    def __init__(self, module: Any, steady: Mapping[str, Any]) -> None:
        self.read: set[str] = set()
        self._module, self._steady = module, steady
        self._state = {name: one.detach().clone() for name, one in _state(module) if one.numel() <= _MOST_READ}
        self._real: dict[int, tuple[Any, Any]] = {}
        self._supposed: dict[int, set[str]] = {}  # by id, the names of `steady` without which it were not known
        self._lost: dict[int, Any] = {}  # storages that were written into; kept, that no other has their address

    def start(self, _: Any, args: Any, kwargs: Any) -> None:
        """Before the forward: what stands for the module's state and its inputs now."""
        del args
        self._real.update(
            {id(one): (one, self._state[name]) for name, one in _state(self._module) if name in self._state}
        )
        for name in self._steady.keys() & kwargs.keys():
            self._real[id(kwargs[name])] = (kwargs[name], self._steady[name])
            self._supposed[id(kwargs[name])] = {name}

    def constant(self, one: Any) -> Any:
        """A tensor's value, if it is the same for all inputs; or None."""
        return None if id(one) in self._supposed else self.value_of(one)

    def tell(self, one: Any, value: Any) -> None:
        """Set a tensor's value."""
        self._real[id(one)] = (one, value)

    def value_of(self, one: Any) -> Any:
        """A tensor's value, or None."""
        import torch

        if (
            type(one) is torch.Tensor
        ):  # no buffer; what stands for others in the trace has a type of its own, or is wrapped
            wrapped = torch._C._functorch.is_functorch_wrapped_tensor(one) or torch._is_functional_tensor(one)
            found = None if wrapped or one.device.type == "meta" or one.layout != torch.strided else one
        else:
            found = self._real.get(id(one), (None, None))[1]
        return None if found is None or found.untyped_storage()._cdata in self._lost else found

    def may_read(self, name: str, one: Any) -> bool:
        """Whether a way to read a tensor (see `_READS`) can be answered, and may."""
        if self.value_of(one) is None or (id(one) in self._supposed and name == "__bool__"):
            return False
        self.read.update(self._supposed.get(id(one), ()))
        return True

    def sizes(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Known integers where sizes stand, as F.pad(x, (self.left, self.right)): no method of the tensors reads those."""
        import torch
        from torch.utils._python_dispatch import _disable_current_modes

        def number(one: Any) -> Any:
            if isinstance(one, slice):
                return slice(number(one.start), number(one.stop), number(one.step))
            if (
                isinstance(one, torch.Tensor)
                and one.dim() == 0
                and one.dtype in {torch.int64, torch.int32, torch.int16}
            ):
                return self.value_of(one).item() if self.may_read(name, one) else one
            return one

        def numbers(one: Any) -> Any:
            return type(one)(map(number, one)) if type(one) in (tuple, list) else number(one)

        if not args or name not in _SIZED | _MADE:
            return args, kwargs
        with _disable_current_modes():
            if name in _MADE:
                return (tuple(map(numbers, args)) if name in _OF_SIZES else args), kwargs
            return (args[0], *map(numbers, args[1:])), {key: numbers(one) for key, one in kwargs.items()}

    def note(self, function: Any, name: str, args: Any, kwargs: Any, made: Any) -> None:
        """Compute the same from the real values, where all are known; what is written into is not any more."""
        import torch
        from torch.utils._python_dispatch import _disable_current_modes

        leaves = torch.utils._pytree.tree_leaves((args, kwargs))
        tensors = [one for one in leaves if isinstance(one, torch.Tensor)]
        if any(isinstance(one, (torch.SymInt, torch.SymFloat, torch.SymBool)) for one in leaves):
            tensors = []
        if not tensors and name not in _MADE:
            return
        in_place = name.endswith("_") and not name.endswith("__") and name not in {"requires_grad_", "detach_"}
        if in_place or name in _WRITES or function == torch.Tensor.data.__set__ or "out" in kwargs:
            for one in torch.utils._pytree.tree_leaves(kwargs.get("out", tensors[0])):
                self._lose(one)
            return
        made = made if isinstance(made, (tuple, list)) else [made]
        if any(word in name for word in _RANDOM) or any(self.value_of(one) is None for one in tensors):
            return
        if not all(isinstance(one, torch.Tensor) and _is_small(one) for one in made):
            return
        with _disable_current_modes():
            args, kwargs = torch.utils._pytree.tree_map(
                lambda one: self.value_of(one) if isinstance(one, torch.Tensor) else one, (args, kwargs)
            )
            found = function(*args, **kwargs)
        for one, value in zip(made, found if isinstance(found, (tuple, list)) else [found], strict=True):
            self._real[id(one)] = (one, value)
            names = set[str]().union(*(self._supposed.get(id(other), ()) for other in tensors))
            if names:
                self._supposed[id(one)] = names

    def _lose(self, one: Any) -> None:
        found = self.value_of(one)
        if found is None:
            return
        state = [*self._state.values(), *self._steady.values()]
        gone = state if any(found is own for own in state) else [found]  # of its state, one may be a view of another
        self._lost.update({own.untyped_storage()._cdata: own.untyped_storage() for own in gone})


#: Writes that are not told by a name with an underscore behind.
_WRITES = frozenset("__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__".split())
#: What takes sizes behind its first argument.
_SIZED = frozenset(
    "pad constant_pad_nd view reshape expand repeat tile roll unflatten split chunk narrow interpolate __getitem__ "
    "new_zeros new_ones new_full new_empty".split()
)
#: What makes constants of numbers.
_MADE = frozenset(
    "arange as_tensor asarray eye from_numpy full linspace logspace ones scalar_tensor tensor zeros".split()
)
#: Those of them whose arguments by place are sizes.
_OF_SIZES = frozenset("arange eye ones zeros".split())
_RANDOM = ("rand", "gumbel", "normal", "bernoulli", "multinomial", "dropout", "exponential", "poisson", "empty")
#: How Python reads a tensor's value, and how many elements what may be read has at most.
_READS = frozenset({"item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__index__", "__int__"})
_MOST_READ = 4096


def _is_small(one: Any) -> bool:
    return all(isinstance(size, int) for size in one.shape) and one.numel() <= _MOST_READ


def _state(module: Any) -> list[tuple[str, Any]]:
    """A module's buffers and parameters; none of other callables."""
    return [*module.named_buffers(), *module.named_parameters()] if hasattr(module, "named_buffers") else []
