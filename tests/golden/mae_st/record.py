"""Writes tests/golden/mae_st/values.npz with the official MAE-ST, run once on a tiny case.

  git clone https://github.com/facebookresearch/mae_st
  python -m tests.golden.mae_st.record PARENT_OF_mae_st

Runs MaskedAutoencoderViT of models_mae.py with the weights, clips and noise of
tests/golden/mae_st/case.py on a CPU in float32, with norm_pix_loss and the default separable
positions and class token. Stores the predictions, the loss and its gradients, one after another in
the order of the case's layout. The official module of logging is replaced. Recorded from commit
c5dec1bc01062097906ea67fe47935ec33fd46df.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.mae_st import case
from tests.torchvision_operators import DefineBeforeImport


def official(models: types.ModuleType) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    model = models.MaskedAutoencoderViT(
        img_size=case.SIZE[1],
        patch_size=case.PATCH[1],
        embed_dim=case.ENCODER[1],
        depth=case.ENCODER[0],
        num_heads=case.ENCODER[2],
        decoder_embed_dim=case.DECODER[1],
        decoder_depth=case.DECODER[0],
        decoder_num_heads=case.DECODER[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
        num_frames=case.SIZE[0],
        t_patch_size=case.PATCH[0],
        sep_pos_embed=True,
        cls_embed=True,
        pred_t_dim=case.GRID[0],
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.split(name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    stand_in = types.ModuleType("mae_st.util.logging")
    stand_in.get_logger, stand_in.master_print = logging.getLogger, print
    sys.modules["mae_st.util.logging"] = stand_in
    model = official(importlib.import_module("mae_st.models_mae"))
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    clips = torch.from_numpy(case.clips()).permute(0, 4, 1, 2, 3)
    loss, predictions, _ = model(clips, mask_ratio=case.RATIO)
    loss.backward()
    learnt = case.joined({name: p.grad.numpy() for name, p in model.named_parameters()})
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "predictions": predictions.detach().numpy(),
        "loss": np.float32(loss.item()),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
