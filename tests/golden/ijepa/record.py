"""Writes tests/golden/ijepa/values.npz with the official I-JEPA, run once on a tiny case.

  git clone https://github.com/facebookresearch/ijepa
  python -m tests.golden.ijepa.record ijepa

Runs VisionTransformer and VisionTransformerPredictor of src/models/vision_transformer.py with the
weights, pictures and masks of tests/golden/ijepa/case.py on a CPU in float32, and what
forward_target and loss_fn of src/train.py, which are inside its main, do with them. Stores the
predictions and the targets of each mask, the loss, and its gradients, one after another in the
order of the case's layout. Recorded from commit 52c1ae95d05f743e000e8f10a1f3a79b10cff048.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.ijepa import case

NORM = partial(torch.nn.LayerNorm, eps=1e-6)


def networks(models, of: str) -> torch.nn.ModuleDict:
    """The official encoder and predictor with the weights of the student or of the average."""
    depth, width, heads = case.ENCODER
    encoder = models.VisionTransformer(
        img_size=[case.IMAGE],
        patch_size=case.PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        qkv_bias=True,
        norm_layer=NORM,
    )
    depth, narrow, heads = case.PREDICTOR
    predictor = models.VisionTransformerPredictor(
        num_patches=encoder.patch_embed.num_patches,
        embed_dim=width,
        predictor_embed_dim=narrow,
        depth=depth,
        num_heads=heads,
        norm_layer=NORM,
    )
    both = torch.nn.ModuleDict({"encoder": encoder, "predictor": predictor})
    with torch.no_grad():
        for name, parameter in both.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape), of=of)))
    return both


def main(folder: str) -> None:
    """Runs both networks and their averages, and stores what comes out."""
    sys.path.insert(0, folder)
    models = importlib.import_module("src.models.vision_transformer")
    apply_masks = importlib.import_module("src.masks.utils").apply_masks
    context, targets = case.places()
    seen, asked = [torch.from_numpy(context)], [torch.from_numpy(target) for target in targets]
    pictures = torch.from_numpy(case.pictures())
    student, average = networks(models, "student"), networks(models, "average")
    with torch.no_grad():
        features = average["encoder"](pictures)
        features = torch.nn.functional.layer_norm(features, (features.size(-1),))
        wanted = apply_masks(features, asked)
    predicted = student["predictor"](student["encoder"](pictures, seen), seen, asked)
    loss = torch.nn.functional.smooth_l1_loss(predicted, wanted)
    loss.backward()
    learnt = {name: p.grad.numpy() for name, p in student.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    shape = (case.TARGETS, case.EXAMPLES, case.TARGET, -1)
    np.savez_compressed(
        case.GOLDEN,
        predictions=predicted.detach().numpy().reshape(shape),
        targets=wanted.numpy().reshape(shape),
        loss=np.float32(loss.item()),
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
    )
    print(f"{case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
