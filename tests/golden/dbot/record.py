"""Writes tests/golden/dbot/values.npz with the official dBOT, run once on a tiny case.

  git clone https://github.com/liuxingbin/dbot
  python -m tests.golden.dbot.record dbot

Runs MaskedAutoencoderViT of models_mae.py (norm_feature_loss, tlayernorm=0) and a teacher of the
same class with the weights, pictures and noise of tests/golden/dbot/case.py on a CPU in float32,
with a teacher of all blocks and with one of none. Stores the predictions of every token, the class
token first, the teachers' features, both losses, and the gradients of the loss with all blocks, one
after another in the order of the case's layout. Blocks and patch embedding are those of timm
1.0.31; the official code was written for 0.4.12. Recorded from commit
db3b15ecb186a552c9fb64b39169f5b3696adca7.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.dbot import case
from tests.torchvision_operators import DefineBeforeImport


def official(models, of: str, **changes) -> torch.nn.Module:
    """An official model with the case's sizes and the weights of the student or the teacher."""
    sizes = {
        "img_size": case.IMAGE,
        "patch_size": case.PATCH,
        "depth": case.ENCODER[0],
        "embed_dim": case.ENCODER[1],
        "num_heads": case.ENCODER[2],
        "decoder_depth": case.DECODER[0],
        "decoder_embed_dim": case.DECODER[1],
        "decoder_num_heads": case.DECODER[2],
        "norm_layer": partial(torch.nn.LayerNorm, eps=1e-6),
        "norm_feature_loss": True,
    }
    model = models.MaskedAutoencoderViT(**{**sizes, **changes})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape), of=of)))
    return model


def main(folder: str) -> None:
    """Runs the models with the case's noise in place of torch.rand, and stores what comes out."""
    np.float = float  # which numpy had when the code was written
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    models = importlib.import_module("models_mae")
    student = official(models, "student")
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    found = {}
    for depth in case.DEPTHS:
        teacher = official(models, "teacher", depth=depth, decoder_depth=0).requires_grad_(False)
        loss, predictions, _ = student(pictures, teacher=teacher, mask_ratio=case.RATIO)
        found[f"features_{depth}"] = teacher.forward_teacher(pictures, 0).numpy()
        found[f"loss_{depth}"] = np.float32(loss.item())
        if depth == case.DEPTHS[0]:
            found["predictions"] = predictions.detach().numpy()
            loss.backward()
    learnt = {name: p.grad.numpy() for name, p in student.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found["gradients"] = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
