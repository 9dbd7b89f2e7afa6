from __future__ import annotations

import numpy as np
import pytest

from edgeconv.errors import InputMismatch
from edgeconv.source import InputSpec, parse_input


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("image=1x3x224x224", InputSpec("image", (1, 3, 224, 224))),
        ("ids=1x128:int64", InputSpec("ids", (1, 128), "int64")),
        ("ids=1x128:int64:0..30521", InputSpec("ids", (1, 128), "int64", 0, 30521)),
        ("x=4:float32:-1.5..2e3", InputSpec("x", (4,), "float32", -1.5, 2000)),
        (" x = 4".replace(" = ", "="), InputSpec("x", (4,))),
        ("a.b/c:0=2", InputSpec("a.b/c:0", (2,))),
        ("on=scalar:bool", InputSpec("on", (), "bool")),
        ("on=1:bool:1..1", InputSpec("on", (1,), "bool", 1, 1)),
        ("x=1:uint8:0..255", InputSpec("x", (1,), "uint8", 0, 255)),
    ],
)
def test_specs(text, spec):
    assert parse_input(text) == spec
    assert InputSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image", "cannot read the input spec 'image'"),
        ("", "cannot read the input spec ''"),
        ("=1x3", "cannot read"),
        ("image=", "cannot read"),
        ("image=1,3,8,8", "cannot read"),
        ("image=1x-3", "cannot read"),
        ("image=1xNx3", "cannot read"),
        ("image=1x3:flot32", "'flot32' is no dtype"),
        ("image=1x3:complex64", "'complex64' is no dtype"),
        ("image=1x3:float32:0", "cannot read"),
        ("image=1x3:float32:1..e", "cannot read the range"),
        ("image=1x3:float32:2..1", "a range from high to low"),
        ("image=0x3", "an empty dimension"),
        ("x=1:uint8:0..256", "does not fit uint8"),
        ("x=1:uint8:-1..3", "does not fit uint8"),
        ("x=1:bool:0..2", "does not fit bool"),
        ("x=1:float32:0..1e99", "does not fit float32"),
        ("x=1:float32:-1e999..1", "does not fit float32"),
        ("x=1:int64:0..0.5", "not of whole numbers"),
    ],
)
def test_malformed_specs(text, says):
    with pytest.raises(InputMismatch) as caught:
        parse_input(text)
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(3, 50), ()])
def test_samples_have_the_specs_shape_dtype_and_range(dtype, shape):
    free = InputSpec("x", shape, dtype).sample(np.random.default_rng(0))
    assert np.asarray(free).shape == shape
    assert free.dtype == dtype
    bound = InputSpec("x", shape, dtype, 1, 1).sample(np.random.default_rng(0))
    assert bound.dtype == dtype
    assert (bound == 1).all()
    assert (free == InputSpec("x", shape, dtype).sample(np.random.default_rng(0))).all()


def test_the_bounds_of_a_range_are_reached_by_integers():
    values = parse_input("x=1000:int8:-3..4").sample(np.random.default_rng(0))
    assert sorted(set(values.tolist())) == list(range(-3, 5))
