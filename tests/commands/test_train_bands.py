"""A training on TIFF files of many bands, with the flags that `maskmim.stats` prints."""

import numpy as np
import pytest
from PIL import Image

from maskmim.checkpoints.load_run import load_trained
from tests import running
from tests.commands.test_stats import printed_flags
from tests.data import files
from tests.data.deep_files import numbers, tiff

pytestmark = pytest.mark.full

BANDS = 5
SMALL = (
    "input.size=16,16",
    "model.variant=nano",
    "model.patch=8,8",
    "model.decoder_depth=1",
    "model.decoder_width=32",
    "model.decoder_heads=2",
    "mask.brick=maskmim.masks.uniform.random",
    "train.batch_size=4",
    "train.epochs=1",
    "schedule.warmup_epochs=0",
    "evals.at_end=()",
    "log.pictures_every_epochs=1",
)


def band_files(dtype):
    """Bands that differ by a constant, so that a picture shows which of them it has."""
    content = {}
    for seed in range(8):
        values = numbers("uint16", (BANDS, 20, 20), seed) // 64
        bands = values + 1000 * np.arange(BANDS)[:, None, None]
        content[f"{seed}.tif"] = tiff(
            bands.astype(dtype), photometric="minisblack", planarconfig="separate"
        )
    return content


def test_bands_train_with_the_printed_flags(tmp_path):
    files.write(tmp_path / "data", band_files("float32"))
    measured = running.run("stats", "--path", str(tmp_path / "data"))
    assert measured.returncode == 0, measured.stderr
    names = "B1,B2,B3,B4,B5"
    flags = [*printed_flags(measured.stdout), *SMALL, f"input.channel_names={names}"]
    flags += ["log.picture_channels=B5,B4,B1"]
    words = ["--config", f"folder:path={tmp_path / 'data'}", "--workdir", str(tmp_path / "run")]
    words += [f"--config.{flag}" for flag in flags]
    trained = running.run("train", *words, **running.as_tests())
    assert trained.returncode == 0, trained.stderr
    assert "note:" not in trained.stdout
    spec = load_trained(tmp_path / "run").spec
    assert spec.channels == BANDS and spec.names == tuple(names.split(","))
    sheet = np.asarray(Image.open(tmp_path / "run" / "images" / "masks.png"))
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50
    renamed = [word.replace("B1,B2", "B2,B1") for word in words]
    refused = running.run("train", *renamed, **running.as_tests())
    assert refused.returncode == 2 and "input.channel_names" in refused.stderr
