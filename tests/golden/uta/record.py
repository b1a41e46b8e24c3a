"""Writes tests/golden/uta/values.npz with the official student of UTA, run once on a tiny case.

  git clone https://github.com/jihaonew/UTA
  python -m tests.golden.uta.record UTA

Runs EVAVisionTransformer of eva_vit_model/eva_vit.py with dropped patches (RoPE=1, training) and
the weights, pictures and noise of tests/golden/uta/case.py on a CPU in float32, without xformers.
The repository has no training code, so that the loss is written here: the mean over the class token
and the visible tokens of 1 minus torch's cosine between head and teacher. Stores the head's
outputs, the visible tokens in the order of the grid, the loss and every gradient, one after another
in the order of the case's layout; and the head's output of whole pictures for the class token.
Recorded from commit 0a930cc55b51a25098b9ed3c6c708d8869aaeab2.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.uta import case
from tests.torchvision_operators import DefineBeforeImport


def official_student(module) -> torch.nn.Module:
    """The official student with the case's weights."""
    depth, width, heads = case.STUDENT
    model = module.EVAVisionTransformer(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        num_classes=case.VALUES,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=2.6667,
        qkv_bias=True,
        norm_layer=partial(module.LayerNorm, eps=1e-6),
        patch_dropout=case.RATIO,
        rope=True,
        intp_freq=True,
        use_mean_pooling=False,
        naiveswiglu=True,
        subln=True,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
        model.pos_embed[:, 0] = 0
    return model


def main(folder: str) -> None:
    """Runs the student with the case's noise in place of torch.randn, and stores what comes out."""
    os.environ.update({"RoPE": "1"})
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    model = official_student(importlib.import_module("eva_vit_model.eva_vit"))
    pictures, wanted = torch.from_numpy(case.pictures()), torch.from_numpy(case.features())
    with torch.no_grad():
        whole = model.eval()(pictures)
    torch.randn = lambda *shape: torch.from_numpy(case.noise())
    outputs = model.train().head(model.norm(model(pictures, return_all_features=True)))
    drawn = torch.from_numpy(case.noise()).topk(outputs.shape[1] - 1, dim=-1).indices
    places = torch.cat([torch.zeros(case.EXAMPLES, 1).long(), 1 + drawn], dim=1)
    targets = wanted.gather(1, places[..., None].expand(-1, -1, case.VALUES))
    loss = (1 - torch.nn.functional.cosine_similarity(outputs, targets, dim=-1)).mean()
    loss.backward()
    found = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    found["pos_embed"] = np.where(np.arange(1 + case.GRID**2)[:, None] == 0, 0, found["pos_embed"])
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(found):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(found))}")
    ordered = outputs.gather(1, places.argsort(dim=1)[..., None].expand_as(outputs))
    np.savez_compressed(
        case.GOLDEN,
        whole=whole.numpy(),
        visible=drawn.sort(dim=1).values.numpy(),
        outputs=ordered.detach().numpy(),
        loss=np.float32(loss.item()),
        gradients=np.concatenate([found[name].reshape(-1) for name in names]),
    )
    print(f"{case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
