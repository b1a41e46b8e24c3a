"""Writes tests/golden/vic_mae/values.npz with the official ViC-MAE, run once on a tiny case.

  git clone https://github.com/jeffhernandez1995/ViC-MAE
  pip download --no-deps timm==0.4.12           # and unpack it into a folder TIMM
  python -m tests.golden.vic_mae.record ViC-MAE TIMM

Runs ViCMAE of models_vicmae.py with the weights, views and noise of tests/golden/vic_mae/case.py on
a CPU in float32, as one process. Stores the loss, predictions, masks and projections, both terms,
and of the gradients of the loss every third number, one after another in the order of the case's
layout. Recorded from commit da586930e85387a994d910db5b4fd9869850ab28.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.vic_mae import case


def official(folder: str, timm: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights, in training mode."""
    for name in ("timm", "timm.data", "timm.models"):
        stand = sys.modules[name] = types.ModuleType(name)
        stand.__path__ = [f"{timm}/{name.replace('.', '/')}"]  # its __init__ wants torchvision
    sys.modules["timm"].__version__ = "0.4.12"
    for kind in ("DEFAULT", "INCEPTION"):
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_MEAN", ())
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_STD", ())
    sys.path.insert(0, folder)
    model = importlib.import_module("models_vicmae").ViCMAE(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        projector_hidden_dim=case.HIDDEN,
        projector_out_dim=case.VALUES,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model.train()


def main(folder: str, timm: str) -> None:
    """Runs one step and stores what comes out."""
    model, kept = official(folder, timm), {}
    noises = iter(torch.from_numpy(case.noise()))
    torch.rand = lambda *shape, device: next(noises)
    contrast = model.info_nce_loss

    def remembered(z: torch.Tensor, temperature: float) -> torch.Tensor:
        kept["projected"], kept["contrast"] = z, contrast(z, temperature)
        return kept["contrast"]

    model.info_nce_loss = remembered
    first, second = torch.from_numpy(case.views())
    loss, predictions, masks = model([first, second])
    loss.backward()
    learnt = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "loss": loss,
        "contrast": kept["contrast"],
        "projected": torch.stack(kept["projected"].chunk(2)),
        "pixels": predictions,
        "masks": masks,
        "gradients": torch.cat([learnt[name].reshape(-1)[:: case.EVERY] for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **{name: x.detach().numpy() for name, x in found.items()})
    print(loss.item(), kept["contrast"].item(), case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
