"""Writes tests/golden/maskalign/values.npz with the official MaskAlign, run once on a tiny case.

  git clone https://github.com/OpenDriveLab/maskalign
  python -m tests.golden.maskalign.record maskalign

Runs MaskedAutoencoderViT of models_pretrain.py (whiten, smoothl1, linear heads, attention masks,
linear fusion, the top layers) with the weights and pictures of tests/golden/maskalign/case.py and
with a tiny CLIPVisionModel in place of the downloaded one, on a CPU in float32. The heads, which
are made for 12 layers of 768 values, are replaced by heads of the teacher's sizes; the noise of the
case orders the tokens in place of torch.multinomial. Stores the attention that is drawn from,
predictions and targets of the layers that have a loss (the class token, then the visible tokens in
the order of the grid), the loss and the gradients: of the encoder one after another in the order of
the case's layout, of mixtures and heads by themselves. Blocks and patch embedding are those of timm
1.0.31, whose blocks take no `qk_scale`, always None here, and a rate of dropped paths per block.
Recorded from commit 250d018a0724520a3274a27e4923a011a98c70f0.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from tests.golden.maskalign import case
from tests.golden.official_weights import large
from tests.torchvision_operators import DefineBeforeImport


def official(models) -> torch.nn.Module:
    """The official student with the case's weights, and the case's teacher in it."""
    models.CLIPVisionModel.from_pretrained = lambda name: case.clip()
    model = models.MaskedAutoencoderViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.STUDENT[0],
        embed_dim=case.STUDENT[1],
        num_heads=case.STUDENT[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        loss_weights=f"top{len(case.LAYERS)}",
        mask_type="attention",
        fusion_type="linear",
        target_norm="whiten",
        loss_type="smoothl1",
    )
    heads = [torch.nn.Linear(case.STUDENT[1], case.TEACHER[1]) for _ in range(case.TEACHER[0])]
    model.distill_heads = torch.nn.ModuleList(heads)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(large(name, tuple(parameter.shape))))
    return model


def by_place(values: torch.Tensor, keep: torch.Tensor) -> np.ndarray:
    """Order the visible tokens of [B, 1 + K, V] as on the grid."""
    order = keep.argsort(dim=1)[..., None].expand(-1, -1, values.shape[-1])
    return torch.cat([values[:, :1], values[:, 1:].gather(1, order)], dim=1).detach().numpy()


def main(folder: str) -> None:
    """Runs the model and stores what comes out."""
    np.float = float  # which numpy had when the code was written
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    timm_vit = importlib.import_module("timm.models.vision_transformer")
    block = timm_vit.Block
    timm_vit.Block = lambda *sizes, qk_scale, **options: block(*sizes, **options)
    models = importlib.import_module("models_pretrain")
    model, drawn_from = official(models), []

    def order(weights, count, replacement):
        drawn_from.append(weights.numpy())
        return torch.from_numpy(case.noise()).argsort(dim=1)

    torch.multinomial = order
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    pictures = torch.from_numpy(((case.pictures() - mean) / std).transpose(0, 3, 1, 2).copy())
    _, _, states, attentions = model.forward_clip(pictures)
    hidden, keep = model.forward_encoder(pictures, case.RATIO, attentions)
    student, teacher = model.get_student(hidden), model.get_teacher(states, keep)
    loss = model.forward_loss(student, teacher)
    loss.backward()
    chosen = [layer - 1 for layer in case.LAYERS]
    learnt = dict(model.named_parameters())
    heads = [model.distill_heads[place] for place in chosen]
    gradients = [learnt[entry.name].grad.numpy().reshape(-1) for entry in case.encoder()]
    found = {
        "attention": drawn_from[0],
        "predictions": np.stack([by_place(student[place], keep) for place in chosen]),
        "targets": np.stack([by_place(teacher[place], keep) for place in chosen]),
        "loss": np.float32(loss.item()),
        "gradients": np.concatenate(gradients),
        "weights": model.distill_weights.grad.numpy()[chosen],
        "kernel": np.stack([head.weight.grad.numpy().T for head in heads]),
        "bias": np.stack([head.bias.grad.numpy() for head in heads]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
