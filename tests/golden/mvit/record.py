"""Writes tests/golden/mvit/values.npz with the official MaskMViT, run once on a tiny case.

  git clone https://github.com/facebookresearch/SlowFast
  python -m tests.golden.mvit.record SlowFast

Runs MaskMViT of slowfast/models/masked.py on a CPU in float32 with the weights, clips and masks of
tests/golden/mvit/case.py and the settings of k400_MVITv2_S_16x4_MaskFeat_PT.yaml but its sizes.
Stores predictions, HOG labels, the loss and a sketch of every gradient in the order of the case's
layout. Packages that its import lists name and this model never calls are replaced by empty ones.
Recorded from commit 287ec0076846560f44a9327e931a5a2360240533.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types

import numpy as np
import torch

from tests.golden.mvit import case

ABSENT = ("fvcore", "pytorchvideo", "iopath", "detectron2", "psutil", "simplejson", "torchvision")
ABSENT += ("cv2", "av", "matplotlib", "pandas", "sklearn", "tensorboard")


class _AnyCall(type):
    """A class whose functions exist, whatever their names."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: lambda given: given


class _Registry:
    """A registry that leaves what it registers as it is."""

    def __init__(self, name: str):
        pass

    def register(self):
        return lambda given: given


class _Empty(types.ModuleType):
    """A module with a class for every name."""

    __path__ = ()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Registry if name == "Registry" else _AnyCall(name, (torch.nn.Module,), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an empty module for each of the absent packages."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


class Node(dict):
    """Settings with attributes; what is not set is off."""

    def __getattr__(self, name: str):
        return self.get(name, False)

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value


def settings() -> Node:
    """The released settings with the case's sizes."""
    size = case.SIZE
    doubles = [[place, 2.0] for place in size.doubles]
    strides = [[i, 1, 2, 2] if i in size.pools else [i, 1, 1, 1] for i in range(size.depth)]
    mvit = Node(
        REV=Node(RESPATH_FUSE="concat"), MODE="conv", NORM="layernorm", DEPTH=size.depth,
        EMBED_DIM=size.width,
        NUM_HEADS=size.heads, MLP_RATIO=4.0, QKV_BIAS=True, CLS_EMBED_ON=True, DIM_MUL=doubles,
        HEAD_MUL=doubles, PATCH_KERNEL=[3, 7, 7], PATCH_STRIDE=[2, 4, 4], PATCH_PADDING=[1, 3, 3],
        POOL_Q_STRIDE=strides, POOL_KVQ_KERNEL=[3, 3, 3], POOL_KV_STRIDE_ADAPTIVE=[1, 8, 8],
        REL_POS_SPATIAL=True, REL_POS_TEMPORAL=True, RESIDUAL_POOLING=True, DROPPATH_RATE=0.0,
        DROPOUT_RATE=0.0, LAYER_SCALE_INIT_VALUE=0.0, HEAD_INIT_SCALE=1.0,
    )  # fmt: skip
    mask = Node(PRETRAIN_DEPTH=[size.depth - 1], HEAD_TYPE="separate", PRED_HOG=True)
    data = Node(
        TRAIN_CROP_SIZE=case.SIDE,
        TEST_CROP_SIZE=case.SIDE,
        NUM_FRAMES=case.FRAMES,
        INPUT_CHANNEL_NUM=[3],
    )
    model = Node(NUM_CLASSES=2, DROPOUT_RATE=0.0, HEAD_ACT="softmax")
    return Node(
        MVIT=mvit,
        MASK=mask,
        DATA=data,
        MODEL=model,
        DETECTION=Node(),
        CONTRASTIVE=Node(NUM_MLP_LAYERS=1),
    )


def main(folder: str) -> None:
    """Runs the official model on the case and stores what comes out."""
    sys.meta_path.insert(0, _Finder())
    sys.path.insert(0, folder)
    masked = importlib.import_module("slowfast.models.masked")
    losses = importlib.import_module("slowfast.models.losses")
    model = masked.MaskMViT(settings())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    mask = torch.from_numpy(case.masks().astype(np.float32))
    predictions, labels = model([torch.from_numpy(case.clips()), torch.Tensor(), mask])
    loss, _ = losses.MultipleMSELoss()(predictions, labels)
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(gradients):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(gradients))}")
    found = {
        "predictions": predictions[0].detach().numpy(),
        "labels": labels[0][0].numpy(),
        "loss": np.float32(loss.item()),
        "gradients": np.stack([case.sketch(name, gradients[name]) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print({name: array.shape for name, array in found.items()}, case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
