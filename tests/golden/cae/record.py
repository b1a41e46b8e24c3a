"""Writes tests/golden/cae/values.npz with the official CAE, run once on a tiny case.

  git clone https://github.com/Atten4Vis/CAE
  python -m tests.golden.cae.record CAE

Runs ContextAutoencoderViT of models/modeling_cae.py without dropped paths, with the weights,
pictures, masks and codes of tests/golden/cae/case.py, on a CPU in float32, and the two losses of
furnace/engine_for_pretraining.py. Stores logits, regressed and true latents, both losses, and the
gradients of their weighted sum, one after another in the order of the case's layout.
The official table of positions leads with the rows, ours with the columns: the official model gets
everything with rows and columns exchanged, and what it gives is exchanged back. timm and furnace
are replaced by the names that are imported of them, and Tensor.cuda leaves tensors where they are.
Recorded from commit a7fd1628176358e3e76b0b042b0f6e9f3cd7c76c.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.cae import case

ALIGNMENT = 2.0  # align_loss_weight
PATCHES = "encoder.patch_embed.proj.weight"


def official(folder: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    names = ("timm", "timm.models", "timm.models.registry", "timm.models.layers")
    stands = {name: types.ModuleType(name) for name in (*names, "furnace", "furnace.utils")}
    stands["furnace"].utils = stands["furnace.utils"]
    stands["timm.models.registry"].register_model = lambda function: function
    layers = stands["timm.models.layers"]
    layers.to_2tuple = lambda size: (size, size)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    layers.drop_path = None
    sys.modules.update(stands)
    sys.path.insert(0, folder)
    torch.Tensor.cuda = lambda tensor, *_: tensor
    sizes = {"regressor_depth": case.REGRESSOR, "decoder_depth": case.DECODER}
    sizes["decoder_embed_dim"] = case.ENCODER[1]
    model = importlib.import_module("models.modeling_cae").ContextAutoencoderViT(
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        depth=case.ENCODER[0],
        embed_dim=case.ENCODER[1],
        num_heads=case.ENCODER[2],
        decoder_num_heads=case.ENCODER[2],
        decoder_num_classes=case.CODES,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        init_values=0.1,
        args=argparse.Namespace(model_type="cae", **sizes),
        **sizes,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                given = case.weight(name, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(exchanged(name, given)))
    model.alignment_parameter_update()
    return model


def exchanged(name: str, array: np.ndarray) -> np.ndarray:
    """The patch embedding with rows and columns exchanged, any other array as it is."""
    return np.ascontiguousarray(array.swapaxes(2, 3)) if name == PATCHES else array


def in_our_order(values: torch.Tensor) -> np.ndarray:
    """Values [B, P, ...] of the hidden tokens, column by column there, row by row here."""
    found = values.detach().numpy().reshape(case.EXAMPLES, case.HIDDEN, -1)
    whole = np.zeros((case.EXAMPLES, *case.GRID[::-1], found.shape[-1]), np.float32)
    whole[case.hidden().swapaxes(1, 2)] = found.reshape(-1, found.shape[-1])
    return whole.swapaxes(1, 2)[case.hidden()].reshape(found.shape)


def main(folder: str) -> None:
    """Runs the model and stores what comes out."""
    model = official(folder)
    pictures = torch.from_numpy(case.pictures().transpose(0, 3, 2, 1).copy())
    hidden = torch.from_numpy(case.hidden().swapaxes(1, 2).reshape(case.EXAMPLES, -1))
    codes = torch.from_numpy(case.codes().swapaxes(1, 2).reshape(case.EXAMPLES, -1)).long()
    logits, latent, target = model(pictures, bool_masked_pos=hidden)
    tokens = torch.nn.functional.cross_entropy(logits, codes[hidden])
    alignment = torch.nn.functional.mse_loss(latent, target.detach())
    (tokens + ALIGNMENT * alignment).backward()
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout() if not entry.name.endswith("k_bias")]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    np.savez_compressed(
        case.GOLDEN,
        logits=in_our_order(logits),
        latent=in_our_order(latent),
        target=in_our_order(target),
        tokens=np.float32(tokens.item()),
        alignment=np.float32(alignment.item()),
        gradients=np.concatenate([exchanged(name, learnt[name]).reshape(-1) for name in names]),
    )
    print(f"{case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
