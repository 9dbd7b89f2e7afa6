"""Recurrent networks as users write them."""

from __future__ import annotations

import torch
from torch import nn


class Reader(nn.Module):
    """Convs, then a bidirectional LSTM of two layers over the columns of an image: a text recognizer."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
        )
        self.lstm = nn.LSTM(32, 48, 2, batch_first=True, bidirectional=True)
        self.letters = nn.Linear(96, 40)

    def forward(self, image):
        return self.letters(self.lstm(self.convs(image).mean(2).transpose(1, 2))[0])


def reader():
    torch.manual_seed(0)
    return Reader().eval(), (torch.rand(1, 3, 16, 96),)


class Tagger(nn.Module):
    """Embedding, a GRU of two layers, an RNN; sequence and last states out."""

    def __init__(self):
        super().__init__()
        self.words, self.gru = nn.Embedding(200, 32), nn.GRU(32, 40, 2)
        self.rnn = nn.RNN(40, 24, nonlinearity="relu", bidirectional=True)

    def forward(self, ids):
        x, last = self.gru(self.words(ids))
        y, end = self.rnn(x)
        return {"tags": y, "state": last, "end": end}


def tagger():
    torch.manual_seed(0)
    return Tagger().eval(), (torch.randint(0, 200, (30, 2)),)


class Stepper(nn.Module):
    """A streaming step: the states go in and come out; an LSTMCell and a GRUCell behind."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell, self.gru = nn.LSTM(20, 32, batch_first=True), nn.LSTMCell(32, 24), nn.GRUCell(24, 16)

    def forward(self, x, h, c):
        y, (h, c) = self.lstm(x, (h, c))
        inner, _ = self.cell(y[:, -1])
        return {"y": self.gru(inner), "h_next": h, "c_next": c}


def stepper():
    torch.manual_seed(0)
    state = torch.rand(1, 1, 32)
    return Stepper().eval(), {"x": torch.randn(1, 4, 20), "h": state, "c": state.clone()}
