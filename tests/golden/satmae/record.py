"""Writes tests/golden/satmae/values.npz with the official SatMAE, run once on a tiny case.

  git clone https://github.com/sustainlab-group/SatMAE    # e31c11fa1bef6f9a9aa3eb49e8637c8b8952ba5e
  python -m tests.golden.satmae.record SatMAE

Runs MaskedAutoencoderGroupChannelViT with the weights, pictures and masks of
tests/golden/satmae/case.py on a CPU in float32; needs timm, whose blocks have lost the keyword
qk_scale. Stores predictions, the loss, and all gradients one after another in the order of the
case's layout. np.float, which numpy has lost, stands for float64.
"""

from __future__ import annotations

import functools
import importlib
import sys

import numpy as np
import timm.models.vision_transformer as vision_transformer
import torch

from tests.golden.satmae import case


def official(folder: str) -> torch.nn.Module:
    """Return the official model with the case's sizes and weights."""
    np.float = np.float64
    block = vision_transformer.Block
    vision_transformer.Block = lambda *arguments, qk_scale=None, **options: block(
        *arguments, **options
    )
    sys.path.insert(0, folder)
    module = importlib.import_module("models_mae_group_channels")
    depth, width, heads = case.ENCODER
    decoder_depth, decoder_width, decoder_heads = case.DECODER
    model = module.MaskedAutoencoderGroupChannelViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        in_chans=case.BANDS,
        channel_groups=tuple(case.GROUPS.values()),
        channel_embed=case.CODE,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        decoder_channel_embed=case.DECODER_CODE,
        decoder_embed_dim=decoder_width,
        decoder_depth=decoder_depth,
        decoder_num_heads=decoder_heads,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Run the model with the case's masks, and store what comes out."""
    model = official(folder)
    torch.rand = lambda *shape, **options: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.picture()).permute(0, 3, 1, 2)
    loss, predictions, mask = model(pictures, mask_ratio=case.RATIO)
    loss.backward()
    learnt = {n: p.grad.numpy() for n, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "loss": np.float32(loss.item()),
        "predictions": predictions.detach().numpy(),
        "hidden": mask.numpy().astype(bool),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")
    print(f"loss {loss.item():.6f}")


if __name__ == "__main__":
    main(sys.argv[1])
