"""Writes tests/golden/lut/values.npz with the official LUT, run once on a tiny case.

  git clone https://github.com/naver-ai/lut
  pip download --no-deps timm==0.4.12           # and unpack it into a folder TIMM
  python -m tests.golden.lut.record lut TIMM

Runs MaskedAutoencoderViT_LUT of models/models_lut.py (norm_pix_loss, heads of two layers with
BatchNorm1d and ReLU) with the weights, views and noise of tests/golden/lut/case.py on a CPU in
float32, and its average with other weights; the loss of pairs is loss_ftn of engines/engine_lut.py,
cut out of that file, and the pairs are summed as its loop does. Stores the predictions of view 1,
what the predictor makes of both views, what the average's head does, both losses, and of the
gradients of their weighted sum every third number, one after another in the order of the case's
layout. The average's batch norms use their batch; officially they use running averages, which are
stored as 'average_by_running' with those of a fresh model. util.utils_dino, which the release
lacks, is replaced by a stand-in. Recorded from commit 4420a27119987081ba42ce2f6a047ad6940da469.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tests.golden.lut import case


def official(folder: Path, timm: str) -> types.ModuleType:
    """The official models_lut.py, with the two classes that it imports of timm."""
    for name in ("timm", "timm.data", "timm.models"):
        stand = sys.modules[name] = types.ModuleType(name)
        stand.__path__ = [f"{timm}/{name.replace('.', '/')}"]  # its __init__ wants torchvision
    sys.modules["timm"].__version__ = "0.4.12"
    for kind in ("DEFAULT", "INCEPTION"):
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_MEAN", ())
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_STD", ())
    missing = sys.modules["util.utils_dino"] = types.ModuleType("util.utils_dino")
    missing.trunc_normal_ = torch.nn.init.trunc_normal_
    np.float = float  # which numpy had when the code was written
    package = sys.modules["models"] = types.ModuleType("models")
    package.__path__ = [str(folder / "models")]  # its __init__ wants a fine-tuning model of timm
    sys.path.insert(0, str(folder))
    return importlib.import_module("models.models_lut")


def loss_function(folder: Path):
    """loss_ftn of the official engine, without the rest of the file."""
    path = folder / "engines/engine_lut.py"
    found = [n for n in ast.parse(path.read_text()).body if getattr(n, "name", "") == "loss_ftn"]
    scope = {"F": F}
    exec(compile(ast.Module(found, []), str(path), "exec"), scope)
    return scope["loss_ftn"]


def built(models: types.ModuleType, of: str) -> torch.nn.Module:
    """A model with the case's sizes and weights, in training mode."""
    model = models.MaskedAutoencoderViT_LUT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        head_mlp_dim=case.HIDDEN,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                given = case.weight(name, tuple(parameter.shape), of=of)
                parameter.copy_(torch.from_numpy(given))
    return model.train()


def main(folder: str, timm: str) -> None:
    """Runs student and average with the case's noise, and stores what comes out."""
    models, loss_of = official(Path(folder), timm), loss_function(Path(folder))
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    student, average = built(models, "student"), built(models, "average")
    first, second = torch.from_numpy(case.views())

    *latents, first_mask, second_mask, _ = student.forward_encoder(first, second, case.RATIO, False)
    running = built(models, "average").eval()(first, second, ema=True)[1]
    reconstruction, predicted, pixels = student(first, second, mask_ratio=case.RATIO)
    targets = average(first, second, ema=True)[1]
    predictions, keys = predicted.chunk(2), targets.detach().chunk(2)
    pairs = [loss_of(predictions[v], keys[u]).mean() for u in range(2) for v in range(2) if u != v]
    context = sum(pairs) / len(pairs)
    (reconstruction + case.WEIGHT * context).backward()

    learnt = {name: p.grad for name, p in student.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    if any(parameter.grad is not None for parameter in average.parameters()):
        raise AssertionError("a gradient reaches the average")
    found = {
        "first": latents[0],
        "second": latents[1],
        "first_mask": first_mask,
        "second_mask": second_mask,
        "pixels": pixels,
        "predicted": torch.stack(predictions),
        "average": torch.stack(keys),
        "average_by_running": torch.stack(running.chunk(2)),
        "reconstruction": reconstruction,
        "context": context,
        "gradients": torch.cat([learnt[name].reshape(-1)[:: case.EVERY] for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **{name: x.detach().numpy() for name, x in found.items()})
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
