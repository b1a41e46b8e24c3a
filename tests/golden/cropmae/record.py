"""Writes tests/golden/cropmae/values.npz with the official CropMAE, run once on a tiny case.

  git clone https://github.com/alexandre-eymael/CropMAE
  pip download --no-deps timm==0.9.16           # and unpack it into a folder TIMM
  python -m tests.golden.cropmae.record CropMAE TIMM

Runs SiameseMAE of models/SiamMAE.py (norm_pix_loss) with the weights, views and noise of
tests/golden/cropmae/case.py on a CPU in float32; the decoder's feed-forward layers have the case's
hidden units instead of 2048. Stores the weights' names and shapes, and without dropout: the tokens
of the whole view, predictions, which tokens are predicted, the loss and every gradient, one after
another in the order of the names; with dropout: mean and variance of the predictions over many
draws. Recorded from commit 5d0dab2e4d202a65ab54860f51fa1145e6f3c315.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.cropmae import case

CHUNK = 500  # draws at a time


def official(folder: str, timm: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    modules = ("timm", "timm.data", "timm.models", "torchvision", "torchvision.ops")
    for name in (*modules, "torchvision.ops.misc"):
        stand = sys.modules[name] = types.ModuleType(name)
        stand.__path__ = [f"{timm}/{name.replace('.', '/')}"]  # its __init__ wants torchvision
    sys.modules["timm"].__version__ = "0.9.16"
    sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = torch.nn.Identity
    for kind in ("IMAGENET_DEFAULT", "IMAGENET_INCEPTION", "OPENAI_CLIP"):
        setattr(sys.modules["timm.data"], f"{kind}_MEAN", ())
        setattr(sys.modules["timm.data"], f"{kind}_STD", ())
    sys.path.insert(0, folder)
    models = importlib.import_module("models.SiamMAE")
    models.DecoderBlock = partial(models.DecoderBlock, dim_feedforward=case.HIDDEN)
    model = models.SiameseMAE(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def moments(model: torch.nn.Module, views: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the predictions over draws of dropout: f64[B, N, values] each."""
    model.train()
    torch.manual_seed(0)
    total = squares = 0.0
    with torch.no_grad():
        whole = model.forward_encoder_no_masking(views[:, 0])
        latent, _, order = model.forward_encoder(views[:, 1], case.RATIO)
        for _ in range(case.DRAWS // CHUNK):
            repeated = (x.repeat(CHUNK, *[1] * (x.ndim - 1)) for x in (whole, latent, order))
            predictions = model.forward_decoder(*repeated).double()
            predictions = predictions.reshape(CHUNK, case.EXAMPLES, *predictions.shape[1:])
            total = total + predictions.sum(0)
            squares = squares + predictions.square().sum(0)
    mean = total / case.DRAWS
    return mean.numpy(), (squares / case.DRAWS - mean.square()).numpy()


def main(folder: str, timm: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    model = official(folder, timm)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    views = torch.from_numpy(case.views())
    model.eval()
    whole = model.forward_encoder_no_masking(views[:, 0])
    loss, (predictions,), (mask,) = model(views, mask_ratio=case.RATIO)
    loss.backward()
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    mean, variance = moments(model, views)
    found = {
        "whole": whole.detach().numpy(),
        "predictions": predictions.detach().numpy(),
        "predict": np.stack([np.flatnonzero(row) for row in mask.numpy()]),
        "loss": np.float32(loss.item()),
        "names": np.array(list(learnt)),
        "shapes": np.array([" ".join(map(str, p.shape)) for p in learnt.values()]),
        "gradients": np.concatenate([p.grad.numpy().reshape(-1) for p in learnt.values()]),
        "mean": mean.astype(np.float32),
        "variance": variance.astype(np.float32),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
