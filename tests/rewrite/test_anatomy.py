"""Every byte of a .tflite has one owner, and a file that points outside of itself is refused."""

import itertools
import struct

import pytest

from edgeconv.errors import BrokenModelFile
from edgeconv.rewrite import anatomy
from scripts.selftest_models import conv_chain, endless


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return conv_chain(tmp_path_factory.mktemp("files") / "net.tflite", 3, size=8, channels=4).read_bytes()


def test_the_spans_cover_the_file_without_gap_or_overlap(data, tmp_path):
    for each in (data, endless(tmp_path / "endless.tflite").read_bytes()):
        spans = anatomy.spans(each, "net.tflite")
        assert spans[0][0] == 0
        assert spans[-1][1] == len(each)
        assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))


def test_a_buffer_owns_its_bytes_and_little_is_left_to_the_format(data):
    owned = anatomy.bytes_by_owner(data, "net.tflite")
    buffers = sorted((count for owner, count in owned.items() if owner[0] == "buffer"), reverse=True)
    assert (
        4 * 9 * 4 * 4 <= buffers[2] <= 4 * 9 * 4 * 4 + 24
    )  # weights, with their length and the table that points to them
    assert owned[anatomy.FORMAT] < 400
    assert sum(owned.values()) == len(data)


@pytest.mark.parametrize("cut", [9, 100, 1000])
def test_a_damaged_file_is_refused(data, cut):
    with pytest.raises(BrokenModelFile, match="points outside of itself"):
        anatomy.spans(data[:cut], "net.tflite")
    with pytest.raises(BrokenModelFile, match="not a TFLite file"):
        anatomy.spans(b"something else", "net.tflite")


def test_no_damage_makes_it_run_away(data):
    """Any four bytes overwritten: an answer that adds up, or a refusal."""
    for place in range(8, len(data) - 4, 7):
        broken = data[:place] + struct.pack("<I", 0xFFFFFFF0) + data[place + 4 :]
        try:
            assert sum(anatomy.bytes_by_owner(broken, "net.tflite").values()) == len(data)
        except BrokenModelFile:
            continue
