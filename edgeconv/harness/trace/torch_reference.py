"""A PyTorch model open at every module: forward hooks record what each call was fed and gave."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.harness.trace.points import Array, Arrays, Fed, Point
from edgeconv.source import ModelSource


class TorchReference:
    """See `points.Reference`. Runs in a worker process that may import the user's model."""

    def __init__(self, source: ModelSource) -> None:
        import torch

        from edgeconv.source import loading

        torch.set_num_threads(1)
        self._module = loading.load(source).module
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], int]] = []
        self._points: list[Point] = []
        #: By id: the tensor (kept alive), its version (which in-place operators raise), its point, whether it is an input.
        self._makers: dict[int, tuple[Any, int, int | None, bool]] = {}
        self._open: list[tuple[list[Fed], tuple[Any, ...], dict[str, Any]]] = []  # calls that have not returned
        self._recording = False
        self._seen: dict[str, int] = {}
        for name, module in self._module.named_modules():
            module.register_forward_pre_hook(self._before(module), with_kwargs=True)
            module.register_forward_hook(self._after(name, module), with_kwargs=True)

    def observe(self, inputs: Arrays) -> tuple[list[Point], Arrays]:
        """See Reference."""
        import torch

        self._calls, self._points, self._open, self._seen = [], [], [], {}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        self._makers = {id(tensor): (tensor, tensor._version, None, True) for tensor in tensors.values()}
        self._recording = True
        try:
            outputs = self._run(tensors)
        finally:
            self._recording = False
        return self._points, outputs

    def replay(self, point: int, fed: list[Array]) -> Array:
        """See Reference."""
        import torch

        module, args, kwargs, output = self._calls[point]
        values = iter(fed)

        def swap(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return torch.from_numpy(np.array(next(values))).to(value.dtype).reshape(value.shape)

        with torch.no_grad():
            found = module(*_mapped(swap, args), **_mapped(swap, kwargs))
        return _numpy(_tensors(found)[output])

    def disturbed(self, inputs: Arrays, point: int, error: Array) -> Arrays:
        """See Reference."""
        import torch

        module, _, _, output = self._calls[point]
        nth = sum(1 for one in self._calls[:point] if one[0] is module and one[3] == output)
        count = 0

        def add(_module: Any, _args: Any, result: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 != nth:
                return None
            wanted = _tensors(result)[output]
            return _mapped(lambda one: one + torch.from_numpy(error).to(one.dtype) if one is wanted else one, result)

        handle = module.register_forward_hook(add)
        try:
            return self._run({name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
        finally:
            handle.remove()

    def _run(self, tensors: dict[str, Any]) -> Arrays:
        from edgeconv.source import loading

        found = loading.flatten(loading.call(self._module, tensors, copies=False))
        return {name: _numpy(tensor) for name, tensor in found.items()}

    def _before(self, module: Any) -> Any:
        def hook(_module: Any, args: Any, kwargs: Any) -> None:
            if not self._recording:
                return
            fed = []
            for tensor in [*_tensors(args), *_tensors(kwargs)]:
                _, version, producer, is_input = self._makers.get(id(tensor), (None, None, None, False))
                same = version == tensor._version
                fed.append(Fed(producer if same else None, is_input and same, _numpy(tensor)))
            kept = (_mapped(_copied, args), _mapped(_copied, kwargs)) if _is_leaf(module) else ((), {})
            self._open.append((fed, *kept))

        return hook

    def _after(self, name: str, module: Any) -> Any:
        def hook(_module: Any, _args: Any, _kwargs: Any, result: Any) -> None:
            if not self._recording:
                return
            fed, args, kwargs = self._open.pop()
            call = self._seen[name] = self._seen.get(name, 0) + 1
            leaf = _is_leaf(module)
            for number, tensor in enumerate(_tensors(result)):
                if not tensor.is_floating_point():
                    continue
                label = (name or "(model)") + (f"#{call}" if call > 1 else "") + (f"[{number}]" if number else "")
                # a wrapper's output is its last child's, unless an operator between has changed it
                known = self._makers.get(id(tensor))
                if leaf or known is None or known[1] != tensor._version:
                    self._makers[id(tensor)] = (tensor, tensor._version, len(self._points), False)
                self._points.append(Point(label, type(module).__name__, _numpy(tensor), fed, leaf))
                self._calls.append((module, args, kwargs, number))

        return hook


def _is_leaf(module: Any) -> bool:
    return not any(True for _ in module.children())


def _tensors(value: Any) -> list[Any]:
    """The tensors in nested tuples, lists and dicts, in order."""
    import torch
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _mapped(change: Any, value: Any) -> Any:
    from torch.utils import _pytree

    return _pytree.tree_map(change, value)


def _copied(value: Any) -> Any:
    import torch

    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _numpy(tensor: Any) -> Array:
    return np.array(tensor.detach().numpy())
