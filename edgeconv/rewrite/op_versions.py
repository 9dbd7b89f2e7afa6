"""The oldest TFLite runtime that has each version of each builtin op.

Up to 2.12 the numbers are those of TensorFlow's own table (tensorflow/lite/tools/versioning/runtime_version); what tflite-runtime
2.14 takes beyond them was asked of it, op by op and version by version, and a test asks again. FULLY_CONNECTED 12 is for int8
weights with one scale an output channel under float activations: before 2.17 that is computed wrongly, whatever a file declares.
"""

from __future__ import annotations

from typing import Any

from edgeconv.rewrite import flatbuffer

#: Runtime by version, from version 1 on; "-" is a version that was never released.
_TABLE = """
ABS 1.13 2.4 2.5 2.6 2.14
ADD 1.5 1.14 2.4 2.6 2.14
ADD_N 1.14
ARG_MAX 1.9 1.14 2.9
ARG_MIN 1.9 1.14 2.9
ASSIGN_VARIABLE 2.6
ATAN2 2.10
AVERAGE_POOL_2D 1.5 1.14 2.3
BATCH_MATMUL 2.3 2.3 2.4 2.5
BATCH_TO_SPACE_ND 1.6 1.14 2.3 2.14
BIDIRECTIONAL_SEQUENCE_LSTM 1.14 1.14 1.14
BIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
BITCAST 2.14
BITWISE_XOR 2.14
BROADCAST_ARGS 2.6
BROADCAST_TO - 2.5 2.5
BUCKETIZE 2.8
CALL_ONCE 2.5
CAST 1.5 2.7 2.8 2.9 2.12
CEIL 1.14
COMPLEX_ABS 2.5
CONCATENATION 1.5 1.14 2.3 2.14
CONV_2D 1.5 1.14 1.14 2.3 2.4 2.9 2.14
CONV_3D 2.5
CONV_3D_TRANSPOSE 2.6
COS 1.14
CUMSUM 2.4
DENSIFY 2.2
DEPTH_TO_SPACE 2.1 2.5
DEPTHWISE_CONV_2D 1.5 1.12 1.14 2.2 2.3 2.3 2.14
DEQUANTIZE 1.13.1 1.14 1.15 2.2 2.7
DIV 1.6 2.3
DYNAMIC_UPDATE_SLICE 2.9
ELU 1.14
EMBEDDING_LOOKUP 1.13 1.14 1.14
EQUAL 1.14 1.14 2.3 2.14
EXP 1.7 2.14
EXPAND_DIMS 1.10
FILL 1.13 2.3 2.5 2.14
FLOOR 1.9
FLOOR_DIV 1.14 1.14 2.14
FLOOR_MOD 1.13 2.14
FULLY_CONNECTED 1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17
GATHER 1.6 1.14 1.15 2.4 2.5 2.14
GATHER_ND 1.14 2.3 2.5 2.14
GELU 2.9 2.9
GREATER 1.14 1.14
GREATER_EQUAL 1.14 1.14 2.14
HARD_SWISH 1.15
IF 1.15
IMAG 2.5
L2_NORMALIZATION 1.5 1.14
L2_POOL_2D 1.5
LEAKY_RELU 1.13.1 2.3
LESS 1.14 1.14 2.14
LESS_EQUAL 1.14 1.14
LOCAL_RESPONSE_NORMALIZATION 1.5
LOG 1.14
LOGICAL_AND 1.11
LOGICAL_NOT 1.11
LOGICAL_OR 1.11
LOGISTIC 1.14 1.14 2.3
LOG_SOFTMAX 1.14 1.14
LSTM 1.7 1.10 1.14 2.3
MATRIX_DIAG 1.14
MATRIX_SET_DIAG 1.14
MAXIMUM 1.14 1.14 2.3 2.3
MAX_POOL_2D 1.5 1.14 2.3
MEAN 1.6 1.14 2.4
MINIMUM 1.14 1.14 2.3 2.3
MIRROR_PAD 1.13.1 2.3 2.14
MUL 1.5 1.14 1.15 2.3 2.6 2.14 2.14
MULTINOMIAL 2.8
NEG 1.9
NON_MAX_SUPPRESSION_V4 2.1
NON_MAX_SUPPRESSION_V5 2.1
NOT_EQUAL 1.14 1.14 2.3
ONE_HOT 1.11
PACK 1.11 1.14 2.3 2.14
PAD 1.5 1.14 2.4 2.6
PADV2 1.9 1.14 2.4 2.6
POW 1.10
PRELU 1.8
QUANTIZE 1.14 1.15 2.7
RANDOM_STANDARD_NORMAL 2.8
RANDOM_UNIFORM 2.8
RANGE 1.13 2.14
RANK 1.14
READ_VARIABLE 2.6
REAL 2.5
REDUCE_ALL 2.6
REDUCE_ANY 1.11
REDUCE_MAX 1.11 1.14 2.5
REDUCE_MIN 1.11 1.14 2.5
REDUCE_PROD 1.11 2.6
RELU 1.5 2.1 2.5
RELU6 1.5 1.14 2.5
RELU_0_TO_1 2.10
RELU_N1_TO_1 1.5
RESHAPE 1.5
RESIZE_BILINEAR 1.7 1.14 2.2 2.5
RESIZE_NEAREST_NEIGHBOR 1.13.1 1.14 2.3 2.4
REVERSE_SEQUENCE 1.14
REVERSE_V2 1.14 2.2 2.5
RFFT2D 2.5
RIGHT_SHIFT 2.14
RNN 1.5 1.14 2.3
ROUND 1.14
RSQRT 1.10 2.5
SCATTER_ND 2.1
SEGMENT_SUM 2.2
SELECT 1.14 1.14 2.14 2.14
SELECT_V2 2.2 2.14
SHAPE 1.10
SIGN 2.11 2.12
SIN 1.9
SLICE 1.14 1.14 1.14 2.4 2.5 2.14
SOFTMAX 1.5 1.14 2.3
SPACE_TO_BATCH_ND 1.6 1.14 2.3 2.14
SPACE_TO_DEPTH 1.5 1.14
SPARSE_TO_DENSE 1.9 1.14 1.15
SPLIT 1.5 1.14 1.14 2.3
SPLIT_V 1.13.1 2.3
SQRT 1.10
SQUARE 1.12
SQUARED_DIFFERENCE 1.13.1 2.5
SQUEEZE 1.6 2.5
STRIDED_SLICE 1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14
SUB 1.6 1.14 2.3 2.4 2.4
SUM 1.10 1.15
SVDF 1.5 1.14 2.2 2.3
TANH 1.14 1.14 2.3
TILE 1.10.1 2.2 2.8
TOPK_V2 1.7 1.14 2.14
TRANSPOSE 1.6 1.14 1.15 2.3 2.4 2.14
TRANSPOSE_CONV 1.9 2.2 2.3 2.14
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.14
UNIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
UNIQUE 1.14
UNPACK 1.11 1.14 2.2 2.3
UNSORTED_SEGMENT_MAX 2.10
UNSORTED_SEGMENT_MIN 2.11
UNSORTED_SEGMENT_PROD 2.10
UNSORTED_SEGMENT_SUM 2.10
VAR_HANDLE 2.6
WHERE 1.14 2.8
WHILE 1.15
ZEROS_LIKE 1.12
"""
#: What the table does not have: newer than 2.14 takes, and known to the TensorFlow whose converter wrote it.
NEWEST = "2.21.0"

_SINCE: dict[str, list[str]] = {name: since for name, *since in (line.split() for line in _TABLE.split("\n") if line)}


def since(op: str, version: int) -> str:
    """The oldest runtime, as "2.14.0", that has a version of a builtin op."""
    known = _SINCE.get(op, [])
    found = known[version - 1] if version <= len(known) else NEWEST
    return NEWEST if found == "-" else found if found.count(".") == 2 else f"{found}.0"


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare."""
    return tuple(int(part) for part in version.split("."))


def needs(model: Any) -> dict[str, str]:
    """Oldest runtime by "OP version N", of every op code of a `ModelT`."""
    from ai_edge_litert import schema_py_generated as schema

    found = {}
    for code in model.operatorCodes:
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        if builtin != schema.BuiltinOperator.CUSTOM:
            name = flatbuffer.builtin_name(builtin)
            found[f"{name} version {code.version}"] = since(name, code.version)
    return found


def declare(model: Any) -> str:
    """Drop op codes that no op uses, write the oldest runtime into the file's own metadata, and return it.

    Args:
        model: `ModelT`; changed in place.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    used = sorted({op.opcodeIndex for graph in model.subgraphs for op in graph.operators})
    places = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for graph in model.subgraphs:
        for op in graph.operators:
            op.opcodeIndex = places[op.opcodeIndex]
    oldest = max(needs(model).values(), key=number, default="1.5.0")
    entry = next((entry for entry in model.metadata or [] if entry.name == b"min_runtime_version"), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name = b"min_runtime_version"
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(schema.BufferT())
        entry.buffer = len(model.buffers) - 1
    model.buffers[entry.buffer].data = np.frombuffer(
        oldest.encode().ljust(16, b"\0"), np.uint8
    )  # 16 bytes by convention
    return oldest
