"""Loads a checkpoint into a module: tensors only, every key and every shape as the module has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeconv.errors import BrokenModelFile, Untrusted, WeightsMismatch
from edgeconv.source.calling import first_line, some


def load_weights(module: Any, path: Path) -> None:
    """Read `path` and put it into `module`.

    Raises:
        BrokenModelFile: truncated, or no checkpoint.
        Untrusted: it holds more than tensors.
        WeightsMismatch: keys or shapes that do not fit, named.
    """
    state = _read(path)
    own = module.state_dict()
    extra = sorted(set(state) - set(own))
    missing = sorted(name for name in set(own) - set(state) if not _is_tied(name, own, state))
    misshapen = [
        f"{name} is {_shape(state[name])}, the module wants {_shape(own[name])}"
        for name in sorted(set(own) & set(state))
        if _shape(own[name]) != _shape(state[name])
    ]
    parts = [f"{label} {some(names)}" for label, names in (("missing:", missing), ("unknown:", extra)) if names]
    parts += [some(misshapen)] if misshapen else []
    if parts:
        raise _mismatch(path, "; ".join(parts))
    try:
        module.load_state_dict(state, strict=False)  # keys were compared above; what is absent shares a present tensor
    except Exception as error:
        raise _mismatch(path, first_line(error)) from error


def _mismatch(path: Path, what: str) -> WeightsMismatch:
    return WeightsMismatch(
        f"the checkpoint {path.name} does not fit the module: {what}",
        hint="was it saved from the same architecture and configuration?",
    )


def _read(path: Path) -> dict[str, Any]:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported global" in str(error):
            raise Untrusted(
                f"{path} holds more than tensors: loading it would execute code",
                hint="save the state_dict alone, best as safetensors",
            ) from error
        raise BrokenModelFile(
            f"the checkpoint {path} cannot be read: {first_line(error)}", hint="is the file complete?"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise BrokenModelFile(
            f"the checkpoint {path} holds {type(state).__name__}, not tensors by name",
            hint="save module.state_dict(), best as safetensors",
        )
    return {str(name): value for name, value in state.items()}


def _is_tied(name: str, own: dict[str, Any], state: dict[str, Any]) -> bool:
    """The tensor is another name of one that the checkpoint has; safetensors keeps such tensors once."""
    return any(other in state and _same_tensor(own[name], own[other]) for other in own)


def _same_tensor(a: Any, b: Any) -> bool:
    if not hasattr(a, "data_ptr") or not hasattr(b, "data_ptr"):
        return False
    return bool(a.data_ptr() and a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.dtype == b.dtype)


def _shape(value: Any) -> Any:
    """A tensor's shape; the type's name of anything else."""
    return tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
