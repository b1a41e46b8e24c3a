"""Writes tests/golden/masks/video_official.npz with the official code of four repositories.

  git clone https://github.com/OpenGVLab/VideoMAEv2      # 29eab1e8a588d1b3ec0cdec7b03a86cca491b74b
  git clone https://github.com/MCG-NJU/MGMAE             # af7beb988fa9b06fba44c87db037529166020a1f
  git clone https://github.com/sunilhoho/EVEREST         # 8ebdd700b64559171215407166897e4cd3543915
  git clone https://github.com/facebookresearch/AudioMAE # bd60e29651285f80d32a6405082835ad26e6f19f
  python tests/golden/masks/video_record.py VideoMAEv2/dataset/masking_generator.py \
      MGMAE/dataset/masking_generator.py EVEREST/modeling_pretrain.py AudioMAE/models_mae.py

Classes and functions are taken out of their files and run on the CPU. Recorded are a tube, the
running cells of all four phases, a Gaussian mixture with patches of one pixel, EVEREST's shown and
predicted tokens, and AudioMAE's mask of time and frequency with the noise that made it.
"""

from __future__ import annotations

import ast
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "video_official.npz"
GRID = (8, 14, 14)


def definitions(path: str, names: set[str]) -> dict:
    """Top-level classes and methods of a file by name, without the rest of it."""
    tree = ast.parse(Path(path).read_text())
    found = [node for node in ast.walk(tree) if getattr(node, "name", None) in names]
    scope = {"torch": torch, "np": np, "partial": partial}
    exec(compile(ast.Module(found, []), path, "exec"), scope)
    return scope


def videomae(path: str) -> dict[str, np.ndarray]:
    """One tube, and the masks of the decoder that hide one, two or three places of a cell."""
    names = {"Cell", "TubeMaskingGenerator", "RunningCellMaskingGenerator"}
    official = definitions(path, names)
    np.random.seed(0)
    found = {"tube": official["TubeMaskingGenerator"](GRID, 0.9)()}
    for ratio in (0.25, 0.5, 0.75):
        maps = official["RunningCellMaskingGenerator"](GRID, ratio).all_mask_maps
        found[f"cells_{ratio}"] = maps.reshape(4, -1)
    return {name: np.packbits(mask.astype(bool), axis=-1) for name, mask in found.items()}


def mgmae(path: str) -> dict[str, np.ndarray]:
    """The map of the base frame; its centres are where it is 1."""
    official = definitions(path, {"gaussian_2d", "MixGaussianInitialMaskingGenerator"})
    torch.manual_seed(0)
    return {"mixture": official["MixGaussianInitialMaskingGenerator"](GRID, 0.9, 1)().numpy()}


def everest(path: str) -> dict[str, np.ndarray]:
    """Tokens that are not shown and that are not predicted, of standard normal features."""
    official = definitions(path, {"mcm_step"})
    features = np.random.RandomState(0).standard_normal((2, 1568, 4)).astype(np.float32)
    torch.manual_seed(0)
    model = types.SimpleNamespace(mcm_ratio=0.7, masking_ratio=0.9)
    masks = official["mcm_step"](model, torch.from_numpy(features), 2, 196, 8, 4)
    names = ("everest_unshown", "everest_unpredicted")
    return {n: np.packbits(m.numpy(), axis=-1) for n, m in zip(names, masks, strict=True)}


def audiomae(path: str) -> dict[str, np.ndarray]:
    """The mask for 0.6 of time and 0.5 of frequency; the smallest noise is kept."""
    official = definitions(path, {"random_masking_2d"})
    torch.manual_seed(0)
    time, mel = torch.rand(2, 64), torch.rand(2, 8)
    torch.manual_seed(0)
    model = types.SimpleNamespace(use_custom_patch=False)
    tokens = torch.zeros(2, 512, 1)
    _, mask, _ = official["random_masking_2d"](model, tokens, 0.6, 0.5)
    mask = np.packbits(mask.numpy().astype(bool), axis=-1)
    return {"audio_time": time.numpy(), "audio_mel": mel.numpy(), "audio_mask": mask}


def main(*paths: str) -> None:
    """Records all of them."""
    recorders = (videomae, mgmae, everest, audiomae)
    stored = {}
    for recorder, path in zip(recorders, paths, strict=True):
        stored |= recorder(path)
    np.savez_compressed(GOLDEN, **stored)


if __name__ == "__main__":
    main(*sys.argv[1:])
