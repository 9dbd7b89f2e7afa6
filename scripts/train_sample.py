#!/usr/bin/env python3
"""Train the bundled sample and write its weights and its calibration set: `pip install -e '.[dev]'` first.

Writes edgeconv/models/digits.safetensors, calibration/digits.npz and calibration/digits.toml. Seeds are fixed and one
thread is used: the data come out byte for byte the same on every run, the weights on the same machine and torch.
The held-out images are looked at once, after the last epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from edgeconv.models.sample import SIDE, WEIGHTS, DigitNet

CALIBRATION = Path(__file__).resolve().parent.parent / "calibration"
SEED = 20
HELD_OUT = 540
REPRESENTATIVE = 256
EPOCHS = 60
BATCH = 64

Arrays = dict[str, npt.NDArray[np.generic]]

DESCRIPTION = """\
# Written by scripts/train_sample.py: run that again instead of editing this.

summary = "Handwritten digits as 8x8 grey images: {representative} to calibrate with, {held_out} held out from training"
source = "UCI Optical Recognition of Handwritten Digits, by way of scikit-learn's load_digits"
licence = "CC BY 4.0"

[data]
file = "digits.npz"
sha256 = "{sha256}"

[representative]            # what the model sees in use: a part of what it was trained on
input = "image"             # name of the model's input
array = "train_images"      # uint8 [{representative}, 8, 8], 0 for paper to 16 for full ink

[labelled]                  # never seen in training
input = "image"
array = "test_images"       # uint8 [{held_out}, 8, 8]
labels = "test_labels"      # int64 [{held_out}]
output = 0                  # index of the model's output that holds the logits
metric = "top1"

# Applied in this order to a batch, [N, 8, 8] here.

[[preprocessing]]
op = "scale"                # x * factor + offset, to float32
factor = 0.0625
offset = 0.0

[[preprocessing]]
op = "resize"               # bilinear, half-pixel centres, edges clamped (align_corners=False)
size = [{side}, {side}]
mode = "bilinear"

[[preprocessing]]
op = "reshape"
shape = [-1, 1, {side}, {side}]
"""


def split() -> tuple[Arrays, Arrays]:
    """All that is trained on, and what calibration/digits.npz keeps: a part of it and the held-out rest."""
    data = load_digits()
    train_images, test_images, train_labels, test_labels = train_test_split(
        data.images.astype(np.uint8),
        data.target.astype(np.int64),
        test_size=HELD_OUT,
        random_state=SEED,
        stratify=data.target,
    )
    kept = {"train_images": train_images[:REPRESENTATIVE], "test_images": test_images, "test_labels": test_labels}
    return {"images": train_images, "labels": train_labels}, kept


def archive(arrays: Arrays) -> bytes:
    """An .npz whose bytes depend on the arrays alone: a fixed timestamp, no compressor's version in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(array), allow_pickle=False)
            target.writestr(entry, content.getvalue())
    return buffer.getvalue()


def describe(data: bytes) -> str:
    """The calibration set's TOML for an archive of these bytes."""
    return DESCRIPTION.format(
        sha256=hashlib.sha256(data).hexdigest(), representative=REPRESENTATIVE, held_out=HELD_OUT, side=SIDE
    )


def preprocess(images: npt.NDArray[np.generic]) -> torch.Tensor:
    """uint8 [N, 8, 8] to float32 [N, 1, 32, 32], by the steps that the TOML states."""
    scaled = torch.from_numpy(images).to(torch.float32) * 0.0625
    return torch.nn.functional.interpolate(
        scaled[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False
    ).reshape(-1, 1, SIDE, SIDE)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Turn each image by up to 12 degrees, resize it by up to 10 %, shift it by up to 2.5 pixels, add some noise."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * math.radians(12)
    zoom = 1 + (torch.rand(count) * 2 - 1) * 0.1
    shift = (torch.rand(count, 2) * 2 - 1) * 2.5 / (SIDE / 2)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    affine = torch.stack(
        [torch.stack([cosine, -sine, shift[:, 0]], dim=1), torch.stack([sine, cosine, shift[:, 1]], dim=1)], dim=1
    )
    grid = torch.nn.functional.affine_grid(affine, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    return (moved + torch.randn_like(moved) * 0.03).clamp(0, 1)


def train(images: torch.Tensor, labels: torch.Tensor, *, epochs: int) -> DigitNet:
    """A network trained on these images, in eval mode."""
    torch.manual_seed(SEED)
    model = DigitNet()
    steps = epochs * math.ceil(len(images) / BATCH)
    # Decay reaches the norms' scales too: channels keep comparable ranges, and int8 weights cost little.
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.15)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = criterion(model(augment(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 10 == 0 or epoch == epochs:
            print(f"epoch {epoch:3} of {epochs}: loss {total / len(images):.4f}", flush=True)
    model.eval()
    return model


def main() -> None:
    """Write the data, train, write the weights, and print the held-out accuracy."""
    parser = argparse.ArgumentParser(description="Train the bundled sample; write its weights and calibration set.")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the training images ({EPOCHS})")
    epochs: int = parser.parse_args().epochs
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    seen, kept = split()
    data = archive(kept)
    CALIBRATION.mkdir(exist_ok=True)
    (CALIBRATION / "digits.npz").write_bytes(data)
    (CALIBRATION / "digits.toml").write_text(describe(data), encoding="utf-8", newline="\n")

    model = train(preprocess(seen["images"]), torch.from_numpy(seen["labels"]), epochs=epochs)
    WEIGHTS.write_bytes(save(model.state_dict()))

    with torch.no_grad():
        guesses = model(preprocess(kept["test_images"])).argmax(1)
    right = int((guesses == torch.from_numpy(kept["test_labels"])).sum())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters} parameters, held-out accuracy {right / HELD_OUT:.2%} ({right} of {HELD_OUT})")


if __name__ == "__main__":
    main()
