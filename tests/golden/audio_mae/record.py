"""Writes tests/golden/audio_mae/values.npz with the official Audio-MAE, run once on a tiny case.

  git clone https://github.com/facebookresearch/AudioMAE
  pip download --no-deps timm==0.3.2            # and unpack it into a folder TIMM
  cp AudioMAE/timm_patch/swin_transformer.py TIMM/timm/models/
  cp AudioMAE/timm_patch/helpers.py TIMM/timm/models/layers/
  python -m tests.golden.audio_mae.record AudioMAE TIMM

Runs MaskedAutoencoderViT of models_mae.py (audio, decoder_mode 1) with the weights, spectrograms
and noise of tests/golden/audio_mae/case.py on a CPU in float32, in evaluation mode (the only
dropout is that of the position biases). Its decoder's 16 blocks for a grid of 64 x 8 are replaced
by 4 of the same class for the case's grid. Stores predictions of the hidden patches, the loss for
plain and for normalised targets, and two numbers for each gradient of the latter, see case.told.
Recorded from commit bd60e29651285f80d32a6405082835ad26e6f19f.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.audio_mae import case


def official(folder: str, timm: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    np.float = float  # numpy had this name then, torch had torch._six
    for name in ("torch._six", "timm", "timm.data", "timm.models"):
        stand = sys.modules[name] = types.ModuleType(name)
        stand.__path__ = [f"{timm}/{name.replace('.', '/')}"]  # its __init__ wants torchvision
    sys.modules["torch._six"].inf = float("inf")
    sys.modules["timm"].__version__ = "0.3.2"
    for kind in ("DEFAULT", "INCEPTION"):
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_MEAN", ())
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_STD", ())
    sys.path.insert(0, folder)
    models = importlib.import_module("models_mae")
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    model = models.MaskedAutoencoderViT(
        img_size=case.SIZE,
        patch_size=case.PATCH,
        in_chans=1,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_embed_dim=case.DECODER[1],
        norm_layer=norm,
        audio_exp=True,
        decoder_mode=1,
    )
    blocks = [
        models.SwinTransformerBlock(
            dim=case.DECODER[1],
            num_heads=case.DECODER[2],
            feat_size=case.GRID,
            window_size=(case.WINDOW, case.WINDOW),
            shift_size=(layer % 2 * case.SHIFT, 0),
            norm_layer=norm,
        )
        for layer in range(case.DECODER[0])
    ]
    model.decoder_blocks = torch.nn.ModuleList(blocks)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model.eval()


def main(folder: str, timm: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    model = official(folder, timm)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    inputs = torch.from_numpy(case.spectrograms())[:, None]
    features, mask, order, _ = model.forward_encoder(inputs, case.RATIO)
    predictions, _, _ = model.forward_decoder(features, order)
    losses = {
        normalised: model.forward_loss(inputs, predictions, mask, norm_pix_loss=normalised)
        for normalised in (False, True)
    }
    losses[True].backward()
    learnt = {
        name: p.grad.numpy()
        for name, p in model.named_parameters()
        if p.requires_grad and not name.endswith("meta_mlp.fc2.bias")
    }
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    hidden = mask.numpy().astype(bool)
    np.savez_compressed(
        case.GOLDEN,
        predictions=predictions.detach().numpy()[hidden].reshape(len(hidden), -1, case.PATCH**2),
        predict=np.stack([np.flatnonzero(row) for row in hidden]).astype(np.int32),
        plain=np.float32(losses[False].item()),
        normalised=np.float32(losses[True].item()),
        gradients=np.stack([case.told(name, learnt[name]) for name in names]),
    )
    print(f"{case.GOLDEN.name}: {case.GOLDEN.stat().st_size / 1e3:.0f} kB, losses {losses}")


if __name__ == "__main__":
    main(*sys.argv[1:])
