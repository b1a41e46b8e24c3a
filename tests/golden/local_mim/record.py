"""Writes tests/golden/local_mim/values.npz with the official LocalMIM, run once on a tiny case.

  git clone https://github.com/Haoqing-Wang/LocalMIM
  python -m tests.golden.local_mim.record LocalMIM

Runs MaskedAutoencoderViT of ViT/models_mim.py with the weights, pictures and noise of
tests/golden/local_mim/case.py on a CPU in float32. Stores the predictions of the first example, the
loss, every third number of the gradients in the order of the case's layout, and of the first
example HOG with more bins and a bias, at all four sizes of cells. Recorded from commit
314a6e558a8c47bf0ef146235e2ced8d01e27fe6, with timm 1.0.31.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path

import numpy as np
import torch

from tests.golden.local_mim import case
from tests.torchvision_operators import DefineBeforeImport


def official(folder: str):
    """The official module and its model with the case's sizes and weights."""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, str(Path(folder, "ViT")))
    np.float = float  # as numpy below 1.24 had it, for util/pos_embed.py
    models = importlib.import_module("models_mim")
    model = models.MaskedAutoencoderViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        hog_nbins=case.BINS,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return models, model


def histograms(models, pictures: torch.Tensor) -> dict[str, np.ndarray]:
    """HOG of the first picture with many bins and a bias: {scale: [cells, 3 * bins]}."""
    found = {}
    for scale, cell in zip(case.TAPS, (4, 8, 16, 32), strict=True):
        layer = models.HOGLayer(nbins=case.MANY_BINS, pool=cell, bias=True)
        layer.conv.bias.data = torch.tensor(case.SHIFT)
        channels = [layer(pictures[:1, number : number + 1]) for number in range(3)]
        found[f"hog_{scale}"] = torch.cat(channels, 1).flatten(2).transpose(1, 2)[0].numpy()
    found["hog_quarter"] = found["hog_quarter"][::7]
    return found


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    models, model = official(folder)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    latent, _, order = model.forward_encoder(pictures, case.RATIO)
    found = {}
    for number, scale in enumerate(case.TAPS):
        found[scale] = model.decoder[number](latent[number], order)[0].detach().numpy()
    loss = model(pictures, mask_ratio=case.RATIO)
    loss.backward()
    found["loss"] = np.float32(loss.item())
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    gradients = np.concatenate([learnt[name].reshape(-1) for name in names])
    found["gradients"] = gradients[:: case.EVERY]
    found |= histograms(models, pictures)
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
