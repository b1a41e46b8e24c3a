"""Writes tests/golden/ropim/values.npz with the official ROPIM, run once on a tiny case.

  git clone https://github.com/csiro-robotics/ROPIM
  python -m tests.golden.ropim.record ROPIM

Runs ROPIM of models/ropim.py without dropped paths, with the weights and pictures of
tests/golden/ropim/case.py and operators drawn by SketchGenerator of data/data_ropim.py, on a CPU in
float32, and the loss of train_one_epoch of main_ropim.py. Stores buckets and signs, predicted
pictures, the loss and its gradients, one after another in the order of the case's layout.
timm and torchvision are replaced by the names that are imported of them.
Recorded from commit 81eb7abbf88ca4e7ab9499cf5bc02b502997e1f6.
"""

from __future__ import annotations

import random
import re
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tests.golden.ropim import case


def stand_in(folder: str) -> None:
    """Make the official folder importable without timm and torchvision."""
    names = ("timm", "timm.models", "timm.models.layers", "timm.data", "torchvision")
    names = (*names, "torchvision.transforms", "torchvision.datasets")
    stands = {name: types.ModuleType(name) for name in names}
    layers = stands["timm.models.layers"]
    layers.to_2tuple = lambda size: (size, size)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    layers.DropPath = torch.nn.Identity
    stands["timm.data"].IMAGENET_DEFAULT_MEAN = stands["timm.data"].IMAGENET_DEFAULT_STD = None
    stands["torchvision.datasets"].ImageFolder = None
    sys.modules.update(stands)
    for package in ("models", "data"):
        module = types.ModuleType(package)
        module.__path__ = [str(Path(folder) / package)]
        sys.modules[package] = module


def official() -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    from models.ropim import ROPIM, VisionTransformerForROPIM

    encoder = VisionTransformerForROPIM(
        sp=True,
        img_size=case.IMAGE,
        patch_size=case.PATCH,
        num_classes=0,
        embed_dim=case.ENCODER[1],
        depth=case.ENCODER[0],
        num_heads=case.ENCODER[2],
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        use_mean_pooling=False,
    )
    model = ROPIM(encoder=encoder, encoder_stride=case.PATCH)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def sketches() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """The official operators [B, N, N], and the bucket and the sign of every token [B, N]."""
    from data.data_ropim import SketchGenerator

    torch.manual_seed(0)
    random.seed(0)
    generator = SketchGenerator((case.IMAGE // case.PATCH) ** 2, threshold=-1)
    matrices = []
    make = generator.create_sketch_mat
    generator.create_sketch_mat = lambda *sizes: matrices.append(make(*sizes)) or matrices[-1]
    operators = torch.stack([generator() for _ in range(case.EXAMPLES)])
    sketch = torch.stack(matrices).numpy()
    assert generator.sketching_ratio == case.FACTOR
    return operators, np.abs(sketch).argmax(-1).astype(np.uint8), sketch.sum(-1).astype(np.int8)


def shuffled_back(folder: str) -> types.FunctionType:
    """rev_PixelShuffle of main_ropim.py, whose module starts a training when it is imported."""
    source = (Path(folder) / "main_ropim.py").read_text()
    found: dict = {}
    exec(re.search(r"def rev_PixelShuffle.*?(?=\n\n\n)", source, re.S).group(), found)
    return found["rev_PixelShuffle"]


def main(folder: str) -> None:
    """Runs the model and the loss of main_ropim.py, and stores what comes out."""
    stand_in(folder)
    model = official()
    operators, buckets, signs = sketches()
    pictures = torch.from_numpy(case.pictures().transpose(0, 3, 1, 2).copy())
    predicted = model(pictures, operators)
    error = shuffled_back(folder)(pictures - predicted, case.PATCH).flatten(2)
    loss = torch.matmul(error, torch.eye(operators.shape[1]) - operators).abs().mean()
    loss.backward()
    learnt = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    names = [entry.name for entry in case.layout() if not entry.name.endswith("k_bias")]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    np.savez_compressed(
        case.GOLDEN,
        buckets=buckets,
        signs=signs,
        predicted=predicted.detach().numpy().transpose(0, 2, 3, 1),
        loss=np.float32(loss.item()),
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
    )
    print(f"{case.GOLDEN.name}: {case.GOLDEN.stat().st_size / 1e3:.0f} kB, loss {loss.item():.6f}")


if __name__ == "__main__":
    main(sys.argv[1])
