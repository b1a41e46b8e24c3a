"""Writes tests/golden/dmae/values.npz with the official DMAE, run once on a tiny case.

  git clone https://github.com/UCSC-VLAA/DMAE
  python -m tests.golden.dmae.record DMAE

Runs MaskedAutoencoderViT of models_mae_distill.py as student and as teacher with the weights,
pictures and noise of tests/golden/dmae/case.py on a CPU in float32, as engine_distill.py does
(norm_pix_loss off, L1, fc-1layer). Stores the teacher's features of the class token and the visible
tokens, these in the order of the grid, the student's predictions of every token, both losses, and
the gradients of their sum, one after another in the order of the case's layout. Blocks and patch
embedding are those of timm 1.0.31; the official code was written for 0.4.12, whose blocks took a
`qk_scale`, always None here. Recorded from commit a0f4959e848f960e79607c097d0d726ed0677b40.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.dmae import case
from tests.torchvision_operators import DefineBeforeImport


def official(models, of: str, size: tuple[int, int, int], **options) -> torch.nn.Module:
    """An official model with the weights of the student or the teacher."""
    model = models.MaskedAutoencoderViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=size[0],
        embed_dim=size[1],
        num_heads=size[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        embedding_distillation_func="L1",
        student_reconstruction_target="original_img",
        **options,
    )
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
    timm_vit = importlib.import_module("timm.models.vision_transformer")
    block = timm_vit.Block
    timm_vit.Block = lambda *sizes, qk_scale, **options: block(*sizes, **options)
    models = importlib.import_module("models_mae_distill")
    widths = case.STUDENT[1], case.TEACHER[1]
    student = official(
        models,
        "student",
        case.STUDENT,
        aligned_blks_indices=[case.BLOCKS[0] - 1],
        aligned_feature_projection_mode="fc-1layer",
        aligned_feature_projection_dim=widths,
    )
    teacher = official(
        models, "teacher", case.TEACHER, aligned_blks_indices=[case.BLOCKS[1] - 1]
    ).eval()
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    with torch.no_grad():
        latents, mask, restore, keep = teacher.forward_encoder_customized(pictures, case.RATIO)
    loss, aligned, predictions, _ = student(
        pictures, keep, restore, mask, None, latents_teacher=latents
    )
    (align,) = aligned.values()
    (loss + align).backward()
    order = keep.argsort(dim=1)[..., None].expand(-1, -1, widths[1])
    features = torch.cat([latents[0][:, :1], latents[0][:, 1:].gather(1, order)], dim=1)
    learnt = {name: p.grad.numpy() for name, p in student.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "features": features.numpy(),
        "predictions": predictions.detach().numpy(),
        "pixels": np.float32(loss.item()),
        "align": np.float32(align.item()),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
