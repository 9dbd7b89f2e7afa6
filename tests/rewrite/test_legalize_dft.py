"""Fourier transforms as matrix products, against numpy."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_dft import LegalizeDft
from tests.rewrite.helpers import infer, model, rewritten

RNG = np.random.default_rng(0)


def _pairs(values):
    return np.stack([values.real, values.imag], -1)


def _found(op, x, constants, opset=17, names=(), **attributes):
    node = helper.make_node(op, ["x", *names], ["y"], **attributes)
    proto = model([node], {"x": (TensorProto.FLOAT, x.shape)}, ["y"], constants, opset=opset)
    after, counts = rewritten(proto, LegalizeDft())
    assert counts
    return infer(after, {"x": x})[0]


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("length", [None, 6, 12])
def test_of_a_real_signal(onesided, length):
    x = RNG.standard_normal((2, 9, 3, 1)).astype(np.float32)
    constants = {} if length is None else {"n": np.array(length, np.int64)}
    transform = np.fft.rfft if onesided else np.fft.fft
    found = _found("DFT", x, constants, names=tuple(constants), axis=1, onesided=onesided)
    np.testing.assert_allclose(found, _pairs(transform(x[..., 0], length, axis=1)), atol=1e-5)


@pytest.mark.parametrize("inverse", [0, 1])
def test_of_a_complex_signal_with_the_axis_as_an_input(inverse):
    x = RNG.standard_normal((2, 8, 3, 2)).astype(np.float32)
    values = x[..., 0] + 1j * x[..., 1]
    found = _found("DFT", x, {"a": np.array(-2, np.int64)}, opset=20, names=("", "a"), inverse=inverse)
    np.testing.assert_allclose(found, _pairs((np.fft.ifft if inverse else np.fft.fft)(values, axis=2)), atol=1e-5)


@pytest.mark.parametrize("onesided", [0, 1])
def test_short_time(onesided):
    x, window = RNG.standard_normal((2, 30, 1)).astype(np.float32), np.hanning(8).astype(np.float32)
    found = _found("STFT", x, {"s": np.array(3), "w": window}, names=("s", "w"), onesided=onesided)
    frames = np.lib.stride_tricks.sliding_window_view(x[..., 0], 8, axis=1)[:, ::3] * window
    wanted = (np.fft.rfft if onesided else np.fft.fft)(frames, axis=-1)
    np.testing.assert_allclose(found, _pairs(wanted), atol=1e-5)
