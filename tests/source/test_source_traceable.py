"""PyTorch's transformers take the way that torch.export can follow, and a live process gets its own way back."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules import transformer

from edgeconv.source import live, traceable


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, x, memory):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.layers(x, memory, tgt_mask=mask)


def test_the_same_values_come_out_on_that_way():
    torch.manual_seed(0)
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x, mask = torch.randn(2, 5, 8), nn.Transformer.generate_square_subsequent_mask(5)
    with torch.no_grad():
        before = layer(x, mask=mask)
        restore = traceable.prefer()
        after = layer(x, mask=mask)
        restore()
    assert torch.allclose(before, after, atol=1e-5)


def test_a_live_decoder_is_frozen_and_the_process_left_as_it_was(tmp_path):
    enabled, detect = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    module, given = Decoder().eval(), (torch.randn(1, 4, 8), torch.randn(1, 3, 8))
    live.freeze(module, given, (), tmp_path / "m.pt2")
    assert torch.backends.mha.get_fastpath_enabled() is enabled
    assert transformer._detect_is_causal_mask is detect
    program = torch.export.load(tmp_path / "m.pt2").module()
    assert torch.allclose(program(x=given[0], memory=given[1]), module(*given), atol=1e-5)
