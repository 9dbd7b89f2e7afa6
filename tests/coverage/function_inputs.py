"""What the cases of functions compute on."""

from __future__ import annotations

import torch

from tests.coverage.aten_cases import M, N, X, _draw

V, W = _draw(6, seed=20), _draw(6, seed=21)
P = _draw(4, 6, seed=22)
LINE = _draw(1, 4, 12, seed=23)
SQUARE = _draw(3, 3, seed=24) + 3 * torch.eye(3)
BATCHED = _draw(2, 3, 4, seed=25)
BATCHED2 = _draw(2, 4, 5, seed=26)
HEADS = [_draw(1, 2, 5, 4, seed=27 + n) for n in range(3)]
HOLED = torch.where(X > 1, torch.nan, X)
ENDLESS = torch.where(X > 1.5, torch.inf, torch.where(X < -1.5, -torch.inf, X))
NATURAL = torch.randint(0, 8, (2, 3, 4), generator=torch.Generator().manual_seed(3))
I32 = N.to(torch.int32)
PLACES = torch.tensor([[0, 2], [5, 1], [3, 3], [4, 0]])
MASK = M > 0.5
EMBEDDED, LINEAR, DENSE = _draw(8, 3, seed=40), _draw(3, 6, seed=41), _draw(3, 6, 6, seed=42)
R3, R4, R5 = _draw(3, seed=43), _draw(4, seed=44), _draw(5, seed=45)
UNTIED = _draw(3, 8, seed=30)
