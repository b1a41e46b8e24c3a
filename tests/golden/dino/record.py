"""Writes tests/golden/dino/values.npz with the official DINO, run once on AttMask's tiny case.

  git clone https://github.com/facebookresearch/dino   # 7c446df5b9f45747937fb0d72314eb9f7b66930a
  python -m tests.golden.dino.record dino

One step of main_dino.py on a CPU in float32 with the weights, crops and centre of
tests/golden/attmask/case.py: the teacher on large crops, the student on large and small ones,
DINOLoss with its centre, and gradients, one after another in the order of the case's layout, which
here has no mask embedding. DINOLoss is taken out of its file, whose imports are left out. A single
process stands for the group.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case
from tests.golden.attmask.record import Alone, by_view

GOLDEN = Path(__file__).with_name("values.npz")


def network(parts: dict, who: str) -> torch.nn.Module:
    """Student or teacher: backbone and head in the official wrapper, with the case's weights."""
    backbone = parts["vision_transformer"].VisionTransformer(
        img_size=[case.IMAGE],
        patch_size=case.PATCH,
        embed_dim=case.WIDTH,
        depth=case.DEPTH,
        num_heads=case.HEADS,
        qkv_bias=True,
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
    )
    head = parts["vision_transformer"].DINOHead(
        case.WIDTH,
        case.VALUES,
        hidden_dim=case.HIDDEN,
        bottleneck_dim=case.BOTTLENECK,
        norm_last_layer=who == "teacher",
    )
    model = parts["utils"].MultiCropWrapper(backbone, head)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(who, name, tuple(parameter.shape))))
    return model


def main(folder: str) -> None:
    """Runs one step and stores what comes out."""
    sys.path.insert(0, folder)
    parts = {name: importlib.import_module(name) for name in ("utils", "vision_transformer")}
    tree = ast.parse((Path(folder) / "main_dino.py").read_text())
    body = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "DINOLoss"]
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "dist": Alone}
    exec(compile(ast.Module(body, []), "main_dino.py", "exec"), scope)
    student, teacher = network(parts, "student"), network(parts, "teacher")
    large, small = (by_view(each) for each in case.crops())
    with torch.no_grad():
        output = teacher(large)
    crops = case.VIEWS + case.LOCALS
    loss = scope["DINOLoss"](case.VALUES, crops, *case.CLASS_TEMPERATURE, case.WARM, case.EPOCHS)
    loss.center += torch.from_numpy(case.centres()["class"])
    value = loss(student([*large, *small]), output, case.EPOCH)
    value.backward()
    learnt = {name: p.grad.numpy().copy() for name, p in student.named_parameters()}
    learnt["backbone.pos_embed"] = learnt["backbone.pos_embed"][:, 1:]
    names = [e.name for e in case.layout() if not e.name.endswith("masked_embed")]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    np.savez_compressed(
        GOLDEN,
        class_loss=np.float32(value.item()),
        centre_class=loss.center.numpy()[0],
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
    )
    print(value.item(), GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
