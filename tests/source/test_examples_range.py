"""What range an example input is taken to show."""

import numpy as np
import pytest
import torch

from edgeconv.source import model
from edgeconv.source.examples import spec_of, within_tables

NORMAL = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
EVEN = torch.linspace(0, 1, 64).view(8, 8)


@pytest.mark.parametrize(
    ("example", "wanted"),
    [
        (EVEN, (0.0, 1.0)),
        (EVEN * 255, (0.0, 255.0)),
        (EVEN + 2, (2.0, 3.0)),
        (torch.tensor(5.0), (2.5, 7.5)),
        (torch.tensor([0.5]), (0.25, 0.75)),
        (NORMAL, (None, None)),
        (torch.zeros(3, 4), (None, None)),
        (torch.ones(3, 4), (None, None)),
        (torch.tensor(-1.0), (None, None)),
        (NORMAL * 1000, (float(NORMAL.min() * 1000), float(NORMAL.max() * 1000))),
        (NORMAL * 0.01, (float(NORMAL.min() * 0.01), float(NORMAL.max() * 0.01))),
        (torch.tensor([2, 9]), (2, 9)),
    ],
)
def test_the_range_that_an_example_shows(example, wanted):
    spec = spec_of("x", example)
    assert (spec.low, spec.high) == pytest.approx(wanted)


def test_what_is_positive_stays_positive():
    spec = spec_of("sigma", torch.tensor(5.0))
    drawn = [float(spec.sample(np.random.default_rng(seed))) for seed in range(50)]
    assert min(drawn) > 2
    assert max(drawn) < 8


def test_newer_code_does_not_trust_ranges_that_older_code_read(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "examples.py").write_text(f"VERSION = {name!r}")
    old, new = (model.reader(tmp_path / name) for name in ("old", "new"))
    assert old != new
    (tmp_path / "net.py").write_text("def make(): ...")
    source = model.parse_reference("net.py:make", base=tmp_path)
    before = source.identity()
    monkeypatch.setattr(model, "reader", lambda folder: new)
    assert source.identity() != before


class Tables(torch.nn.Module):
    """Looks each column up in a table of its own."""

    def __init__(self, *sizes):
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(size, 4) for size in sizes)

    def forward(self, ids):
        return torch.cat([table(ids[:, column]) for column, table in enumerate(self.tables)], 1)


def test_columns_of_different_tables_stay_within_the_smallest():
    ids = torch.stack([torch.randint(0, size, (20,)) for size in (500, 7, 90)], 1)
    spec = spec_of("ids", ids)
    assert spec.high > 90
    (narrow,) = within_tables(Tables(500, 7, 90), {"ids": ids}, (spec,), [])
    assert narrow.high <= 6
    assert within_tables(Tables(500, 500, 500), {"ids": ids}, (spec,), []) == (spec,)
    assert within_tables(Tables(500, 7, 90), {"ids": ids}, (spec,), ["ids"]) == (spec,)
