"""Writes tests/golden/crate_mae/values.npz with the official CRATE-MAE, run once on a tiny case.

  git clone https://github.com/Ma-Lab-Berkeley/CRATE
  python -m tests.golden.crate_mae.record CRATE

Runs MaskedAutoencoderViT of model/crate_ae/crate_ae.py with the weights, pictures and noise of
tests/golden/crate_mae/case.py on a CPU in float32, with norm_pix_loss as in MAE's command. Stores
the encoded tokens, predictions, loss and every gradient, one after another in the order of the
case's layout; the parameters of mae_crate_base and mae_vit_base, those that are fixed left out; and
what vis_utils/coding_rate.py finds for the projections of every encoder block. Needs timm and
einops. Recorded from commit 674408fa82475fe1f172aa8213e21d4ba608afc4.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import torch

from tests.golden.crate_mae import case
from tests.torchvision_operators import DefineBeforeImport


def official(folder: str) -> tuple[object, torch.nn.Module]:
    """The official module, and its model with the case's sizes and weights."""
    sys.meta_path.insert(0, DefineBeforeImport())
    sys.path.insert(0, folder)
    module = importlib.import_module("model.crate_ae.crate_ae")
    depth, width, heads = case.SIZE
    model = module.MaskedAutoencoderViT(
        module.CRATEEncoderBlock,
        module.CRATEDecoderBlock,
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        decoder_embed_dim=width,
        decoder_depth=depth,
        decoder_num_heads=heads,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return module, model


def learnt(model: torch.nn.Module) -> int:
    """The number of parameters that are not fixed."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    module, model = official(folder)
    criterion = importlib.import_module("vis_utils.coding_rate").CodingRate()
    rates, zeros = [], []
    for block in model.blocks:
        compress, sparsify = block.layers[0]

        def rate(_, inputs, output):
            by_head = output.unflatten(-1, (case.SIZE[2], -1)).transpose(1, 2)
            rates.append(criterion(by_head)[0].item())

        compress.fn.qkv.register_forward_hook(rate)
        sparsify.register_forward_hook(
            lambda _, inputs, output: zeros.append((output == 0).float().mean().item())
        )
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    latent, mask, order = model.forward_encoder(pictures, case.RATIO)
    found = {"latent": latent.detach().numpy(), "rates": np.array(rates), "zeros": np.array(zeros)}
    predictions = model.forward_decoder(latent, order)
    loss = model.forward_loss(pictures, latent, predictions, mask)
    loss.backward()
    hidden = mask.bool()
    found["predictions"] = predictions[hidden].detach().numpy().reshape(case.EXAMPLES, -1, 48)
    found["loss"] = np.float32(loss.item())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(gradients):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(gradients))}")
    found["gradients"] = np.concatenate([gradients[name].numpy().reshape(-1) for name in names])
    base = module.mae_crate_base()
    found["unused"] = sum(p.numel() for p in base.decoder_embed.parameters())
    found["parameters"] = np.array([learnt(base), learnt(module.mae_vit_base())])
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
