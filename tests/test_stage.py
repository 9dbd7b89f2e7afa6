from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from edgeconv.errors import BadOutput, StageError, TargetError
from edgeconv.stage import Job, Stage, execute_payload, make, to_payload


@dataclass(frozen=True)
class Fake(Stage):
    number: int = 3
    words: tuple[str, ...] = ("a",)
    fail: str = ""

    name: ClassVar[str] = "fake"
    consumes: ClassVar[tuple[Any, ...]] = ("torch",)
    produces: ClassVar[Any] = "onnx"
    distributions: ClassVar[tuple[str, ...]] = ()
    worker: ClassVar[str] = "fake"

    def requires(self, job: Job) -> None:
        if self.fail == "requires":
            raise StageError("cannot take it")

    def build(self, job: Job) -> dict[str, Any]:
        job.destination.write_text(",".join(self.words) * self.number)
        return {"number": self.number}

    def ensures(self, job: Job, notes: dict[str, Any]) -> None:
        if self.fail == "ensures":
            raise BadOutput("not what was promised", stage="inner")


KINDS: dict[str, type[Stage]] = {"fake": Fake}


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "in", tmp_path / "out", tmp_path)


def test_options_become_fields(write):
    assert make(KINDS, "fake", {"number": 2, "words": ["x", "y"]}, write("t.toml", "")) == Fake(2, ("x", "y"))


@pytest.mark.parametrize(
    ("name", "options", "says", "hint"),
    [
        ("fak", {}, r"line 1: there is no stage 'fak'", "'fake'"),
        ("zzz", {}, r"line 1: there is no stage 'zzz'", "the stages are fake"),
        ("fake", {"numbr": 1}, r"line 5: the stage 'fake' has no option 'numbr'", "'number'"),
        ("fake", {"zzz": 1}, r"line 4: the stage 'fake' has no option 'zzz'", "its options are: fail, number, words"),
        ("fake", {"number": "much"}, r"line 6: option 'number' .* valid integer.*, got 'much'", ""),
        ("fake", {"words": 3}, r"line 4: option 'words' .* valid tuple, got 3", ""),
    ],
)
def test_wrong_options_are_named_with_their_line(write, name, options, says, hint):
    path = write("t.toml", 'stages = ["x"]\n[other]\nnumber = 1\n[fake]\nnumbr = 1\nnumber = 1\n')
    with pytest.raises(TargetError, match=says) as caught:
        make(KINDS, name, options, path)
    assert hint in caught.value.hint
    assert caught.value.hint


def test_requires_build_ensures(job):
    assert Fake().execute(job) == {"number": 3}
    assert job.destination.read_text() == "aaa"


def test_an_input_that_is_refused_is_not_built(job):
    with pytest.raises(StageError, match="cannot take it") as caught:
        Fake(fail="requires").execute(job)
    assert caught.value.stage == "fake"
    assert not job.destination.exists()


def test_an_error_keeps_the_stage_it_names(job):
    with pytest.raises(BadOutput) as caught:
        Fake(fail="ensures").execute(job)
    assert caught.value.stage == "inner"


def test_a_stage_crosses_a_process_boundary(job):
    payload = to_payload(Fake(2, ("x", "y")), job)
    assert payload["options"] == {"number": 2, "words": ("x", "y"), "fail": ""}
    assert execute_payload({**payload, "options": {"number": 2, "words": ["x", "y"], "fail": ""}}) == {"number": 2}
    assert job.destination.read_text() == "x,yx,y"
