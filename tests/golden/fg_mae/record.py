"""Writes tests/golden/fg_mae/values.npz with the official FG-MAE, run once on a tiny case.

  git clone https://github.com/zhu-xlab/FGMAE
  python -m tests.golden.fg_mae.record FGMAE

Runs MaskedAutoencoderViT of src/pretrain_ssl/models/mae/models_mae_2.py (norm_pix_loss, hog_norm)
with the weights, pictures and noise of tests/golden/fg_mae/case.py on a CPU in float32. Stores the
loss, and every 61st number of predictions, targets (before they are standardised) and gradients,
these in the order of the case's layout; of the targets of ViT-H/14 on two channels, too. kornia,
which that file imports and does not use, is replaced by an empty module. Recorded from commit
1144e5500dacdc60343192071a064af23c2ee937, with timm 1.0.31.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.fg_mae import case
from tests.torchvision_operators import DefineBeforeImport


def official(folder: str):
    """The official module and its model with the case's sizes and weights."""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.modules["kornia"] = types.ModuleType("kornia")
    sys.path.insert(0, str(Path(folder, "src/pretrain_ssl/models")))
    np.float = float  # as numpy below 1.24 had it, for util/pos_embed.py
    models = importlib.import_module("mae.models_mae_2")
    model = models.MaskedAutoencoderViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        in_chans=case.BANDS,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
        feature="hog+ndi",
        hog_norm=True,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return models, model


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    models, model = official(folder)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    latent, _, order = model.forward_encoder(pictures, case.RATIO)
    predicted = model.forward_decoder(latent, order)
    loss, _, _, _, _, indices = model(pictures, mask_ratio=case.RATIO)
    loss.backward()
    learnt = {name: p.grad.reshape(-1) for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    other = models.HOGLayerC(
        nbins=9, pool=case.OTHER_PATCH // 2, norm_out=True, in_channels=case.OTHER_BANDS
    )
    arrays = {
        "hog": predicted[0],
        "ndi": predicted[1],
        "target_hog": model.hog(pictures)[0],
        "target_ndi": model.patchify(indices),
        "target_other": other(torch.from_numpy(case.pictures(case.OTHER_BANDS)))[0],
        "gradients": torch.cat([learnt[name] for name in names]),
    }
    found = {name: a.detach().reshape(-1).numpy()[:: case.EVERY] for name, a in arrays.items()}
    found["loss"] = np.float32(loss.item())
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
