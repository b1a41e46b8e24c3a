"""Writes tests/golden/everest/values.npz with the official EVEREST, run once on a tiny case.

  git clone https://github.com/sunilhoho/EVEREST
  python -m tests.golden.everest.record EVEREST

Runs one step of train_one_epoch (engine_for_pretraining.py) on PretrainVisionTransformer with the
weights and clips of tests/golden/everest/case.py, which draws its masks by mcm_step, on a CPU in
float32, where its autocast does nothing. Stores the tokens that are not shown and those that are
not predicted, the predictions, the loss, and every gradient in the order of the case's layout. timm
and the official utils are replaced by what is used of them; einops is needed. Recorded from commit
8ebdd700b64559171215407166897e4cd3543915.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from tests.golden.everest import case
from tests.golden.videomae_v2.record import stand_ins, step


def official(models: types.ModuleType) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    model = models.PretrainVisionTransformer(
        img_size=case.SIZE[1],
        patch_size=case.PATCH[1],
        tubelet_size=case.PATCH[0],
        encoder_depth=case.ENCODER[0],
        encoder_embed_dim=case.ENCODER[1],
        encoder_num_heads=case.ENCODER[2],
        decoder_num_classes=3 * int(np.prod(case.PATCH)),
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        motion_centric_masking=True,
        motion_centric_masking_ratio=1 - case.KEPT,
        masking_ratio=case.RATIO,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Runs the step and stores what comes out."""
    stand_ins()
    sys.path.insert(0, folder)
    models = importlib.import_module("modeling_pretrain")
    engine = importlib.import_module("engine_for_pretraining")
    pixels = torch.from_numpy(case.clips()).float() / 255
    pixels = (pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    pixels = pixels.permute(0, 4, 1, 2, 3)
    model = official(models)
    torch.manual_seed(0)
    predictions, masks = model(pixels, None)
    torch.manual_seed(0)
    loss = step(engine, model, (pixels, torch.zeros(case.EXAMPLES)))
    learnt = case.with_key_biases({name: p.grad.numpy() for name, p in model.named_parameters()})
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    unshown, unpredicted = (np.packbits(mask.numpy(), axis=-1) for mask in masks)
    found = {
        "unshown": unshown,
        "unpredicted": unpredicted,
        "predictions": predictions.detach().numpy(),
        "loss": np.float32(loss),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
