"""Writes tests/golden/r_mae/values.npz with the official R-MAE, run once on a tiny case.

  git clone https://github.com/facebookresearch/r-mae
  python -m tests.golden.r_mae.record r-mae

Runs RegionQueryRMAE of pretrain/module/rmae.py (norm_pix_loss, one region encoder block, one
expanding decoder block, loss weights 1) with the weights, pictures, regions and noise of
tests/golden/r_mae/case.py on a CPU in float32. Stores the predictions on hidden patches, both
losses, and every gradient of their sum, one after another in the order of the case's layout.
The package's own start, which sets up trainers, and omegaconf, which only its builders use, are
replaced by empty modules. Recorded from commit f92b3c435771b04fc98c5af3fdde8e32a423aa85.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.r_mae import case


def official(folder: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    sys.modules["omegaconf"] = types.ModuleType("omegaconf")
    for name in ("pretrain", "pretrain.module", "pretrain.utils"):
        stand = types.ModuleType(name)
        stand.__path__ = [str(Path(folder, *name.split(".")))]
        sys.modules[name] = stand
    rmae = importlib.import_module("pretrain.module.rmae")
    model = rmae.RegionQueryRMAE(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
        norm_pix_loss=True,
        num_region=case.REGIONS,
        region_enc_dim=case.MEMORY[1],
        region_enc_num_heads=case.MEMORY[2],
        region_dec_dim=case.MEMORY[1],
        region_dec_num_heads=case.MEMORY[2],
        region_cross_layer=case.MEMORY[0],
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    model = official(folder)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures, regions = torch.from_numpy(case.pictures()), torch.from_numpy(case.regions())
    loss, (pixels, logits), losses, (mask, _) = model(pictures, case.RATIO, region=regions.float())
    loss.backward()
    hidden = np.stack([np.flatnonzero(row) for row in mask.numpy()])
    rows = np.arange(case.EXAMPLES)[:, None]
    found = {
        "predict": hidden,
        "pixels": pixels.detach().numpy()[rows, hidden],
        "regions": logits.detach().numpy().swapaxes(1, 2)[rows, hidden].swapaxes(1, 2),
        "losses": np.array([part.item() for part in losses], np.float32),
    }
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found["gradients"] = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
