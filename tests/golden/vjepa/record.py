"""Writes tests/golden/vjepa/values.npz with the official V-JEPA, run once on a tiny case.

  git clone https://github.com/facebookresearch/jepa   # 51c59d518fc63c08464af6de585f78ac0c7ed4d5
  python -m tests.golden.vjepa.record jepa

Runs VisionTransformer of src/models/vision_transformer.py and VisionTransformerPredictor of
src/models/predictor.py with the weights, clips and masks of tests/golden/vjepa/case.py on a CPU in
float32, and what forward_target and loss_fn of app/vjepa/train.py, which are inside its main, do
with them. Stores the predictions and the targets of both masks, the loss, and its gradients, one
after another in the order of the case's layout.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.vjepa import case

NORM = partial(torch.nn.LayerNorm, eps=1e-6)


def networks(encoders, predictors, of: str) -> torch.nn.ModuleDict:
    """The official encoder and predictor with the weights of the student or of the average."""
    common = {
        "img_size": case.IMAGE,
        "patch_size": case.PATCH,
        "num_frames": case.FRAMES,
        "tubelet_size": case.TUBELET,
        "qkv_bias": True,
        "norm_layer": NORM,
        "uniform_power": True,
    }
    depth, width, heads = case.ENCODER
    encoder = encoders.VisionTransformer(embed_dim=width, depth=depth, num_heads=heads, **common)
    depth, narrow, heads = case.PREDICTOR
    predictor = predictors.VisionTransformerPredictor(
        embed_dim=width,
        predictor_embed_dim=narrow,
        depth=depth,
        num_heads=heads,
        use_mask_tokens=True,
        **common,
    )
    both = torch.nn.ModuleDict({"encoder": encoder, "predictor": predictor})
    with torch.no_grad():
        for name, parameter in both.named_parameters():
            if parameter.requires_grad:
                shape = case.joined(name, np.zeros(tuple(parameter.shape))).shape
                drawn = case.weight(name, shape, of=of).reshape(tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn))
    return both


def main(folder: str) -> None:
    """Runs both networks and their averages, and stores what comes out."""
    sys.path.insert(0, folder)
    encoders = importlib.import_module("src.models.vision_transformer")
    predictors = importlib.import_module("src.models.predictor")
    apply_masks = importlib.import_module("src.masks.utils").apply_masks
    clips = torch.from_numpy(case.clips())
    student, average = (networks(encoders, predictors, of) for of in ("student", "average"))
    with torch.no_grad():
        features = average["encoder"](clips)
        features = torch.nn.functional.layer_norm(features, (features.size(-1),))
    loss, found = torch.zeros(()), {}
    for number, (seen, asked) in enumerate(case.places()):
        seen, asked = [torch.from_numpy(seen)], [torch.from_numpy(asked)]
        encoded = student["encoder"](clips, seen)
        predicted = student["predictor"](encoded, None, seen, asked, mask_index=number)
        wanted = apply_masks(features, asked, concat=False)[0]
        loss = loss + torch.mean(torch.abs(predicted - wanted))
        found |= {f"predictions_{number}": predicted.detach().numpy()}
        found |= {f"targets_{number}": wanted.numpy()}
    loss = loss / len(case.places())
    loss.backward()
    learnt = {name: p.grad.numpy() for name, p in student.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    gradients = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, loss=np.float32(loss.item()), gradients=gradients, **found)
    print(f"{loss.item()}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
