from __future__ import annotations

import numpy as np
import pytest

from edgeconv import calibration, fingerprint
from edgeconv.errors import CalibrationError

GOOD = """\
[data]
file = "d.npz"

[labelled]
input = "image"
array = "images"
labels = "labels"

[[preprocessing]]
op = "scale"
factor = 0.5
offset = 1.0

[[preprocessing]]
op = "resize"
size = [4, 4]

[[preprocessing]]
op = "reshape"
shape = [-1, 1, 4, 4]
"""


@pytest.fixture
def data(tmp_path):
    (tmp_path / "calibration").mkdir()
    path = tmp_path / "calibration" / "d.npz"
    np.savez(path, images=np.full((3, 2, 2), 4, np.uint8), labels=np.arange(3), floats=np.ones(3), two=np.arange(2),
             minus=np.arange(3) - 1)  # fmt: skip
    return path


def refused(write, tmp_path, text: str) -> CalibrationError:
    write("calibration/d.toml", text)
    with pytest.raises(CalibrationError) as caught:
        found = calibration.load("d", tmp_path)
        found.verify()
        found.labelled()
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_the_labelled_set_is_preprocessed(write, tmp_path, data):
    write("calibration/d.toml", GOOD)
    found = calibration.load("d", tmp_path).labelled()
    assert (found.input, found.output, found.labels.tolist()) == ("image", 0, [0, 1, 2])
    assert found.inputs.dtype == np.float32
    assert found.inputs.shape == (3, 1, 4, 4)
    assert (found.inputs == 3.0).all()


def test_the_shipped_set_is_what_its_toml_says(tmp_path):
    digits = calibration.load("digits", tmp_path)
    digits.verify()
    assert digits.labelled().inputs.shape == (540, 1, 32, 32)


def test_the_digest_follows_the_toml(write, tmp_path, data):
    write("calibration/d.toml", GOOD)
    before = calibration.load("d", tmp_path).digest
    write("calibration/d.toml", GOOD + "# a comment\n")
    assert calibration.load("d", tmp_path).digest == before
    write("calibration/d.toml", GOOD.replace("0.5", "0.25"))
    assert calibration.load("d", tmp_path).digest != before


def test_data_that_changed_is_refused(write, tmp_path, data):
    text = GOOD.replace('"d.npz"', f'"d.npz"\nsha256 = "{fingerprint.of_file(data)}"')
    write("calibration/d.toml", text)
    calibration.load("d", tmp_path).verify()
    np.savez(data, images=np.zeros((3, 2, 2)), labels=np.arange(3))
    assert "has changed since d.toml was written" in refused(write, tmp_path, text).message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[data]", "[date]", "there is no data file"),
        ('[data]\nfile = "d.npz"', "data = 3", "line 1: there is no data file"),
        ('"d.npz"', '"gone.npz"', "gone.npz, which is not there"),
        ("[labelled]", "[labeled]", "has no [labelled] section"),
        ('labels = "labels"', "", "line 4: [labelled] needs a name in `labels`"),
        ('labels = "labels"', "labels = 3", "line 7: [labelled] needs a name in `labels`"),
        ('labels = "labels"', 'labels = "labels"\noutput = -1', "line 8: `output` is -1"),
        ('"images"', '"imags"', "has no array 'imags'"),
        ('"labels"', '"two"', "the shape (3, 2, 2), its labels (2,)"),
        ('labels = "labels"', 'labels = "labels"\nmetric = "top2"', "line 8: there is no metric 'top2'"),
        ('labels = "labels"', 'labels = "labels"\nmetric = []', "line 8: `metric` is []"),
        ('labels = "labels"', 'labels = "labels"\nmetric = "mean_iou"', "its labels (3,)"),
        ('labels = "labels"', 'labels = "labels"\nignore_label = "x"', "line 8: `ignore_label` is 'x'"),
        ('"labels"', '"floats"', "the labels are float64"),
        ('"labels"', '"minus"', "the labels go down to -1"),
        ('op = "scale"', 'op = "scal"', "unknown preprocessing 'scal'"),
        ('op = "scale"', "op = 3", "unknown preprocessing 3"),
        ("factor = 0.5", "faktor = 0.5", "'scale' does not fit an array of shape (3, 2, 2): needs 'factor'"),
        ("factor = 0.5", 'factor = "x"', "'scale' does not fit"),
        ("size = [4, 4]", "size = [4]", "'resize' does not fit"),
        ("size = [4, 4]", "size = [0, 4]", "is empty"),
        ("size = [4, 4]", 'size = [4, 4]\nmode = "cubic"', "the mode 'cubic' is not known"),
        ("[-1, 1, 4, 4]", "[5, 7]", "'reshape' does not fit an array of shape (3, 4, 4)"),
        ("[[preprocessing]]\nop = \"scale\"", "[preprocessing.x]\nop = \"scale\"", "no valid TOML"),
        ("size = [4, 4]", "size = [4, 4", "no valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(write, tmp_path, data, old, new, says):
    assert old in GOOD
    assert says in refused(write, tmp_path, GOOD.replace(old, new)).message


def test_preprocessing_that_is_no_list(write, tmp_path, data):
    text = GOOD.partition("[[preprocessing]]")[0] + "[preprocessing]\nop = 'scale'\n"
    assert "line 9: `preprocessing` must be a list of steps" in refused(write, tmp_path, text).message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"text", "pickle", "npy"])
def test_data_that_is_no_npz(write, tmp_path, data, content):
    if content == "pickle":
        np.savez(data, images=np.array([{"a": 1}] * 3, dtype=object), labels=np.arange(3))
    elif content == "npy":
        with data.open("wb") as stream:
            np.save(stream, np.zeros(3))
    else:
        data.write_bytes(content)
    assert "no .npz file of plain arrays" in refused(write, tmp_path, GOOD).message


def test_an_unknown_set_names_near_ones(tmp_path):
    with pytest.raises(CalibrationError, match="no calibration set 'digit'") as caught:
        calibration.load("digit", tmp_path)
    assert "'digits'" in caught.value.hint
    with pytest.raises(CalibrationError, match="no calibration set 'zzz'") as caught:
        calibration.load("zzz", tmp_path)
    assert "looked for" in caught.value.hint
