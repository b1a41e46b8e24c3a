"""Writes tests/golden/dmjd/values.npz with the official DMJD, run once on a tiny case.

  git clone https://github.com/mx-mark/DMJD
  python -m tests.golden.dmjd.record DMJD

Runs hog_torch (util/hog_tensor.py) and InstanceWhitening, then DMJDConViT of models_dmjd.py with
block masks, squared error and smooth L1, as engine_pretrain.py does, with the weights and pictures
of tests/golden/dmjd/case.py on a CPU in float32. Stores the targets of all tokens, which tokens are
hidden in both views, the predictions of all tokens and, in the order of the grid, of visible ones;
three losses with their gradients, one after another in the order of the case's layout: that of
hidden tokens (theta 0), with that of visible tokens as released, which compares them in the order
of their draw with targets in the order of the grid (`places` leads from the grid to the draw), and
with predictions in the order of the grid; and the number of learnt parameters of the published base
model. Targets and predictions are stored of some tokens only. timm is replaced by the names that
are imported of it. Recorded from commit 881b21d220a44c8068b9042b46f981aa5254a67a.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.convmae.record import give_weights, stand_in
from tests.golden.dmjd import case


def official_model(models) -> torch.nn.Module:
    """The official model at the case's size."""
    side = case.IMAGE
    return models.DMJDConViT(
        img_size=[side, side // case.PATCH, side // case.PATCH // 2],
        patch_size=[case.PATCH, 2, 2],
        embed_dim=list(case.WIDTHS),
        depth=list(case.DEPTHS),
        num_heads=case.HEADS,
        mlp_ratio=[8, 8, 4],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        decoder_pred_dim=case.VALUES,
    )


def targets() -> torch.Tensor:
    """The targets of all tokens in the official order, with the case's cells."""
    hog = importlib.import_module("util.hog_tensor")
    whitening = importlib.import_module("util.instance_whitening").InstanceWhitening(case.BINS)
    pictures = torch.from_numpy(case.pictures()).permute(0, 3, 1, 2)
    cells = whitening(hog.hog_torch(pictures, pixels_per_cell=(case.CELL, case.CELL)))
    n = case.GRID
    split = cells.reshape(-1, case.CHANNELS, n, 2, n, 2, case.BINS)
    return split.permute(0, 2, 4, 3, 5, 6, 1).reshape(-1, n * n, case.VALUES)


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> np.ndarray:
    """The gradients of a loss in the order of the case's layout, 0 where it reaches nothing."""
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = torch.autograd.grad(
        loss, [learnt[name] for name in names], retain_graph=True, allow_unused=True
    )
    pairs = zip(names, found, strict=True)
    filled = [torch.zeros_like(learnt[name]) if one is None else one for name, one in pairs]
    return np.concatenate([one.numpy().reshape(-1) for one in filled])


def main(folder: str) -> None:
    """Runs the model, and stores what comes out."""
    stand_in()
    sys.path.insert(0, folder)
    models = importlib.import_module("models_dmjd")
    base = models.dmjd_convit_base_patch16_dec8_hog(decoder_pred_dim=case.VALUES)
    model = official_model(models)
    give_weights(model)
    torch.manual_seed(0)
    pictures = torch.from_numpy(case.pictures()).permute(0, 3, 1, 2) / 255
    wanted = targets()
    latent, mask, order = model.forward_encoder((pictures - case.MEAN) / case.STD, case.RATIO)
    predictions = model.forward_decoder(latent, order)
    places = order.argsort(dim=1)[:, : latent.shape[1]].argsort(dim=1)
    seen = predictions[1].gather(1, places[..., None].expand_as(predictions[1]))
    hidden = model.forward_loss(None, predictions, wanted, mask, theta=0)
    released = model.forward_loss(None, predictions, wanted, mask)
    aligned = model.forward_loss(None, (predictions[0], seen), wanted, mask)
    found = {
        "targets": wanted[:, :: case.SOME].numpy(),
        "hidden": mask.numpy().astype(bool),
        "places": places.numpy(),
        "predictions": predictions[0][:, :: case.SOME].detach().numpy(),
        "seen": seen[:, :: case.SOME].detach().numpy(),
        "hidden_loss": np.float32(hidden.item()),
        "released_loss": np.float32(released.item()),
        "aligned_loss": np.float32(aligned.item()),
        "hidden_gradients": gradients(model, hidden),
        "released_gradients": gradients(model, released),
        "aligned_gradients": gradients(model, aligned),
        "parameters": sum(p.numel() for p in base.parameters() if p.requires_grad),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
