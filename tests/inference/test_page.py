"""The examples of docs/python.md run, one after the other, on a small model."""

import re

import numpy as np
import pytest
from PIL import Image

import maskmim
from maskmim.inference import load
from tests.running import ROOT


@pytest.mark.full
def test_the_examples(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(maskmim, "load", load, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(workdir)
    for index in range(10):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index:02d}.jpg")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["features"].shape == (10, 32) and names["unread"] == {}
    assert names["made"].hidden.sum() == 10 * 8 and (tmp_path / "left.png").exists()
