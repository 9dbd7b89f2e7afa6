"""Why a node test or an operator is not expected to pass: the only place where one is excused."""

from __future__ import annotations

import re

import numpy as np

from tests.coverage.node_tests import Case

_STRINGS = "strings: TFLite's builtins have none"
_SEQUENCES = "a sequence of tensors: TFLite's graphs hold tensors only"
_CHANCE = "random numbers: two runtimes never draw the same"

#: Operators that TFLite's builtins cannot represent.
CANNOT_OPS: dict[str, str] = {
    "ConcatFromSequence": _SEQUENCES,
    "MaxRoiPool": "the size of each region depends on data",
    "Multinomial": _CHANCE,
    "RandomNormal": _CHANCE,
    "RandomNormalLike": _CHANCE,
    "RandomUniform": _CHANCE,
    "RandomUniformLike": _CHANCE,
    "SequenceAt": _SEQUENCES,
    "SequenceConstruct": _SEQUENCES,
    "SequenceEmpty": _SEQUENCES,
    "SequenceErase": _SEQUENCES,
    "SequenceInsert": _SEQUENCES,
    "SequenceLength": _SEQUENCES,
    "SplitToSequence": _SEQUENCES,
    "StringNormalizer": _STRINGS,
    "TfIdfVectorizer": "counts n-grams: text belongs before the model",
}

#: The same for single node tests, by a pattern of their names.
CANNOT_TESTS: dict[str, str] = {
    r"test_batchnorm_.*_training_mode": "training mode: the statistics are outputs of a training step",
    r"test_training_dropout.*": _CHANCE,
    r"test_unique_sorted_with.*_axis.*": "sorts and compares whole slices; UNIQUE takes a vector",
}
#: Node tests that could be represented and fail, each with its reason.
EXCEPTIONS: dict[str, str] = {
    "test_roialign_mode_max": "takes the largest weighted corner, where its text says the largest sample",
    "test_scan_sum": "opset 8, older than the 9 that edgeconv reads: its Scan has a batch axis, which onnx's converter drops",
    "test_resize_downsample_scales_linear_align_corners": "places pixels by a size of 2.4; onnxruntime and PyTorch by 2",
    "test_resize_downsample_scales_cubic_align_corners": "places pixels by a size of 3.2; onnxruntime and PyTorch by 3",
}

#: Dtypes that an input or output of a .tflite can have and a builtin computes with, or casts from.
DTYPES = frozenset("float64 float32 float16 int64 int32 int16 int8 uint8 bool".split())


def cannot(case: Case) -> str:
    """Why a node test cannot be represented in TFLite builtins; empty if it can."""
    arrays = [value for value in [*case.feeds.values(), *case.wanted] if value is not None]
    if any(not isinstance(value, np.ndarray) for value in arrays):
        return _SEQUENCES
    kinds = [value.dtype for value in arrays]
    if any(kind.kind in "OSU" for kind in kinds):
        return _STRINGS
    other = sorted({kind.name for kind in kinds} - DTYPES)
    if other:
        return f"dtype {', '.join(other)}: no TFLite kernel computes with it"
    if any(0 in value.shape for value in arrays):
        return "a tensor without elements"
    if case.op in CANNOT_OPS:
        return CANNOT_OPS[case.op]
    return next((reason for pattern, reason in CANNOT_TESTS.items() if re.fullmatch(pattern, case.name)), "")
