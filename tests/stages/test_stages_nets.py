"""Small networks, each with one piece that once did not come through: the chain's .tflite in LiteRT against PyTorch."""

import numpy as np
import pytest

from edgeconv.harness.metrics import compare
from edgeconv.harness.runtimes import open_artifact
from edgeconv.source import loading
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.quantize import Quantize
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite
from tests.stages.chain_helpers import module_source, run_stages

HEAD = """
import torch.nn.functional as F

def spread(net):
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return net.eval()

class Net(nn.Module):
"""

PRE_NORM = """
    def __init__(self):
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(32), nn.Linear(32, 48), nn.Linear(48, 32)
    def forward(self, x):
        return x + self.two(torch.relu(self.one(self.norm(x))))
def make():
    return spread(Net()), (torch.randn(1, 6, 32),)
"""

POST_NORM = """
    def __init__(self):
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(32), nn.Linear(32, 48), nn.Linear(48, 32)
    def forward(self, x):
        y = self.norm(x)
        return y + self.two(torch.relu(self.one(y)))
def make():
    return spread(Net()), (torch.randn(1, 6, 32),)
"""

NORMALIZED_IMAGE = """
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    def forward(self, image):
        return self.conv((image - self.mean) / self.std)
def make():
    return spread(Net()), (torch.rand(1, 3, 12, 12),)
"""


def through(text, tmp_path, *, quantized):
    """The worst output's SNR in dB, and the notes of the stages."""
    source = module_source(tmp_path, HEAD + text)
    first, last = Onnx(), Tflite(mode="dynamic" if quantized else "float32")
    stages = [first, *([Quantize()] if quantized else []), SavedModel(), last]
    paths, notes = run_stages(source, stages, tmp_path / "chain")
    runtime = open_artifact(
        {"runtime": "litert", "artifact": str(paths["tflite"]), "threads": 1, "layouts": notes["tflite"]["layouts"]}
    )
    loaded = loading.load(source)
    generator = np.random.default_rng(5)
    inputs = {spec.name: spec.sample(generator) for spec in loaded.inputs}
    import torch

    wanted = loading.outputs_of(loaded.module, {n: torch.from_numpy(a) for n, a in inputs.items()})
    found = runtime.run(inputs)
    assert list(found) == list(wanted)
    rows = [compare(wanted[name].detach().numpy(), found[name]) for name in wanted]
    return min(row["snr_db"] for row in rows), notes


@pytest.mark.parametrize("text", [PRE_NORM, POST_NORM, NORMALIZED_IMAGE], ids=["pre-norm", "post-norm", "image"])
def test_gains_before_a_weight_leave_its_integers_alone(text, tmp_path):
    snr, notes = through(text, tmp_path, quantized=True)
    assert notes["tflite"]["carried_exactly"] == notes["quantize"]["weights"]
    assert snr > 30


QUERIES = """
    def __init__(self):
        super().__init__()
        self.attention, self.place = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 8)
        self.query = nn.Embedding(6, 32)
    def forward(self, x):
        where, query = self.query.weight.expand(1, 6, 32).chunk(2, -1)
        return self.attention(query + where, x, x + 1, need_weights=False)[0], x[:, :, :8] + self.place(where).sigmoid()
def make():
    return spread(Net()), (torch.randn(1, 6, 16),)
"""


def test_what_is_cut_out_of_a_weight_is_quantized_and_what_is_computed_of_constants_is_not(tmp_path):
    snr, notes = through(QUERIES, tmp_path, quantized=True)
    assert notes["quantize"]["weights"] == notes["tflite"]["carried_exactly"] == 3  # of keys, values and the output
    assert snr > 30


GROUPED_VOLUMES = """
    def __init__(self):
        super().__init__()
        self.one = nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), groups=4)
        self.two = nn.Conv3d(8, 16, 3, groups=2)
    def forward(self, volume):
        return self.two(torch.relu(self.one(volume)))
def make():
    return spread(Net()), (torch.rand(1, 8, 3, 4, 5),)
"""


def test_small_groups_of_a_conv_over_volumes_keep_their_integers(tmp_path):
    snr, notes = through(GROUPED_VOLUMES, tmp_path, quantized=True)
    assert notes["quantize"]["weights"] == notes["tflite"]["carried_exactly"] == 2
    assert snr > 30


TWICE = """
    def __init__(self):
        super().__init__()
        self.conv, self.dense, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 36, 24), nn.BatchNorm1d(24)
    def embed(self, image):
        return self.norm(self.dense(torch.relu(self.conv(image)).flatten(1)))
    def forward(self, image):
        return self.embed(image) + self.embed(image.flip(3))
def make():
    return spread(Net()), (torch.rand(2, 3, 6, 6),)
"""


def test_a_flattened_dense_layer_that_is_called_twice_keeps_its_integers(tmp_path):
    snr, notes = through(TWICE, tmp_path, quantized=True)
    assert notes["tflite"]["carried_exactly"] == notes["tflite"]["quantized_weights"]
    assert snr > 30


SPECTROGRAM = """
    def forward(self, wave):
        spectrum = torch.stft(wave, 64, 32, window=torch.hann_window(64), return_complex=True)
        return spectrum.abs().square(), torch.fft.rfft(wave[:, :100]).imag
def make():
    return Net(), (torch.randn(1, 400),)
"""

BAGS = """
    def __init__(self):
        super().__init__()
        self.mean, self.most = nn.EmbeddingBag(50, 8), nn.EmbeddingBag(50, 8, mode="max")
        self.total = nn.EmbeddingBag(50, 8, mode="sum", padding_idx=0)
    def forward(self, ids, flat):
        return self.mean(ids), self.most(ids), self.total(ids), self.mean(flat, torch.tensor([0, 2, 2, 5]))
def make():
    return spread(Net()), (torch.arange(24).view(4, 6), torch.arange(7))
"""

VOLUMES = """
    def __init__(self):
        super().__init__()
        self.up, self.odd = nn.ConvTranspose3d(2, 4, 2, 2), nn.ConvTranspose3d(4, 2, 3, 2, 1, output_padding=1, groups=2)
    def forward(self, volume):
        return self.odd(torch.relu(self.up(volume)))
def make():
    return spread(Net()), (torch.rand(1, 2, 3, 4, 5),)
"""

SCALAR_INPUT = """
    def forward(self, x, scale):
        return x * scale
def make():
    return Net(), {"x": torch.rand(2, 3), "scale": torch.tensor(0.5)}
"""

DIVISION_BY_AN_INPUT = """
    def forward(self, x, y):
        return torch.remainder(x, y)
def make():
    return Net(), {"x": torch.arange(6, dtype=torch.int32), "y": torch.arange(1, 7, dtype=torch.int32)}
"""

SAME_NAME = """
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)
    def forward(self, image):
        return {"image": self.mix(image), "more": image + 1}
def make():
    return spread(Net()), (torch.rand(2, 4),)
"""


WINDOWS = """
    def forward(self, x, mask):
        q, k, v = x.view(2, 3, 2, 4, 24).chunk(3, -1)
        plain = F.scaled_dot_product_attention(q, k, v)
        flat = F.scaled_dot_product_attention(q[0, 0], k[0, 0], v[0, 0], attn_mask=mask, scale=0.3)
        return plain, flat, F.scaled_dot_product_attention(q, k, v, is_causal=True)
def make():
    return Net(), {"x": torch.randn(2, 3, 2, 96), "mask": torch.tensor([[True, False, True, True]] * 4)}
"""

SCATTER = """
    def forward(self, x, where):
        best, place = x.topk(2, -1)
        return torch.zeros_like(x).scatter(-1, place, best), x.scatter(0, where, x[:1] * 2)
def make():
    return Net(), {"x": torch.randn(3, 5), "where": torch.tensor([[2, 0, 1, 1, 2]])}
"""

WRITES = """
    def forward(self, x, where, row, column):
        first = torch.zeros(4, 5)
        first[row, column] = x[0]
        second = torch.zeros(2, 6)
        second[:, row] = x[:2]
        third = torch.ones(4, 5, 2)
        third[torch.tensor([0, -4, 3, 3, 1])] = x[1].view(5, 1, 1).expand(5, 5, 2)
        hot = torch.zeros(3, 7).scatter(1, x.argmax(1, keepdim=True), 1.0)
        counts = torch.zeros(6, dtype=torch.int64).scatter(0, row.clamp(min=0), where[0])
        seen = (x > 0).index_put((row.clamp(0, 2),), torch.tensor(True))
        return x.scatter(0, where, x[:2] * 2), x.scatter(1, where, x[:2] * 3), first, second, third, hot, counts, seen
def make():
    return Net(), {"x": torch.randn(3, 5), "where": torch.tensor([[2, 0, 1, 1, 2], [2, 0, 0, 1, 1]]),
                   "row": torch.tensor([3, 0, -1, 2, -1]), "column": torch.tensor([1, 1, -4, 0, 1])}
"""

SAMPLES = """
    def forward(self, volume, grid, image):
        return (F.grid_sample(volume, grid, padding_mode="border", align_corners=True),
                F.grid_sample(volume, grid * 1.3, padding_mode="reflection", align_corners=False),
                F.grid_sample(image, grid[:, 0, :, :, :2] * 1.5, padding_mode="reflection", align_corners=False))
def make():
    grid = torch.rand(2, 3, 4, 5, 3) * 2 - 1
    return Net(), {"volume": torch.rand(2, 3, 4, 5, 6), "grid": grid, "image": torch.rand(2, 3, 7, 9)}
"""

PRODUCTS = """
    def forward(self, x, n):
        shares = x[0, 0].softmax(0)
        return (x.cumprod(1), x[:, :1].cumprod(1), x[0, 0].cumprod(-1), n.cumprod(0), n.cumprod(1, dtype=torch.float32),
                torch.tensordot(shares, x[0, :3].tanh(), dims=1), shares @ x[0, :3].tanh().view(3, 3), x[0] @ shares,
                *(clamp((x[0] - 1) @ (x[1].T - 1)) for clamp in (F.relu, F.relu6, lambda y: y.clamp(-0.1, 0.1))),
                F.relu(((x[0] - 1) @ (x[1].T - 1)).reshape(-1)), F.relu(torch.eye(11) @ (x[1] - 1)))
def make():
    return Net(), {"x": torch.rand(2, 11, 3) + 0.5, "n": torch.randint(-3, 4, (4, 5), dtype=torch.int32)}
"""

QUOTIENTS = """
    def forward(self, x):
        x = torch.arange(-300, 300) + (x - x)  # whole numbers, of which the converter knows nothing
        return (torch.floor(x / 41), torch.ceil(x / 47), (x / 47).long(), torch.remainder(x, 41.0), x // 83,
                torch.div(x, 47, rounding_mode="trunc"), torch.floor(x.view(1, 1, 1, 1, -1) / 41), torch.floor(x / 32))
def make():
    return Net(), (torch.rand(1, 600),)
"""


PLACES = """
    def forward(self, maps):
        best, place = maps.flatten(1).max(-1)
        return best, place // 16, place % 16, torch.div(place - 40, 7, rounding_mode="trunc")
def make():
    return Net(), (torch.rand(3, 16, 16),)
"""


@pytest.mark.parametrize(
    "text",
    [
        PLACES,
        WINDOWS,
        SCATTER,
        WRITES,
        SAMPLES,
        PRODUCTS,
        QUOTIENTS,
        SPECTROGRAM,
        BAGS,
        VOLUMES,
        SCALAR_INPUT,
        DIVISION_BY_AN_INPUT,
        SAME_NAME,
    ],
    ids=[
        "places",
        "windows",
        "scatter",
        "writes",
        "sampled",
        "products",
        "quotients",
        "fourier",
        "bags",
        "volumes",
        "scalar",
        "division",
        "names",
    ],
)
def test_float_is_exact(text, tmp_path):
    snr, _ = through(text, tmp_path, quantized=False)
    assert snr > 100


FEED_FORWARD = """
    def __init__(self):
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(32), nn.Linear(32, 48), nn.Linear(48, 32)
    def forward(self, x):
        return self.two(F.gelu(self.one(self.norm(x)))), torch.erf(x)
def make():
    return spread(Net()), (torch.randn(1, 6, 32),)
"""


def test_a_gelu_is_the_builtin_and_an_erf_alone_is_computed(tmp_path):
    from edgeconv.rewrite import flatbuffer

    snr, _ = through(FEED_FORWARD, tmp_path, quantized=False)
    file = flatbuffer.read(tmp_path / "chain" / "model.tflite")
    ops = [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]
    assert ops.count("GELU") == 1
    assert ops.count("SIGN") == 1
    assert snr > 100


TIED = """
    def __init__(self):
        super().__init__()
        self.words, self.mix = nn.Embedding(120, 32), nn.Linear(32, 32)
    def forward(self, ids):
        x = self.words(ids) * 32**0.5
        return (x + self.mix(x)) @ self.words.weight.T
def make():
    return spread(Net()), (torch.tensor([[0, 5, 119, 7]]),)
"""


def test_an_embedding_that_is_the_last_layer_too_is_carried_and_stored_once(tmp_path):
    from edgeconv.rewrite import flatbuffer

    snr, notes = through(TIED, tmp_path, quantized=True)
    assert snr > 30
    assert notes["tflite"]["carried_exactly"] == notes["tflite"]["quantized_weights"] >= 2
    file = flatbuffer.read(tmp_path / "chain" / "model.tflite")
    sizes = [len(buffer.data) for buffer in file.buffers if buffer.data is not None]
    assert sizes.count(120 * 32) == 1
    assert 4 * 120 * 32 not in sizes


EVALUATED = """
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 16, num_layers=2, bidirectional=True, proj_size=8, batch_first=True)
        self.plain = nn.LSTM(16, 8, proj_size=4, bias=False)
    def forward(self, x, image):
        y, (h, c) = self.rnn(x)
        z, _ = self.plain(y.transpose(0, 1))
        wide, places = F.adaptive_max_pool2d(image, (3, 2), return_indices=True)
        return (
            y, h, c, z, wide, places, F.adaptive_max_pool2d(image, 4), F.adaptive_max_pool1d(image[:, :, 0], 3),
            F.adaptive_max_pool3d(image[:, None], (2, 3, 5)), image.amin(), image.amax(), F.rrelu(image),
        )
def make():
    return spread(Net()), (torch.randn(2, 5, 12), torch.randn(1, 4, 8, 12))
"""


def test_what_the_exporter_has_no_translation_for_is_exact(tmp_path):
    snr, _ = through(EVALUATED, tmp_path, quantized=False)
    assert snr > 100
