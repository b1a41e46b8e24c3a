"""Writes tests/golden/fsfm/values.npz with one step of the official FSFM on a tiny case.

  git clone https://github.com/wolo-wolo/FSFM
  pip download --no-deps timm==0.4.5            # and unpack it into a folder TIMM
  python -m tests.golden.fsfm.record FSFM TIMM

Runs train_one_epoch of fsfm-3c/pretrain/engine_pretrain.py on one batch, with FSFMViT,
TargetNetworkViT and the loss SimSiam, on a CPU in float32, with the weights, pictures and masks of
tests/golden/fsfm/case.py. The optimiser does nothing, so that the average moves towards the case's
weights. Stores predictions, features of both networks, the three terms, the loss, and of the
gradients and of the average after the step every third number, in the order of the case's layouts.
Recorded from commit 444b3e8dc99b9d52b5a8d87d9892ee0910f85239.
"""

from __future__ import annotations

import collections.abc
import importlib
import sys
import types
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from tests.golden.fsfm import case


def stand_in(timm: str) -> None:
    """Makes what the official code imports importable here; nothing that is compared."""
    for name in ("timm", "timm.data", "timm.models"):
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = [f"{timm}/{name.replace('.', '/')}"]  # its __init__ wants torchvision
    sys.modules["timm"].__version__ = "0.4.5"
    for kind in ("DEFAULT", "INCEPTION"):
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_MEAN", ())
        setattr(sys.modules["timm.data"], f"IMAGENET_{kind}_STD", ())
    six = sys.modules["torch._six"] = types.ModuleType("torch._six")
    six.container_abcs = collections.abc
    np.float = float
    torch.cuda.synchronize = lambda: None


def official(models: types.ModuleType) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The online and the target network with the case's sizes and weights."""
    common = {
        "img_size": case.IMAGE,
        "patch_size": case.PATCH,
        "depth": case.ENCODER[0],
        "embed_dim": case.ENCODER[1],
        "num_heads": case.ENCODER[2],
        "rep_decoder_embed_dim": case.ENCODER[1],
        "rep_decoder_depth": case.REPRESENTER[0],
        "rep_decoder_num_heads": case.REPRESENTER[1],
        "projection_size": case.VALUES,
        "projection_hidden_size": case.HIDDEN,
        "norm_layer": partial(torch.nn.LayerNorm, eps=1e-6),
        "norm_pix_loss": True,
    }
    depth, width, heads = case.DECODER
    sizes = {"decoder_depth": depth, "decoder_embed_dim": width, "decoder_num_heads": heads}
    online, target = models.FSFMViT(**common, **sizes), models.TargetNetworkViT(**common)
    # As main_pretrain.py begins; so the target gets the online tables of positions, too.
    target.load_state_dict(online.state_dict(), strict=False)
    for network, weight in ((online, case.weight), (target, case.target_weight)):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.from_numpy(weight(name, tuple(parameter.shape))))
    for parameter in target.parameters():
        parameter.requires_grad = False
    return online, target


def every(arrays: dict[str, torch.Tensor], names: list[str]) -> torch.Tensor:
    """Every third number of each array, one array after another."""
    if sorted(arrays) != sorted(names):
        raise AssertionError(f"not in both: {sorted(set(arrays) ^ set(names))}")
    return torch.cat([arrays[name].reshape(-1)[:: case.EVERY] for name in names])


def scaler(online: torch.nn.Module, kept: dict) -> Callable[..., None]:
    """In place of the loss scaler: takes gradients, and keeps them, but makes no update."""

    def backward(loss: torch.Tensor, optimizer: object, **rest: object) -> None:
        loss.backward()
        learnt = {name: p.grad for name, p in online.named_parameters() if p.requires_grad}
        kept["gradients"] = every(learnt, [entry.name for entry in case.layout()])
        kept["loss"] = loss.detach()

    return backward


def main(folder: str, timm: str) -> None:
    """Runs one step and stores what comes out."""
    stand_in(timm)
    sys.path[:0] = [f"{folder}/fsfm-3c", f"{folder}/fsfm-3c/pretrain"]
    engine = importlib.import_module("engine_pretrain")
    online, target = official(importlib.import_module("models_fsfm"))
    kept: dict = {}

    def keep(module: torch.nn.Module, given: tuple, made: tuple) -> None:
        for name, value in zip(("pixels", "covered", "online", "predictions"), made, strict=False):
            kept[name] = value.detach()

    online.register_forward_hook(keep)
    target.register_forward_hook(lambda module, given, made: kept.update(target=made))
    hidden, covered = (torch.from_numpy(each).float() for each in case.masks())
    batch = {
        "image": torch.from_numpy(case.pictures()),
        "img_mask": hidden,
        "specific_facial_region_mask": covered,
    }
    args = types.SimpleNamespace(
        accum_iter=1,
        weight_sfr=case.COVERED_SCALE,
        weight_cl=case.IDENTITY_SCALE,
        cl_loss="SimSiam",
        mask_ratio=case.HIDDEN_TOKENS / case.TOKENS,
        lr=0.0,
        min_lr=0.0,
        epochs=1,
        warmup_epochs=1,
    )
    stats = engine.train_one_epoch(
        torch.nn.DataParallel(online),
        [case.MOMENTUM],
        target,
        target,
        0,
        [batch],
        torch.optim.SGD(online.parameters(), lr=0.0),
        torch.device("cpu"),
        0,
        scaler(online, kept),
        args=args,
    )
    names = [entry.name for entry in case.target_layout()]
    moved = {name: p for name, p in target.named_parameters() if "pos_embed" not in name}
    found = {
        **{name: value.numpy() for name, value in kept.items()},
        "identity": np.float32(stats["loss_cl"]),
        "average": every(moved, names).numpy(),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print({name: each.shape for name, each in found.items()}, case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
