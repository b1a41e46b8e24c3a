"""Writes tests/golden/remasker/values.npz with the official ReMasker, run once on a tiny case.

  git clone https://github.com/tydusky/remasker   # 69b410819c0d096fab111bb8b0e54c1edd4efcc2
  python -m tests.golden.remasker.record remasker

Runs MaskedAutoencoder of model_mae.py with the weights, rows and noise of
tests/golden/remasker/case.py on a CPU in float32: in training mode on the first rows, and in
evaluation mode row by row, as ReMasker.transform of remasker_impute.py does. Stores predictions,
the loss and all gradients, and what is predicted of each row from all its observed cells. Blocks
are those of an installed timm.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from importlib.machinery import ModuleSpec

import numpy as np
import torch

from tests.golden.remasker import case
from tests.torchvision_operators import DefineBeforeImport


def official(folder: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    np.float = float  # which numpy had when the code was written
    for name in ("tkinter", "pandas"):  # imported, not used
        sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, None))
    sys.modules["tkinter"].E = ""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    models = importlib.import_module("model_mae")
    model = models.MaskedAutoencoder(
        rec_len=case.COLUMNS,
        embed_dim=case.ENCODER[1],
        depth=case.ENCODER[0],
        num_heads=case.ENCODER[2],
        decoder_embed_dim=case.DECODER[1],
        decoder_depth=case.DECODER[0],
        decoder_num_heads=case.DECODER[2],
        norm_layer=partial(torch.nn.LayerNorm, eps=case.EPSILON),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    model, count = official(folder), case.TRAINED
    cells = torch.nan_to_num(torch.from_numpy(case.rows()))[:, None]
    observed = torch.from_numpy(1.0 - case.missing()).float()
    rand = torch.rand
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    loss, predictions, _, _ = model.train()(cells[:count], observed[:count], case.RATIO)
    loss.backward()
    torch.rand = rand
    model.eval()
    with torch.no_grad():
        imputed = [model(cells[n : n + 1], observed[n : n + 1])[1] for n in range(case.ROWS)]
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "predictions": predictions.detach().numpy()[..., 0],
        "loss": np.float32(loss.item()),
        "imputed": torch.cat(imputed).numpy()[..., 0],
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
