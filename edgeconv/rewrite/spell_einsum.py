"""Spells Einsum as Transpose, Reshape and MatMul, one pair of operands after the other.

tf.Einsum is Flex only unless the converter happens to know its form; written out, a product with a constant is a matrix
product with a weight, which the quantizer takes.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, static_shape


@dataclass(frozen=True)
class Term:
    """An operand.

    Attributes:
        value: the tensor.
        labels: one letter an axis, none twice.
        sizes: of the axes.
    """

    value: ir.Value
    labels: str
    sizes: dict[str, int]


class SpellEinsum(NodePass):
    """Any equation over operands of known shape: diagonals, sums, ellipses, more than two operands."""

    ops: ClassVar[frozenset[str]] = frozenset({"Einsum"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """What computes the same; None where a shape is not known."""
        values = [value for value in node.inputs if value is not None]
        shapes = [static_shape(value) for value in values]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(values):
            return None
        inputs, output = _labels(str(attr(node, "equation", "")), [len(shape) for shape in known])
        terms = [_alone(build, v, labels, shape) for v, labels, shape in zip(values, inputs, known, strict=True)]
        current = _summed(build, terms[0], output + "".join(term.labels for term in terms[1:]))
        for place, term in enumerate(terms[1:], 1):
            kept = output + "".join(later.labels for later in terms[place + 1 :])
            current = _pair(build, current, _summed(build, term, kept + current.labels), kept)
        current = _summed(build, current, output)
        return [_ordered(build, current, output)]


def _labels(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """One letter an axis, for every operand and for the result; ellipses get letters of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_letters if letter not in equation]
    widest = max(
        (rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True) if "..." in t), default=0
    )
    dots = "".join(spare[:widest])
    inputs = []
    for term, rank in zip(terms, ranks, strict=True):
        width = rank - len(term.replace("...", ""))
        inputs.append(term.replace("...", dots[len(dots) - width :] if width else ""))
    if arrow:
        return inputs, right.replace("...", dots)
    once = sorted(letter for letter in set("".join(inputs)) - set(dots) if "".join(inputs).count(letter) == 1)
    return inputs, dots + "".join(once)


def _alone(build: Builder, value: ir.Value, labels: str, shape: list[int]) -> Term:
    """An operand without repeated labels: the diagonal of an axis pair is a product with ones on it, summed."""
    while len(set(labels)) < len(labels):
        second = next(place for place, letter in enumerate(labels) if letter in labels[:place])
        first = labels.index(labels[second])
        around = [shape[axis] if axis in (first, second) else 1 for axis in range(len(shape))]
        eye = np.eye(shape[first], dtype=value.dtype.numpy() if value.dtype is not None else np.float32).reshape(around)
        value = build.op("ReduceSum", build.op("Mul", value, eye), build.ints([second], "axis"), keepdims=0)
        labels, shape = labels[:second] + labels[second + 1 :], shape[:second] + shape[second + 1 :]
    return Term(value, labels, dict(zip(labels, shape, strict=True)))


def _summed(build: Builder, term: Term, kept: str) -> Term:
    """Without the axes that nothing else reads."""
    axes = [place for place, letter in enumerate(term.labels) if letter not in kept]
    if not axes:
        return term
    value = build.op("ReduceSum", term.value, build.ints(axes, "axes"), keepdims=0)
    labels = "".join(letter for letter in term.labels if letter in kept)
    return Term(value, labels, {letter: term.sizes[letter] for letter in labels})


def _pair(build: Builder, a: Term, b: Term, kept: str) -> Term:
    """Two operands as one: a matrix product where an axis of both goes away, else a product."""
    shared = [letter for letter in a.labels if letter in b.labels]
    sizes = {letter: max(a.sizes.get(letter, 1), b.sizes.get(letter, 1)) for letter in a.labels + b.labels}
    gone = [letter for letter in shared if letter not in kept]
    if not gone or any(a.sizes[letter] != b.sizes[letter] for letter in gone):
        return _summed(build, _product(build, a, b, sizes), kept)
    batch = [letter for letter in shared if letter in kept]
    rows = [letter for letter in a.labels if letter not in shared]
    columns = [letter for letter in b.labels if letter not in shared]
    left = _matrix(build, a, [batch, rows, gone], sizes)
    right = _matrix(build, b, [batch, gone, columns], sizes)
    labels = "".join([*batch, *rows, *columns])
    made = build.op("MatMul", left, right)
    value = build.op("Reshape", made, build.ints([sizes[letter] for letter in labels], "shape"))
    return Term(value, labels, {letter: sizes[letter] for letter in labels})


def _matrix(build: Builder, term: Term, parts: list[list[str]], sizes: dict[str, int]) -> ir.Value:
    """The operand as [batch …, rows, columns] with the last two parts flattened; without batch, a plain matrix."""
    batch, first, second = parts
    value = _ordered(build, term, "".join([*batch, *first, *second]))
    shape = [term.sizes[letter] for letter in batch]
    shape += [int(np.prod([sizes[letter] for letter in part])) for part in (first, second)]
    return build.op("Reshape", value, build.ints(shape, "shape"))


def _product(build: Builder, a: Term, b: Term, sizes: dict[str, int]) -> Term:
    labels = a.labels + "".join(letter for letter in b.labels if letter not in a.labels)
    sides = []
    for term in (a, b):
        value = _ordered(build, term, "".join(letter for letter in labels if letter in term.labels))
        shape = [term.sizes.get(letter, 1) for letter in labels]
        sides.append(build.op("Reshape", value, build.ints(shape, "shape")))
    return Term(build.op("Mul", *sides), labels, {letter: sizes[letter] for letter in labels})


def _ordered(build: Builder, term: Term, labels: str) -> ir.Value:
    if term.labels == labels:
        return term.value
    return build.op("Transpose", term.value, perm=[term.labels.index(letter) for letter in labels])
