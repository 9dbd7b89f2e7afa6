"""Which of two kernels is faster is said by an op's size; the rule agrees with what was measured where that is clear."""

import pytest

from edgeconv.rewrite.precision import Work, reason_for_float


def conv(side, depth, channels, kernel=1, stride=1):
    return Work(side * side * depth, (side // stride) ** 2, channels, 1, depth * kernel * kernel)


@pytest.mark.parametrize("shape", [(112, 32, 16), (112, 16, 96), (56, 24, 24), (56, 128, 16), (28, 192, 16)])
def test_pointwise_convs_from_or_to_few_channels_stay_float(shape):
    assert "multiplications" in reason_for_float(conv(*shape))


@pytest.mark.parametrize(
    "shape", [(56, 64, 64), (28, 192, 64), (7, 960, 160), (56, 16, 64, 3), (28, 16, 32, 3), (224, 3, 64, 7, 2)]
)
def test_convs_with_many_multiplications_an_element_compute_in_int8(shape):
    assert reason_for_float(conv(*shape)) is None


def test_a_float_kernels_idle_lanes_count_for_int8():
    grouped = Work(inputs=114 * 114 * 48, pixels=56 * 56, channels=8, groups=6, depth=72)
    assert grouped.multiplications == 56 * 56 * 6 * 72 * 16


def test_one_row_by_a_matrix_computes_in_int8():
    assert reason_for_float(Work(inputs=1024, pixels=1, channels=1000, groups=1, depth=1024)) is None
