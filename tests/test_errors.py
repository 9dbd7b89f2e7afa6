from __future__ import annotations

import re

import pytest

from edgeconv import errors
from edgeconv.errors import EdgeconvError, StageCrashed, from_json
from edgeconv.store.model import BlobCorrupt


def _classes() -> list[type[EdgeconvError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EdgeconvError)]


def test_every_situation_has_its_own_exit_code():
    codes = [kind.exit_code for kind in _classes()]
    assert len(set(codes)) == len(codes)
    assert not {errors.EXIT_REJECTED, errors.EXIT_INTERRUPTED, 0} & set(codes)


def test_the_tree_at_the_top_of_the_file_is_the_tree_in_the_code():
    drawn = dict(re.findall(r"(\w+)\s+(\d+)\s", errors.__doc__ or ""))
    drawn = {name: int(code) for name, code in drawn.items() if hasattr(errors, name)}
    assert drawn == {kind.__name__: kind.exit_code for kind in _classes()}


@pytest.mark.parametrize("kind", _classes())
def test_an_error_crosses_a_process_boundary_whole(kind):
    error = kind("what", hint="try", stage="onnx", detail="Traceback …")
    back = from_json(error.to_json())
    assert type(back) is kind
    assert back.to_json() == error.to_json()
    assert str(back) == "what"


def test_an_error_defined_elsewhere_crosses_too():
    assert type(from_json(BlobCorrupt("x").to_json())) is BlobCorrupt


@pytest.mark.parametrize("data", [{}, {"error": "Nonsense", "message": "m"}, {"error": None}])
def test_an_unknown_error_is_a_crash(data):
    assert type(from_json(data)) is StageCrashed
