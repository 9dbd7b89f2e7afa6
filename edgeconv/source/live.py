"""Freezes a module that lives in the user's process, so that a worker process can load it."""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path
from typing import Any

from edgeconv.errors import SourceError
from edgeconv.source import calling, examples, nesting, traceable
from edgeconv.source.inputs import InputSpec
from edgeconv.source.model import ModelSource


def freeze(module: Any, example_inputs: Any, specs: tuple[InputSpec, ...], path: Path) -> tuple[InputSpec, ...]:
    """Export a live module in eval mode to a torch.export archive; the module's own mode is restored.

    Args:
        module: torch.nn.Module.
        example_inputs: a tensor, a tuple or a dict of tensors, or None where `specs` tell all.
        specs: shapes, dtypes and ranges by input name.
        path: `.pt2` file to write.

    Returns:
        The inputs' specs in the order of the forward.

    Raises:
        SourceError: what is wrong with the module or its inputs, or that it cannot be traced.
    """
    import torch

    source = ModelSource("live", "factory", type(module).__name__, Path.cwd(), inputs=specs)
    modes = {child: child.training for child in module.modules()}
    restore = traceable.prefer()
    try:
        for sentence in calling.to_eval(module):
            warnings.warn(sentence, stacklevel=2)
        module, example_inputs = nesting.by_tensors(module, example_inputs)
        example, found = examples.inputs_of(source, example_inputs, calling.parameter_names(module))
        module = nesting.only_tensors(module, calling.check_deterministic(module, example))
        program, told = traceable.exported(module, example, found)
        for sentence in told:
            warnings.warn(sentence, stacklevel=2)
        torch.export.save(program, path)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"torch.export could not trace {type(module).__name__}: {calling.first_line(error)}{calling.place(error)}",
            hint="control flow that depends on tensor values cannot be exported: use torch.where or torch.cond",
            detail=traceback.format_exc(),
        ) from error
    finally:
        restore()
        for child, mode in modes.items():
            child.training = mode
    return found
