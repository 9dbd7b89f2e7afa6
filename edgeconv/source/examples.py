"""Example inputs of a model: what the factory gave, what the user declared, and the specs of both together."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from edgeconv.errors import InputMismatch
from edgeconv.source.calling import SEED, call, dtype_of
from edgeconv.source.inputs import DTYPES, InputSpec
from edgeconv.source.model import ModelSource


def inputs_of(source: ModelSource, given: Any, names: list[str]) -> tuple[dict[str, Any], tuple[InputSpec, ...]]:
    """Example tensors by name and their specs, in the forward's order.

    Args:
        source: with the inputs that the user declared; these win over `given`.
        given: a tensor, a tuple or a dict of tensors, or None.
        names: of the forward's parameters; empty where it takes any.

    Raises:
        InputMismatch: nothing tells the inputs, or what tells them does not fit the forward.
    """
    import torch

    if given is None and not source.inputs:
        raise InputMismatch(
            f"{source.reference} tells no example inputs",
            hint=f"say --input {names[0] if names else 'NAME'}=1x3x224x224, or return (module, example_inputs)",
        )
    given = _by_name(given, names)
    declared: dict[str, InputSpec] = {}
    for spec in source.inputs:
        if spec.name in declared:
            raise InputMismatch(f"the input {spec.name!r} is declared twice", hint="leave out one of the two")
        declared[spec.name] = spec
    known = names or list(given or declared)
    for name in [*declared, *given]:
        if name not in known:
            raise InputMismatch(f"the forward has no input {name!r}", hint=f"its inputs are: {', '.join(known)}")
    example, specs = {}, []
    generator = np.random.default_rng(SEED)
    for name in known:
        tensor = given.get(name)
        if name not in declared and tensor is None:
            continue
        if tensor is not None and not isinstance(tensor, torch.Tensor):
            raise InputMismatch(
                f"the example input {name!r} is {type(tensor).__name__}, not a tensor",
                hint="give a tensor of the shape and dtype that the model will meet",
            )
        tensor = tensor.detach() if tensor is not None else None
        spec = declared.get(name) or spec_of(name, tensor)
        if source.batch is not None and spec.shape:
            spec = replace(spec, shape=(source.batch, *spec.shape[1:]))
        if tensor is None or tuple(tensor.shape) != spec.shape or dtype_of(tensor) != spec.dtype:
            tensor = torch.from_numpy(np.array(spec.sample(generator)))
        example[name] = tensor.cpu().contiguous()
        specs.append(spec)
    return example, tuple(specs)


def _by_name(given: Any, names: list[str]) -> dict[str, Any]:
    import torch

    if given is None:
        return {}
    if isinstance(given, torch.Tensor):
        given = (given,)
    if isinstance(given, (tuple, list)):
        if not names:
            raise InputMismatch(
                "the forward does not name its inputs (*args)",
                hint="give the example inputs as a dict, to a forward that takes keywords",
            )
        if len(given) > len(names):
            raise InputMismatch(
                f"{len(given)} example inputs for a forward that takes {len(names)}: {', '.join(names)}",
                hint="give one tensor for each; a list that is one argument goes into a tuple: (module, ([a, b],))",
            )
        return dict(zip(names, given, strict=False))
    if not isinstance(given, dict):
        raise InputMismatch(
            f"the example inputs are {type(given).__name__}, not tensors", hint="give a tuple or a dict of tensors"
        )
    return {str(name): tensor for name, tensor in given.items()}


def spec_of(name: str, tensor: Any) -> InputSpec:
    """A spec with the range that the example shows."""
    dtype, shape = dtype_of(tensor), tuple(tensor.shape)
    if dtype not in DTYPES:
        raise InputMismatch(
            f"the example input {name!r} is {dtype}, which no target takes", hint=f"use one of {', '.join(DTYPES)}"
        )
    if tensor.numel() == 0:
        raise InputMismatch(
            f"the example input {name!r} has no elements (shape {shape})", hint="give it its real shape"
        )
    low, high = float(tensor.min()), float(tensor.max())
    if dtype.startswith(("int", "uint", "bool")):
        return InputSpec(name, shape, dtype, low, high)
    shown = _shown_range(tensor, low, high)
    return InputSpec(name, shape, dtype, *shown) if shown is not None else InputSpec(name, shape, dtype)


def _shown_range(tensor: Any, low: float, high: float) -> tuple[float, float] | None:
    """A range for floats, or None for a standard normal: what the example looks like, or where it is all one value, a dummy.

    Models take logarithms of a noise level and square roots of a variance: what is positive in the example stays positive.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    if low == high:
        high = low * 1.5
        return (
            (low / 2, high)
            if low > 0 and tensor.numel() == 1 and math.isfinite(float(tensor.new_tensor(high)))
            else None
        )
    if low >= 0:
        return (0.0, 1.0) if high <= 1 else (low, high)
    spread, middle = float(tensor.float().std()), abs(float(tensor.float().mean()))
    return None if high > 0 and 0.3 <= spread <= 3 and middle < spread else (low, high)


def within_tables(
    module: Any, example: dict[str, Any], specs: tuple[InputSpec, ...], declared: Collection[str]
) -> tuple[InputSpec, ...]:
    """The specs, with integers whose columns index tables of different sizes kept within the smallest.

    Categories of several features often come in one tensor, [rows, features], and the range of all of it is too large for
    most columns. Whether it is shows by calling the module; the range is then the one that the column with the smallest
    largest value shows.

    Args:
        module: takes the inputs by name.
        example: an input of each name.
        specs: as the example shows them.
        declared: names whose range the user gave, which stays.
    """
    import torch

    found = []
    for spec in specs:
        open_to = spec.name not in declared and spec.dtype.startswith(("int", "uint")) and len(spec.shape) > 1
        if open_to and spec.high is not None:
            most = int(example[spec.name].reshape(-1, spec.shape[-1]).amax(0).min())
            found.append(replace(spec, high=float(max(most, spec.low or 0))))
        else:
            found.append(spec)
    narrow = tuple(found)
    if narrow == specs:
        return specs

    def out_of_range(some: tuple[InputSpec, ...]) -> bool:
        generator = np.random.default_rng(SEED)
        try:
            call(module, {spec.name: torch.from_numpy(np.array(spec.sample(generator))) for spec in some})
        except InputMismatch as error:
            return isinstance(error.__cause__, IndexError)
        return False

    return narrow if out_of_range(specs) and not out_of_range(narrow) else specs
