"""Writes tests/golden/a2mim/values.npz with A2MIM's official pieces, run once on small arrays.

  git clone https://github.com/Westlake-AI/openmixup
  python -m tests.golden.a2mim.record openmixup

Runs BlockwiseMaskGenerator with mask_color='mean', forward_mask of SimMIMViT and MIMResNet with
replace=False, and A2MIMHead with the losses of the configs r50.py and vit_base.py, on the arrays of
tests/golden/a2mim/case.py, on a CPU in float32. Stores filled pictures, features with the token,
and of each head the loss and its gradient by the predicted pictures. The packages need mmcv, so
that only these classes and functions are read from their files.
Recorded from commit 37e1372446ab35c03fcf77302539bd4a5bee47eb.
"""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.golden.a2mim import case

FILES = {
    "losses/focal_loss.py": ("FocalFrequencyLoss",),
    "losses/regression_loss.py": ("l1_loss", "focal_l1_loss", "RegressionLoss"),
    "heads/mim_head.py": ("A2MIMHead",),
    "backbones/mim_vit.py": ("SimMIMViT",),
    "backbones/mim_resnet.py": ("MIMResNet",),
}


def read(path: Path, names: tuple[str, ...], space: dict[str, Any]) -> None:
    """Define classes and functions of a file in a namespace, without their decorators."""
    chosen = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names
    ]
    for node in chosen:
        node.decorator_list = []
    exec(compile(ast.Module(chosen, []), str(path), "exec"), space)


def official(folder: str) -> dict[str, Any]:
    """The official classes and functions by name."""

    class Module(nn.Module):
        def __init__(self, init_cfg=None, **kwargs):
            super().__init__()

    space: dict[str, Any] = {
        "torch": torch, "nn": nn, "F": functional, "fft": torch.fft, "np": np, "BaseModule": Module,
        "VisionTransformer": Module, "ResNet": Module, "print_log": print, "Tuple": tuple,
        "Image": types.SimpleNamespace(Image=()), "to_tensor": lambda mask: mask,
    }  # fmt: skip
    space["build_loss"] = lambda config: space[config["type"]](
        **{name: value for name, value in config.items() if name != "type"}
    )
    root = Path(folder) / "openmixup"
    for name, names in FILES.items():
        read(root / "models" / name, names, space)
    read(root / "datasets/pipelines/transforms.py", ("BlockwiseMaskGenerator",), space)
    return space


def channels_first(array: np.ndarray) -> torch.Tensor:
    """[B, H, W, C] as a tensor [B, C, H, W]."""
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def channels_last(tensor: torch.Tensor) -> np.ndarray:
    """The inverse of `channels_first`."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1).copy()


def filled(space: dict[str, Any]) -> np.ndarray:
    """Pictures whose hidden units have the mean colour."""
    make = space["BlockwiseMaskGenerator"](
        case.IMAGE, case.PATCH, case.PATCH, case.HIDDEN / 16, mask_color="mean"
    )
    done = []
    for picture, hidden in zip(channels_first(case.pictures(0)), case.hidden(), strict=True):
        first = np.argsort(~hidden.reshape(-1), kind="stable")
        np.random.permutation = lambda count, first=first: first
        image, mask = make(picture)
        assert (mask.numpy() == hidden).all()
        done.append(image)
    return channels_last(torch.stack(done))


def tokens_added(space: dict[str, Any]) -> dict[str, np.ndarray]:
    """Features with the mask token of the ViT and of the ResNet."""
    mask, token = torch.from_numpy(case.hidden()), torch.from_numpy(case.token())
    options = {"mask_mode": "learnable", "replace": False, "detach": False}
    vit = types.SimpleNamespace(mask_token=token[None, None], mask_gamma=None, **options)
    rows = torch.from_numpy(case.features().reshape(case.EXAMPLES, -1, case.CHANNELS))
    scale = torch.full((1, case.CHANNELS, 1, 1), case.START)
    resnet = types.SimpleNamespace(
        mask_token=token[None, :, None, None], mask_gamma=scale, **options
    )
    return {
        "vit_tokens": space["SimMIMViT"].forward_mask(vit, rows, mask).numpy(),
        "resnet_features": channels_last(
            space["MIMResNet"].forward_mask(resnet, channels_first(case.features()), mask)
        ),
    }


def losses(space: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of each head the loss, and its gradient by the predicted pictures."""
    found = {}
    for name, options in case.HEADS.items():
        regression = {"type": "RegressionLoss", "mode": options["mode"], "reduction": "none"}
        head = space["A2MIMHead"](
            loss=regression | {"activate": "sigmoid", "alpha": 0.2, "gamma": 1.0},
            fft_weight=options["fft_weight"],
            fft_focal=True,
            fft_unmask_weight=options["fft_unmask_weight"],
            fft_unmask_replace="mixed",
        )
        predicted = channels_first(case.pictures(1)).requires_grad_()
        mask = torch.from_numpy(case.hidden()).float()
        loss = head(channels_first(case.pictures(0)), predicted, mask)["loss"]
        loss.backward()
        found[f"{name}_loss"] = np.float32(loss.item())
        found[f"{name}_gradient"] = channels_last(predicted.grad)
    return found


def main(folder: str) -> None:
    """Runs all pieces and stores what comes out."""
    space = official(folder)
    found = {"filled": filled(space), **tokens_added(space), **losses(space)}
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
