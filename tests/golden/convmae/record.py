"""Writes tests/golden/convmae/values.npz with the official ConvMAE, run once on a tiny case.

  git clone https://github.com/Alpha-VL/ConvMAE
  python -m tests.golden.convmae.record ConvMAE

Runs MaskedAutoencoderConvViT of models_convmae.py (norm_pix_loss) with the weights, pictures and
noise of tests/golden/convmae/case.py on a CPU in float32. Its patchify has 16 pixels written into
it, so that the targets are cut here. Stores which tokens are visible, the predictions of hidden
patches, the loss and every gradient, one after another in the order of the case's layout; for the
encoder of fine-tuning (ConvViT of models_convvit.py with the same weights) the pooled tokens before
its norm; and the number of learnt parameters of the published model. timm is replaced by the names
that are imported of it. Recorded from commit 4c97b4c9ec9c85724bc9594eb7302c803ae58c19.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from tests.golden.convmae import case

TIMM = {
    "timm": (),
    "timm.data": ("IMAGENET_DEFAULT_MEAN", "IMAGENET_DEFAULT_STD"),
    "timm.models": (),
    "timm.models.helpers": ("load_pretrained",),
    "timm.models.layers": ("DropPath", "to_2tuple", "trunc_normal_"),
    "timm.models.resnet": ("resnet26d", "resnet50d"),
    "timm.models.registry": ("register_model",),
}


def stand_in() -> None:
    """Puts modules in the place of timm's; only to_2tuple and trunc_normal_ are called."""
    for module, names in TIMM.items():
        stand = sys.modules[module] = types.ModuleType(module)
        for name in names:
            setattr(stand, name, lambda function: function)
    layers = sys.modules["timm.models.layers"]
    layers.to_2tuple = lambda size: (size, size)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    np.float = float  # util/pos_embed.py asks for what numpy has since dropped


def give_weights(model: torch.nn.Module) -> None:
    """Gives every learnt parameter the case's weights, by its name."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))


def sizes() -> dict:
    """The case's sizes, as keywords of both official encoders."""
    side = case.IMAGE
    return {
        "img_size": [side, side // case.PATCH, side // case.PATCH // 2],
        "patch_size": [case.PATCH, 2, 2],
        "embed_dim": list(case.WIDTHS),
        "depth": list(case.DEPTHS),
        "num_heads": case.HEADS,
        "mlp_ratio": [4, 4, 4],
        "norm_layer": partial(torch.nn.LayerNorm, eps=1e-6),
    }


def patchify(pictures: torch.Tensor) -> torch.Tensor:
    """The official order of a patch's values, for the case's patches."""
    p, n = 4 * case.PATCH, case.GRID
    cut = pictures.reshape(-1, 3, n, p, n, p)
    return torch.einsum("nchpwq->nhwpqc", cut).reshape(-1, n * n, case.VALUES)


def fine_tuned(model: torch.nn.Module, pictures: torch.Tensor) -> np.ndarray:
    """The pooled tokens of the encoder of fine-tuning, with the weights of the model."""
    encoder = importlib.import_module("models_convvit").ConvViT(
        global_pool=True, qkv_bias=True, num_classes=0, **sizes()
    )
    encoder.fc_norm = torch.nn.Identity()
    wanted = encoder.state_dict()
    encoder.load_state_dict({name: model.state_dict()[name] for name in wanted})
    return encoder.eval()(pictures).detach().numpy()


def main(folder: str) -> None:
    """Runs the model with the case's noise in place of torch.rand, and stores what comes out."""
    stand_in()
    sys.path.insert(0, folder)
    module = importlib.import_module("models_convmae")
    base = module.convmae_convvit_base_patch16()
    model = module.MaskedAutoencoderConvViT(
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        norm_pix_loss=True,
        **sizes(),
    )
    give_weights(model)
    model.patchify = patchify
    torch.rand = lambda *shape, device: torch.from_numpy(case.noise())
    pictures = torch.from_numpy(case.pictures())
    latent, mask, order = model.forward_encoder(pictures, case.RATIO)
    predictions = model.forward_decoder(latent, order)
    loss = model.forward_loss(pictures, predictions, mask)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(gradients):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(gradients))}")
    kept = torch.argsort(torch.from_numpy(case.noise()), dim=1)[:, : latent.shape[1]]
    hidden = predictions[mask.bool()].reshape(case.EXAMPLES, -1, case.VALUES)
    found = {
        "visible": kept.numpy(),
        "predictions": hidden.detach().numpy(),
        "loss": np.float32(loss.item()),
        "gradients": np.concatenate([gradients[name].numpy().reshape(-1) for name in names]),
        "pooled": fine_tuned(model, pictures),
        "parameters": sum(p.numel() for p in base.parameters() if p.requires_grad),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
