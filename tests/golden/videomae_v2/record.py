"""Writes values.npz beside it with the official VideoMAE V2, run once on a tiny case.

  git clone https://github.com/OpenGVLab/VideoMAEv2
  python -m tests.golden.videomae_v2.record VideoMAEv2

Runs one step of train_one_epoch (engine_for_pretraining.py) on PretrainVisionTransformer with the
weights and clips of tests/golden/videomae_v2/case.py and masks of the official generators, on a CPU
in float32, where its autocast does nothing; once with running cells and once without. Stores masks
and losses of both, predictions and every gradient of the first, in the order of the case's layout.
timm and the official utils, which need a GPU, are replaced by what is used of them; einops is
needed. Recorded from commit 29eab1e8a588d1b3ec0cdec7b03a86cca491b74b.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial

import numpy as np
import torch

from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from tests.golden.videomae_v2 import case


def stand_ins() -> None:
    """Modules in place of timm and utils."""
    names = ("timm", "timm.models", "timm.models.layers", "timm.models.registry", "timm.data")
    stands = {name: types.ModuleType(name) for name in (*names, "timm.data.constants", "utils")}
    stands["timm.models.layers"].drop_path = None
    stands["timm.models.layers"].to_2tuple = lambda size: (size, size)
    stands["timm.models.layers"].trunc_normal_ = lambda tensor, **_: tensor
    stands["timm.models.registry"].register_model = lambda function: function
    stands["timm.data.constants"].IMAGENET_DEFAULT_MEAN = IMAGENET_MEAN
    stands["timm.data.constants"].IMAGENET_DEFAULT_STD = IMAGENET_STD
    stands["utils"].MetricLogger = Silent
    stands["utils"].SmoothedValue = lambda **_: None
    sys.modules.update(stands)


class Silent:
    """A logger of metrics that says nothing."""

    meters: dict = {}  # noqa: RUF012

    def __init__(self, **_: str): ...

    def log_every(self, batches: list, *_: object) -> list:
        """The batches."""
        return batches

    def __getattr__(self, _: str):
        return lambda *args, **keywords: None


def official(models: types.ModuleType) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    model = models.PretrainVisionTransformer(
        img_size=case.SIZE[1],
        patch_size=case.PATCH[1],
        tubelet_size=case.PATCH[0],
        all_frames=case.SIZE[0],
        encoder_depth=case.ENCODER[0],
        encoder_embed_dim=case.ENCODER[1],
        encoder_num_heads=case.ENCODER[2],
        decoder_num_classes=3 * int(np.prod(case.PATCH)),
        decoder_depth=case.DECODER[0],
        decoder_embed_dim=case.DECODER[1],
        decoder_num_heads=case.DECODER[2],
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def step(engine: types.ModuleType, model: torch.nn.Module, batch: tuple) -> float:
    """The loss of one official step; its gradients are left in the model."""
    losses = []

    def scaler(loss: torch.Tensor, *_: object, **__: object) -> None:
        losses.append(float(loss.detach()))
        loss.backward()

    scaler.state_dict = lambda: {"scale": 1.0}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    torch.cuda.synchronize = lambda: None
    settings = {"patch_size": case.PATCH[1], "start_steps": 0}
    engine.train_one_epoch(model, [batch], optimiser, "cpu", 0, scaler, **settings)
    return losses[0]


def main(folder: str) -> None:
    """Runs the steps and stores what comes out."""
    stand_ins()
    sys.path[:0] = [folder, f"{folder}/dataset"]
    models = importlib.import_module("models.modeling_pretrain")
    engine = importlib.import_module("engine_for_pretraining")
    generators = importlib.import_module("masking_generator")
    np.random.seed(0)
    tube = generators.TubeMaskingGenerator(case.GRID, case.RATIO)
    cells = generators.RunningCellMaskingGenerator(case.GRID, 1 - case.DECODED)
    hidden = np.stack([tube() for _ in range(case.EXAMPLES)])
    left_out = np.stack([cells() for _ in range(case.EXAMPLES)])

    pixels = torch.from_numpy(case.clips()).float() / 255
    pixels = (pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    pixels = pixels.permute(0, 4, 1, 2, 3)
    masks = torch.from_numpy(hidden), torch.from_numpy(left_out)
    model = official(models)
    flat = [mask.flatten(1).bool() for mask in masks]
    found = {
        "hidden": np.packbits(flat[0].numpy(), axis=-1),
        "decoded": np.packbits(~flat[1].numpy(), axis=-1),
        "predictions": model(pixels, *flat).detach().numpy(),
        "loss": np.float32(step(engine, model, (pixels, *masks))),
    }
    learnt = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    joined = case.with_key_biases(learnt)
    found["gradients"] = np.concatenate([joined[e.name].reshape(-1) for e in case.layout()])
    if len(joined) != len(case.layout()):
        raise AssertionError("the layout has not all parameters")
    plain = masks[0], 1 - masks[0]
    found["loss_without_cells"] = np.float32(step(engine, model, (pixels, *plain)))
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
