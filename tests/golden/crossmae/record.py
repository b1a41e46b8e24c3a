"""Writes tests/golden/crossmae/values.npz with the official CrossMAE, run once on a tiny case.

  git clone https://github.com/TonyLianLong/CrossMAE
  python -m tests.golden.crossmae.record CrossMAE

Runs MaskedAutoencoderViT of models_cross.py (weight_fm, use_input, all feature maps, norm_pix_loss)
with the weights, pictures and noise of tests/golden/crossmae/case.py on a CPU in float32, where its
autocast does nothing. Stores predictions and loss for both shares of predicted tokens, and every
gradient for the first share, one after another in the order of the case's layout. timm is replaced
by the two names that are imported of it. Recorded from commit
ed0677a978a54c4dac3d28d54efb6b687c9d3dec.
"""

from __future__ import annotations

import importlib
import sys
import types

import numpy as np
import torch

from tests.golden.crossmae import case


def official(folder: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    stands = {
        name: types.ModuleType(name) for name in ("timm", "timm.layers", "timm.layers.helpers")
    }
    stands["timm.layers"].DropPath = torch.nn.Identity
    stands["timm.layers.helpers"].to_2tuple = lambda size: (size, size)
    sys.modules.update(stands)
    sys.path.insert(0, folder)
    models = importlib.import_module("models_cross")
    model = models.MaskedAutoencoderViT(
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
        weight_fm=True,
        use_input=True,
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
    pictures = torch.from_numpy(case.pictures())
    found = {}
    for kept in case.KEPT:
        features, mask, order, coords = model.forward_encoder(pictures, case.RATIO, kept)
        predictions, _ = model.forward_decoder(features, mask, order, coords, case.RATIO, kept)
        loss = model(pictures, mask_ratio=case.RATIO, kept_mask_ratio=kept)
        found[f"predictions_{kept}"] = predictions.detach().numpy()
        found[f"predict_{kept}"] = np.stack([np.flatnonzero(row) for row in mask.numpy()])
        found[f"loss_{kept}"] = np.float32(loss.item())
        if kept == case.KEPT[0]:
            loss.backward()
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found["gradients"] = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
