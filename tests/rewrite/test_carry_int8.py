"""Integers recovered from float weights, and put into a .tflite."""

import numpy as np
import pytest

from edgeconv.rewrite import carry_int8
from edgeconv.stages.quantize import grid


@pytest.mark.parametrize("shape", [(16, 3, 3, 8), (10, 64), (4, 1)])
def test_the_quantizers_integers_come_back_exactly(shape):
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal(shape) * rng.uniform(1e-4, 1e3, (shape[0], *[1] * (len(shape) - 1)))).astype(
        np.float32
    )
    q, scale = grid(weight, conv=True)
    real = (q.astype(np.float32) - 128) * scale.reshape(-1, *[1] * (len(shape) - 1))
    integers, scales = carry_int8.recover(real.astype(np.float32), 0)
    assert np.array_equal(integers, q.astype(np.int16) - 128)
    assert np.allclose(scales, scale, rtol=1e-6)


def test_a_factor_per_channel_that_was_folded_in_changes_the_scale_and_no_integer():
    weight = np.random.default_rng(1).standard_normal((8, 5, 5, 3)).astype(np.float32)
    q, scale = grid(weight, conv=True)
    factor = np.random.default_rng(2).uniform(-3, 3, (8, 1, 1, 1)).astype(np.float32)
    real = ((q.astype(np.float32) - 128) * scale.reshape(-1, 1, 1, 1) * factor).astype(np.float32)
    integers, _ = carry_int8.recover(real, 0)
    assert np.array_equal(np.abs(integers.astype(int)), np.abs(q.astype(int) - 128))


def test_a_float_weight_is_off_the_grid():
    assert carry_int8.recover(np.random.default_rng(3).standard_normal((8, 100)).astype(np.float32), 0) is None


def test_an_all_zero_channel_has_scale_one():
    weight = np.zeros((2, 70), np.float32)
    weight[0, :] = 0.5
    integers, scales = carry_int8.recover(weight, 0)
    assert scales[1] == 1
    assert not integers[1].any()
    assert (integers[0] == 127).all()


def test_the_digest_does_not_depend_on_where_the_output_channel_stands():
    q = np.random.default_rng(4).integers(-127, 128, (6, 3, 3))
    assert carry_int8.digest_of(q, 0) == carry_int8.digest_of(np.moveaxis(q, 0, -1), 2)
