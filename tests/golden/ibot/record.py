"""Writes tests/golden/ibot/values.npz with the official iBOT, run once on AttMask's tiny case.

  git clone https://github.com/bytedance/ibot   # da316d82636a7a7356835ef224b13d5f3ace0489
  python -m tests.golden.ibot.record ibot

One step of main_ibot.py on a CPU in float32 with the weights, crops and centres of
tests/golden/attmask/case.py and masks by ImageFolderMask of loader.py: the teacher on large crops,
the student on masked large and whole small ones, iBOTLoss with its centres, and gradients, one
after another in the order of the case's layout. Then DRAWS masks of 14 x 14 tokens by the README's
recipe: how many tokens each hides, and how often each token is hidden. The scripts' own imports
(torchvision, timm, tensorboardX) are left out: iBOTLoss is taken out of its file, timm stands for
nothing but a decorator, and ImageFolder for a source of blank crops. A single process stands for
the group.
"""

from __future__ import annotations

import ast
import importlib
import random
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case
from tests.golden.attmask.record import Alone, by_view, network

GOLDEN = Path(__file__).with_name("values.npz")
RECIPE = {
    "pred_ratio": [0.0, 0.3],
    "pred_ratio_var": [0.0, 0.2],
    "pred_aspect_ratio": (0.3, 1 / 0.3),
}
DRAWS = 4000


class BlankCrops:
    """torchvision's ImageFolder without files: blank crops of a size."""

    side = case.IMAGE

    def __init__(self) -> None:
        pass

    def __getitem__(self, index: int):
        return [torch.zeros(3, self.side, self.side)] * case.VIEWS, 0


def official(folder: str) -> dict:
    """The modules and classes of the repository by name."""
    registry = types.ModuleType("timm.models.registry")
    registry.register_model = lambda function: function
    datasets = types.ModuleType("torchvision.datasets")
    datasets.ImageFolder = BlankCrops
    names = ("timm", "timm.models", "torchvision")
    sys.modules.update({name: types.ModuleType(name) for name in names})
    sys.modules.update({"timm.models.registry": registry, "torchvision.datasets": datasets})
    sys.path.insert(0, folder)
    package = types.ModuleType("models")  # its __init__ imports Swin, which needs all of timm
    package.__path__ = [str(Path(folder) / "models")]
    sys.modules["models"] = package
    names = ("loader", "utils", "models.vision_transformer", "models.head")
    found = {name.split(".")[-1]: importlib.import_module(name) for name in names}
    tree = ast.parse((Path(folder) / "main_ibot.py").read_text())
    loss = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "iBOTLoss"]
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "dist": Alone}
    exec(compile(ast.Module(loss, []), "main_ibot.py", "exec"), scope)
    return found | {"iBOTLoss": scope["iBOTLoss"]}


def masks_of(loader, side: int, patch: int, draws: int) -> np.ndarray:
    """Masks bool[draws, V, rows, columns] of crops of a size."""
    BlankCrops.side = side
    source = loader.ImageFolderMask(patch_size=patch, **RECIPE)
    return np.stack([np.stack(source[0][-1]) for _ in range(draws)])


def main(folder: str) -> None:
    """Runs one step, draws masks, and stores what comes out."""
    parts = official(folder)
    student, teacher = network(parts, "student"), network(parts, "teacher")
    large, small = (by_view(each) for each in case.crops())
    random.seed(2)
    hidden = masks_of(parts["loader"], case.IMAGE, case.PATCH, case.EXAMPLES)
    masks = [torch.from_numpy(hidden[:, view]) for view in range(case.VIEWS)]
    with torch.no_grad():
        output = teacher(large)
    seen = student(large, mask=masks)
    student.backbone.masked_im_modeling = False
    local = student(small)[0]
    loss = parts["iBOTLoss"](
        case.VALUES,
        case.VALUES,
        case.VIEWS,
        case.LOCALS,
        *case.CLASS_TEMPERATURE,
        *case.PATCH_TEMPERATURE,
        case.WARM,
        case.EPOCHS,
    )
    old = case.centres()
    loss.center += torch.from_numpy(old["class"])
    loss.center2 += torch.from_numpy(old["tokens"])
    terms = loss(seen, output, local, masks, case.EPOCH)
    terms["loss"].backward()
    learnt = {name: p.grad.numpy().copy() for name, p in student.named_parameters()}
    learnt["backbone.pos_embed"] = learnt["backbone.pos_embed"][:, 1:]
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    random.seed(3)
    drawn = masks_of(parts["loader"], 224, 16, DRAWS // case.VIEWS).reshape(DRAWS, 14, 14)
    np.savez_compressed(
        GOLDEN,
        hidden=hidden.reshape(case.EXAMPLES, case.VIEWS, -1),
        class_loss=np.float32(terms["cls"].item()),
        patch_loss=np.float32(terms["patch"].item()),
        centre_class=loss.center.numpy()[0],
        centre_tokens=loss.center2.numpy()[0, 0],
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
        counts=drawn.sum((1, 2)).astype(np.uint8),
        frequency=drawn.mean(0).astype(np.float32),
    )
    print(hidden.sum((2, 3)), {name: float(terms[name]) for name in terms}, GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
