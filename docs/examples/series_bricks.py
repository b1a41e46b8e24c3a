"""Time series as a modality of one's own: a source, a network, and a picture function."""

import numpy as np

from maskmim.config.ranges import PositiveInt, Seed, Sizes
from maskmim.data.records import Example, manifest_digest
from maskmim.modalities import Modality
from maskmim.models import vit
from maskmim.models.layers.compute import compute
from maskmim.models.mae_decoder import Decoder
from maskmim.models.net import token_grid, vit_net
from maskmim.reporting.streams import as_rgb, paint_grey
from maskmim.types import Net, Spec


class Waves:
    """Synthetic series f32[512, 1] of random pace and phase, under noise."""

    def __init__(self, *, count: PositiveInt = 2048, seed: Seed = 0):
        self.labels = {"form": ("sine", "square", "sawtooth")}
        self.fingerprint = manifest_digest([(f"waves {seed}", count)])
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng, form = np.random.default_rng([self.seed, index]), index % 3
        turns = rng.uniform() + np.arange(512) / rng.uniform(20, 60)
        clean = (np.sin(2 * np.pi * turns), np.sign(turns % 1 - 0.5), 2 * (turns % 1) - 1)[form]
        return Example((clean + rng.normal(0, 0.2, 512)).astype("f4")[:, None], {"form": form})

    def name(self, index: int) -> str:
        """Return a name for messages about a record."""
        return f"wave {index}"


def stored(rng: np.random.Generator, encoded: np.ndarray, channels: int = 1) -> np.ndarray:
    """Decode nothing: records are arrays already."""
    return encoded


def series_net(spec: Spec, *, variant: str = "2x64x2", patch: Sizes = (8,)) -> Net:
    """Build MAE over stretches of `patch` values: an encoder and a predictor make a network."""
    common = vit.stack_fields(token_grid(spec.size, patch), 1e-6, compute())
    heads = {"pixels": patch[0] * spec.channels}
    decoder = Decoder(size=vit.variant("1x32x2"), heads=heads, **common)
    encoder = vit.build_encoder(variant, common)
    return vit_net(spec, patch=patch, encoder=encoder, decoder=decoder)


def plot() -> Modality:
    """Return the modality of series: drawn as lines, compared with their raw values."""
    return Modality(lines, (1,), lambda spec: {"raw values": lambda x: x.reshape(len(x), -1)})


def lines(arrays: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """Draw the first channel of u8[B, T, C], grey where hidden bool[B, T]: u8[B, 64, T, 3]."""
    hidden = np.zeros(arrays.shape[:2], bool) if hidden is None else hidden
    heights = np.where(hidden, np.nan, 63 - arrays[..., 0] // 4)[:, None]
    above = np.arange(64)[:, None] - heights
    drawn = above * above[..., np.arange(-1, arrays.shape[1] - 1).clip(0)] <= 0
    return paint_grey(as_rgb(np.where(drawn, 0, 255).astype("u1")[..., None]), hidden[:, None])
