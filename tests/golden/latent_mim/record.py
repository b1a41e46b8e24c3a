"""Writes tests/golden/latent_mim/values.npz with the official Latent MIM, run once on a tiny case.

  git clone https://github.com/yibingwei-1/LatentMIM
  python -m tests.golden.latent_mim.record LatentMIM

Runs LMIM of models_lmim.py with the weights, pictures, offsets and noise of
tests/golden/latent_mim/case.py on a CPU in float32, a target encoder of other weights than the
encoder's, patches in gaps, and the settings of the README's command (infonce_patches,
avg_sim_coeff). Stores the patches that are cut out, positions, visible latents, predictions and
targets in the order of the tokens, each term of the loss, the loss, the loss of norm_l2, and the
gradients of the loss, one after another in the order of the case's layout. MLPs are those of timm
1.0.31. Recorded from commit 4e913635528f99e93d1c2764d82b6b1c197f6218.
"""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import torch

from tests.golden.latent_mim import case
from tests.torchvision_operators import DefineBeforeImport


def official(models) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    depth, width, heads = case.ENCODER
    model = models.LMIM(
        grid_size=case.SIDE,
        patch_size=case.PATCH,
        patch_gap=case.GAP,
        embed_dim=width,
        num_heads=heads,
        depth=depth,
        target_depth=depth,
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_layer=models.partial(torch.nn.LayerNorm, eps=1e-6),
        tau=case.TEMPERATURE,
        num_vis=case.VISIBLE,
        avg_sim_coeff=case.SCALE,
        freeze_pe=True,
        proj_cfg=SimpleNamespace(mlp_dim=case.PROJECTOR[1], mlp_depth=case.PROJECTOR[0]),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def in_order(values: torch.Tensor, places: torch.Tensor) -> np.ndarray:
    """Values [B, n, D] of tokens at shuffled places [B, n], in the order of the places."""
    order = places.argsort(dim=1)[..., None].expand_as(values)
    return values.gather(1, order).detach().numpy()


def run(model: torch.nn.Module, pictures: torch.Tensor) -> dict[str, np.ndarray]:
    """Run the model, and store what its parts return and the terms of its loss."""
    found, kept = {}, {}
    model.patchify = keep(model.patchify, kept, "patches")
    model.create_views = keep(model.create_views, kept, "views")
    for part in ("encoder", "target_encoder", "decoder"):
        getattr(model, part).register_forward_hook(
            lambda _, __, output, part=part: kept.__setitem__(part, output)
        )
    model.forward_loss = keep(model.forward_loss, kept, "infonce")
    loss, metrics = model(pictures, sim_trg=case.COSINE)
    _, visible, _, _, hidden = kept["views"]
    loss.backward()
    found["patches"] = kept["patches"].numpy()
    found["visible"] = in_order(kept["encoder"][:, 1:], visible)
    found["predictions"] = in_order(kept["decoder"][:, 1:], hidden)
    found["targets"] = in_order(kept["target_encoder"][:, 1:], hidden)
    found["infonce"] = np.float32(kept["infonce_value"])
    found["cosines"] = np.float32([metrics["avg_sim_pred"], metrics["avg_sim_vis"]])
    found["loss"] = np.float32(loss.item())
    model.loss = "norm_l2"
    l2 = type(model).forward_loss(model, kept["decoder"][:, 1:], kept["target_encoder"][:, 1:])
    found["norm_l2"] = np.float32(l2.item())
    return found


def keep(function, kept: dict, name: str):
    """The function, whose results are kept by name; of a scalar a copy, as it is added to."""

    def kept_function(*arguments):
        kept[name] = made = function(*arguments)
        if isinstance(made, torch.Tensor) and made.ndim == 0:
            kept[f"{name}_value"] = made.item()
        return made

    return kept_function


def main(folder: str) -> None:
    """Runs the model with the case's numbers in place of random ones, and stores what comes out."""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    models = importlib.import_module("models_lmim")
    model = official(models)
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    offsets = iter(case.offsets())
    torch.randint = lambda low, high, shape: torch.from_numpy(next(offsets))
    found = run(model, torch.from_numpy(case.pictures().transpose(0, 3, 1, 2).copy()))
    found["positions"] = model.encoder.pos_embed.pos_embeds.numpy()
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found["gradients"] = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, **found)
    size = case.GOLDEN.stat().st_size / 1e3
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {size:.0f} kB, loss {found['loss']:.6f}")


if __name__ == "__main__":
    main(sys.argv[1])
