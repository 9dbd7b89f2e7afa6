"""Translations of linear algebra, which the exporter has none for: small systems row by row, grouped products group by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeconv.stages.onnx_translate import onnx_tensor

#: Largest matrix: some fifteen nodes a row.
MOST_ROWS = 32


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX translation by ATen overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.linalg_inv_ex.default: _inv_ex,
        aten.linalg_inv.default: _inv,
        aten.inverse.default: _inv,
        aten._linalg_solve_ex.default: _solve_ex,
        aten.linalg_solve.default: _solve,
        aten.linalg_solve_triangular.default: _solve_triangular,
        aten.linalg_cholesky_ex.default: _cholesky_ex,
        aten.linalg_cholesky.default: _cholesky,
        aten.cholesky.default: _cholesky,
        aten._linalg_slogdet.default: _slogdet,
        aten.linalg_slogdet.default: lambda a: _slogdet(a)[:2],
        aten._grouped_mm.default: _grouped_mm,
        **dict.fromkeys(_as_grouped_mm(), _grouped_mm),
    }


def _as_grouped_mm() -> list[Any]:
    """Operators that packages define for the same, where this process has imported them: transformers' experts."""
    import torch

    package = torch.ops.transformers
    return [package.grouped_mm_fallback.default] if hasattr(package, "grouped_mm_fallback") else []


def _grouped_mm(x: Any, weights: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """Rows [S, K] times the matrix [E, K, N] of the group that each is in; groups are sorted and end before `offs` [E].

    Every row goes through every matrix and one product is taken: which one depends on data, and no shape may.
    """
    from onnxscript import opset18 as op

    del out_dtype
    if offs is None or bias is not None or len(x.shape) != 2 or len(weights.shape) != 3:
        raise ValueError("only rows [S, K] and matrices [E, K, N], without a bias, have a form of fixed shapes")
    groups = int(weights.shape[0])
    rows = op.Constant(value=onnx_tensor(np.arange(int(x.shape[0]), dtype=np.int64)[:, None]))
    ends = op.Cast(offs, to=7)  # int64
    found = None
    for group in reversed(range(groups)):
        matrix = op.Gather(weights, op.Constant(value_int=group), axis=0)
        product = op.MatMul(x, matrix)
        end = op.Gather(ends, op.Constant(value_int=group), axis=0)
        found = product if found is None else op.Where(op.Less(rows, end), product, found)
    return found


def _inv_ex(a: Any, check_errors: bool = False) -> tuple[Any, Any]:
    from onnxscript import opset18 as op

    del check_errors  # a matrix without an inverse gives infinities
    return _inv(a), op.Constant(value_int=0)


def _inv(a: Any) -> Any:
    from onnxscript import opset18 as op

    size, rank = int(a.shape[-1]), len(a.shape)
    return _solved(
        a, op.Add(op.Mul(a, 0.0), op.Constant(value=onnx_tensor(np.eye(size, dtype=np.float32)))), size, rank
    )


def _solve_ex(a: Any, b: Any, left: bool = True, check_errors: bool = False) -> tuple[Any, Any, Any, Any]:
    from onnxscript import opset18 as op

    del check_errors
    none = op.Constant(value_int=0)
    return _solve(a, b, left), a, none, none


def _solve(a: Any, b: Any, left: bool = True, vectors: bool = True) -> Any:
    """A right side may be a vector for each system, where `vectors` says so; batches broadcast."""
    from onnxscript import opset18 as op

    size, system, right = int(a.shape[-1]), [int(n) for n in a.shape], [int(n) for n in b.shape]
    vector = vectors and (len(right) == 1 or right == system[:-1])
    if vector:
        b, right = op.Unsqueeze(b, [-1]), [*right, 1]
    batch = [int(n) for n in np.broadcast_shapes(tuple(system[:-2]), tuple(right[:-2]))]
    a = a if system[:-2] == batch else op.Expand(a, [*batch, *system[-2:]])
    b = b if right[:-2] == batch else op.Expand(b, [*batch, *right[-2:]])
    rank = len(batch) + 2
    if vector:
        return op.Squeeze(_solved(a, b, size, rank), [-1])
    if left:
        return _solved(a, b, size, rank)
    return _turned(_solved(_turned(a, rank), _turned(b, rank), size, rank), rank)


def _turned(x: Any, rank: int) -> Any:
    from onnxscript import opset18 as op

    return op.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def _solved(a: Any, b: Any, size: int, rank: int) -> Any:
    """Gauss-Jordan over [a | b] with the largest pivot of each column, whose row is marked instead of moved."""
    from onnxscript import opset18 as op

    if size > MOST_ROWS:
        raise ValueError(f"a system of {size} equations is larger than {MOST_ROWS}")
    both = op.Concat(a, b, axis=-1)
    rows = op.Constant(value=onnx_tensor(np.arange(size, dtype=np.int64)[:, None]))  # [n, 1]
    used, marks = None, []
    for column in range(size):
        here = op.Slice(both, [column], [column + 1], [rank - 1])  # [..., n, 1]
        extent = op.Abs(here)
        if used is not None:
            extent = op.Where(op.Greater(used, 0.5), -1.0, extent)
        mark = op.Cast(op.Equal(op.ArgMax(extent, axis=rank - 2, keepdims=1), rows), to=1)  # [..., n, 1]
        marks.append(mark)
        used = mark if used is None else op.Add(used, mark)
        row = op.ReduceSum(op.Mul(both, mark), [rank - 2], keepdims=1)
        row = op.Div(row, op.Slice(row, [column], [column + 1], [rank - 1]))  # [..., 1, n + m]
        both = op.Where(op.Greater(mark, 0.5), row, op.Sub(both, op.Mul(here, row)))
    order = op.Concat(*marks, axis=-1) if size > 1 else marks[0]  # which row holds which unknown
    return op.MatMul(_turned(order, rank), op.Slice(both, [size], [2**62], [rank - 1]))


def _solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    from onnxscript import opset18 as op

    ones = np.ones((int(a.shape[-1]),) * 2, np.float32)
    off = int(unitriangular)
    shape = a.shape
    a = op.Mul(a, op.Constant(value=onnx_tensor(np.triu(ones, off) if upper else np.tril(ones, -off))))
    a = op.Add(a, op.Constant(value=onnx_tensor(np.eye(len(ones), dtype=np.float32)))) if unitriangular else a
    a.shape = shape
    return _solve(a, b, left, vectors=False)


def _cholesky_ex(a: Any, upper: bool = False, check_errors: bool = False) -> tuple[Any, Any]:
    from onnxscript import opset18 as op

    del check_errors
    return _cholesky(a, upper), op.Constant(value_int=0)


def _cholesky(a: Any, upper: bool = False) -> Any:
    """Column after column: each divided by the root of its pivot, and its square taken off what is left."""
    from onnxscript import opset18 as op

    size, rank = int(a.shape[-1]), len(a.shape)
    if size > MOST_ROWS:
        raise ValueError(f"a matrix of {size} rows is larger than {MOST_ROWS}")
    a = _turned(a, rank) if upper else a  # of which PyTorch reads the other half
    rest, columns = a, []
    for place in range(size):
        column = op.Slice(rest, [place], [place + 1], [rank - 1])
        below = np.arange(size)[:, None] >= place
        column = op.Where(op.Constant(value=onnx_tensor(below)), column, 0.0)
        column = op.Div(column, op.Sqrt(op.Slice(column, [place], [place + 1], [rank - 2])))
        columns.append(column)
        rest = op.Sub(rest, op.Mul(column, _turned(column, rank)))
    lower = op.Concat(*columns, axis=-1) if size > 1 else columns[0]
    return _turned(lower, rank) if upper else lower


def _slogdet(a: Any) -> tuple[Any, Any, Any, Any]:
    from onnxscript import opset18 as op

    det, none = op.Det(a), op.Constant(value_int=0)
    return op.Sign(det), op.Log(op.Abs(det)), a, none
