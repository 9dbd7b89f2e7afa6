"""Forwards that take lists, dicts or constants: the same module as a function of its tensors by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from edgeconv.errors import InputMismatch
from edgeconv.source.calling import INNER, flatten, is_script, know_containers, path_name

#: What stands in a forward's arguments beside tensors; it is part of the converted model as it is.
_CONSTANTS = (bool, int, float, str, type(None))


def by_tensors(module: Any, given: Any) -> tuple[Any, Any]:
    """The module and its example inputs, with arguments that hold several tensors spread out to one name a tensor.

    A forward(image, cache) with cache = [(k, v)] takes image, cache_0_0 and cache_0_1 then. What is no tensor keeps the
    value of the example. Where every argument is one tensor, both are returned as they came; unless the module has a part
    with a name that torch.fx needs for itself, such as `meta`.

    Args:
        module: torch.nn.Module.
        given: a tensor, a tuple or list of arguments, or a dict of keywords, or None.

    Raises:
        InputMismatch: an argument holds something that is neither a tensor nor a constant, or none holds a tensor.
    """
    import torch

    arguments = _bound(module, given)
    if arguments is None:
        return module, given
    if all(isinstance(one, (torch.Tensor, type(None))) for one in arguments.values()) and not _clashes(module):
        return module, given
    know_containers(arguments)
    tensors: dict[str, Any] = {}
    slots: list[Any] = []
    leaves, structure = torch.utils._pytree.tree_flatten_with_path(arguments)
    for path, leaf in leaves:
        name = re.sub(r"\W", "_", path_name(path))
        while isinstance(leaf, torch.Tensor) and name in tensors:
            name += "_"
        if isinstance(leaf, torch.Tensor):
            tensors[name] = leaf
        elif not isinstance(leaf, _CONSTANTS):
            raise InputMismatch(
                f"the example input {name!r} is {type(leaf).__name__}, not a tensor",
                hint="a forward may take tensors, lists, tuples and dicts of them, numbers and strings",
            )
        slots.append((name, isinstance(leaf, torch.Tensor), leaf))
    if not tensors:
        raise InputMismatch("no example input is a tensor", hint="give at least one tensor, or convert its constants")
    return _spread(module, slots, structure), tensors


def only_tensors(module: Any, output: Any) -> Any:
    """The module, giving nothing but tensors by name where `output`, which it gave, holds numbers or None beside them."""
    import torch

    if all(isinstance(leaf, torch.Tensor) for leaf in torch.utils._pytree.tree_leaves(output)) or not flatten(output):
        return module

    return _wrapped(module, lambda inner, tensors: flatten(inner(**tensors)))


def _clashes(module: Any) -> bool:
    import torch

    taken = {"meta", *dir(torch.fx.GraphModule)} - set(dir(torch.nn.Module))
    return not taken.isdisjoint([*module._modules, *module._parameters, *module._buffers])


def _bound(module: Any, given: Any) -> dict[str, Any] | None:
    """The arguments by the forward's names, with *args as a tuple and **kwargs as a dict; None where they do not fit."""
    if not isinstance(given, (tuple, list, dict)) or is_script(module):
        return None
    try:
        signature = inspect.signature(module.forward)
        bound = signature.bind_partial(**given) if isinstance(given, dict) else signature.bind_partial(*given)
    except (TypeError, ValueError):
        return None
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    keywords = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD), "")
    bound.arguments.update(bound.arguments.pop(keywords, {}))  # every module is called with one tensor a keyword
    return dict(bound.arguments)


def _spread(module: Any, slots: list[tuple[str, bool, Any]], structure: Any) -> Any:
    """`module` as a module, in the same mode, that takes by name the tensors among the slots (name, is a tensor, value)."""
    import torch

    parameters = inspect.signature(module.forward).parameters.values()
    before = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
    if rest is not None:
        before = [p.name for p in parameters if p.kind.name.startswith("POSITIONAL")]

    def called(inner: Any, tensors: dict[str, Any]) -> Any:
        leaves = [tensors[name] if is_tensor else value for name, is_tensor, value in slots]
        arguments = torch.utils._pytree.tree_unflatten(leaves, structure)
        first = [arguments.pop(name) for name in before if name in arguments]
        first += arguments.pop(rest, ()) if rest is not None else ()
        return inner(*first, **arguments)

    return _wrapped(module, called)


def _wrapped(module: Any, call: Callable[[Any, dict[str, Any]], Any]) -> Any:
    """A module around `module`, in the same mode, whose forward is `call(module, tensors by name)`."""
    import torch

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            setattr(self, INNER, module)
            self.training = module.training

        def forward(self, **tensors: Any) -> Any:
            return call(getattr(self, INNER), tensors)

    Wrapped.__name__ = type(module).__name__  # which error messages say
    return Wrapped()
