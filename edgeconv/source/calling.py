"""Calls a model in eval mode, with tensors by name; says where in the user's code it fails."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgeconv.errors import InputMismatch, TrainingMode
from edgeconv.source.observe import is_users

#: Everything that could be drawn at random is drawn from this seed, so that every process gets the same.
SEED = 0
#: Attribute under which `nesting` keeps the user's module in its own.
INNER = "edgeconv_inner"


def is_script(module: Any) -> bool:
    """A TorchScript module: it takes no hooks and no keywords, and has no signature."""
    return type(module).__module__.startswith("torch.jit")


def to_eval(module: Any) -> list[str]:
    """Switch to eval mode; name what was in training mode, refuse what stays in it."""
    training = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
    module.eval()
    stuck = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
    if stuck:
        raise TrainingMode(
            f"still in training mode after eval(): {some(stuck)}",
            hint="its train() or eval() is overridden; let eval() reach it",
        )
    if not training:
        return []
    return [f"the model was left in training mode ({some(training)}); it was converted in eval mode"]


def parameter_names(module: Any) -> list[str]:
    """Names of the forward's parameters, in order; empty where it takes any."""
    if is_script(module):
        return [argument.name for argument in module.forward.schema.arguments[1:]]
    forward = getattr(module, "forward", module)
    with contextlib.suppress(ValueError, TypeError):
        any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [p.name for p in inspect.signature(forward).parameters.values() if p.kind not in any_number]
    return []


def call(module: Any, inputs: dict[str, Any], *, copies: bool = True) -> Any:
    """Run the module without gradients, on copies of its inputs: some forwards normalize theirs in place.

    Raises:
        InputMismatch: the forward raises on these inputs.
    """
    import torch

    try:
        with torch.no_grad():
            own = {name: tensor.clone() if copies else tensor for name, tensor in inputs.items()}
            return module(*own.values()) if is_script(module) else module(**own)
    except Exception as error:
        shapes = ", ".join(f"{name} {dtype_of(t)}{list(t.shape)}" for name, t in inputs.items())
        raise InputMismatch(
            f"the model's forward raised {type(error).__name__} on {shapes or 'no inputs'}: "
            f"{first_line(error)}{place(error)}",
            hint="check --input (shape and dtype) or the factory's example inputs; --traceback shows where",
            detail=traceback.format_exc(),
        ) from error


def check_deterministic(module: Any, example: dict[str, Any]) -> Any:
    """Call twice with different seeds; a difference means dropout or noise that eval mode does not switch off.

    Returns:
        What the first call gave.
    """
    import torch

    outputs = []
    raw: list[Any] = []
    seen: list[dict[str, float]] = []
    for seed in (SEED, SEED + 1):
        torch.manual_seed(seed)
        record: dict[str, float] = {}
        with _watched(module, record):
            raw.append(call(module, example))
        outputs.append(flatten(raw[-1]))
        seen.append(record)
    first, second = outputs
    if first.keys() != second.keys() or not all(_same(first[name], second[name]) for name in first):
        culprits = [name for name, total in seen[0].items() if total != seen[1].get(name)]
        named = [own_path(name) for name in culprits if own_path(name)] or [type(module).__name__]
        raise TrainingMode(
            f"two calls with the same input give different outputs; the first module that differs is {named[0]!r}",
            hint="dropout called with training=True, or random numbers in forward: tie them to self.training",
        )
    return raw[0]


@contextlib.contextmanager
def _watched(module: Any, record: dict[str, float]) -> Iterator[None]:
    """Record the sum of every submodule's first output, innermost first."""
    handles = []
    if not is_script(module):
        for name, child in module.named_modules():
            if is_script(child):
                continue

            def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
                first = next(iter(flatten(output).values()), None)
                if first is not None:
                    record.setdefault(name, float(first.double().nan_to_num().sum()))

            handles.append(child.register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.detach().numpy(), b.detach().numpy(), equal_nan=a.is_floating_point()))


def flatten(output: Any) -> dict[str, Any]:
    """The tensors of an output by name, in order: "output", or "output_0", …, or the keys of a dict or named tuple."""
    import torch

    if isinstance(output, torch.Tensor):
        return {"output": output}
    know_containers(output)
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(output)
    found: dict[str, Any] = {}
    for path, leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            name = path_name(path)
            found[name if not name[:1].isdigit() else f"output_{name}"] = leaf
    return found


def know_containers(tree: Any) -> None:
    """Tell PyTorch of dataclasses, dicts of other kinds and namespaces in an argument or a result: else they are leaves."""
    import torch

    pytree = torch.utils._pytree
    for leaf in pytree.tree_leaves(tree):
        kind = type(leaf)
        if kind in pytree.SUPPORTED_NODES or isinstance(leaf, (type, torch.Tensor)):
            continue
        if dataclasses.is_dataclass(leaf):
            torch.export.register_dataclass(kind)
        elif isinstance(leaf, dict) or kind is SimpleNamespace:
            _know_mapping(kind)
        elif _holds_tensors(leaf):
            _know_object(kind)
            try:
                pytree.tree_leaves(leaf)
            except RecursionError:  # a part that knows its whole: it stays what it is
                del pytree.SUPPORTED_NODES[kind]
                continue
        else:
            continue
        know_containers(leaf)
    _give_keys(pytree.tree_structure(tree))


def _give_keys(structure: Any) -> None:
    """Let a container's parts be named where its package told PyTorch only how to take it apart, as diffusers does."""
    import torch

    pytree = torch.utils._pytree
    kind, known = structure.type, pytree.SUPPORTED_NODES
    if kind in known and known[kind].flatten_with_keys_fn is None:
        flatten_ = known[kind].flatten_fn

        def with_keys(one: Any) -> tuple[list[tuple[Any, Any]], Any]:
            parts, context = flatten_(one)
            if isinstance(one, dict):
                return [(pytree.MappingKey(key), part) for key, part in zip(one, parts, strict=True)], context
            return [(pytree.SequenceKey(place), part) for place, part in enumerate(parts)], context

        known[kind] = known[kind]._replace(flatten_with_keys_fn=with_keys)
    for child in structure.children():
        _give_keys(child)


def _know_mapping(kind: type) -> None:
    import torch

    pytree = torch.utils._pytree

    def entries(one: Any) -> dict[Any, Any]:
        return dict(one) if isinstance(one, dict) else vars(one)

    pytree.register_pytree_node(
        kind,
        lambda one: (list(entries(one).values()), list(entries(one))),
        lambda values, keys: kind(**dict(zip(keys, values, strict=True))),
        flatten_with_keys_fn=lambda one: (
            [(pytree.MappingKey(key), value) for key, value in entries(one).items()],
            list(entries(one)),
        ),
        serialized_type_name=f"{kind.__module__}.{kind.__qualname__}",
    )


def _holds_tensors(one: Any, depth: int = 4) -> bool:
    """Whether an object's attributes are tensors, or hold some: transformers' caches have layers that have keys and values."""
    import torch

    if isinstance(one, torch.Tensor):
        return True
    # a list or a number of another kind is more than its attributes
    more = (torch.nn.Module, type, list, tuple, dict, set, str, bytes, int, float)
    if isinstance(one, more) or callable(one) or not hasattr(one, "__dict__") or not depth:
        return False
    leaves = torch.utils._pytree.tree_leaves(list(vars(one).values()))
    return any(_holds_tensors(leaf, depth - 1) for leaf in leaves)


def _know_object(kind: type) -> None:
    """Attributes that hold tensors are its parts; all else stays as it is."""
    import torch

    pytree = torch.utils._pytree

    def entries(one: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        parts: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in vars(one).items():
            leaves = pytree.tree_leaves(value)
            (parts if any(map(_holds_tensors, leaves)) else rest)[name] = value
        return parts, rest

    def made(values: Any, context: Any) -> Any:
        one: Any = object.__new__(kind)
        rest = {name: copy.copy(value) for name, value in context[1].items()}  # no call sees what another counted
        vars(one).update(rest, **dict(zip(context[0], values, strict=True)))
        return one

    def flat(one: Any) -> tuple[list[Any], Any]:
        parts, rest = entries(one)
        return list(parts.values()), (list(parts), rest)

    def flat_with_keys(one: Any) -> tuple[list[tuple[Any, Any]], Any]:
        parts, rest = entries(one)
        return [(pytree.GetAttrKey(name), value) for name, value in parts.items()], (list(parts), rest)

    pytree.register_pytree_node(
        kind, flat, made, flatten_with_keys_fn=flat_with_keys,
        serialized_type_name=f"{kind.__module__}.{kind.__qualname__}",
    )  # fmt: skip


def path_name(path: tuple[Any, ...]) -> str:
    """Such as "cache_0_key" for a leaf at ["cache"][0]["key"] of a container."""
    return "_".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def own_path(name: str) -> str:
    """A submodule's dotted name in the user's model, whatever it was wrapped in."""
    name = name.removeprefix("L['self'].")
    while name.startswith(INNER):
        name = name.removeprefix(INNER).removeprefix(".")
    return name


def outputs_of(module: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the module; its outputs by name. One that is called like an input gets "_output" behind: a graph has one namespace.

    Raises:
        InputMismatch: the forward raises on these inputs.
    """
    found: dict[str, Any] = {}
    for name, tensor in flatten(call(module, inputs)).items():
        while name in inputs or name in found:
            name += "_output"  # noqa: PLW2901
        found[name] = tensor
    return found


def dtype_of(tensor: Any) -> str:
    """Numpy's name of a tensor's dtype."""
    return str(tensor.dtype).removeprefix("torch.")


def some(names: list[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def place(error: BaseException) -> str:
    """Such as " (line 7 of net.py)": the innermost line of the user's code behind an error; empty if none took part."""
    found = ""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
            return f" (line {cause.lineno} of {cause.filename})"
        for frame in traceback.extract_tb(cause.__traceback__):
            file = Path(frame.filename)
            if file.is_file() and is_users(file):
                found = f" (line {frame.lineno} of {file})"
        cause = cause.__cause__ or cause.__context__
    return found
