"""Writes tests/golden/attmask/values.npz with the official AttMask, run once on a tiny case.

  git clone https://github.com/gkakogeorgiou/attmask   # 9f62061fb3afd42c09dd4b7cc6b8fa38013df018
  python -m tests.golden.attmask.record attmask

One step of main_attmask.py on a CPU in float32: the teacher on whole crops, masks from
its attention by attmask.py, the student on masked large and whole small crops, iBOTLoss with its
centres, and gradients, one after another in the order of the case's layout; then the norms of
clip_gradients and values of cosine_scheduler (utils.py). The script's own imports (torchvision,
timm, tensorboardX) are left out: iBOTLoss is taken out of its file, and timm stands for nothing but
a decorator. A single process stands for the group.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case


class Alone:
    """torch.distributed with one process."""

    all_reduce = staticmethod(lambda tensor: None)
    get_world_size = staticmethod(lambda: 1)


def official(folder: str) -> dict:
    """The modules and classes of the repository by name."""
    registry = types.ModuleType("timm.models.registry")
    registry.register_model = lambda function: function
    stands = {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}
    sys.modules.update(stands | {"timm.models.registry": registry})
    sys.path.insert(0, folder)
    names = ("attmask", "utils", "models.vision_transformer", "models.head")
    found = {name.split(".")[-1]: importlib.import_module(name) for name in names}
    tree = ast.parse((Path(folder) / "main_attmask.py").read_text())
    loss = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "iBOTLoss"]
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "dist": Alone}
    exec(compile(ast.Module(loss, []), "main_attmask.py", "exec"), scope)
    return found | {"iBOTLoss": scope["iBOTLoss"]}


def network(parts: dict, who: str) -> torch.nn.Module:
    """Student or teacher: backbone and head in the official wrapper, with the case's weights."""
    backbone = parts["vision_transformer"].VisionTransformer(
        img_size=[case.IMAGE],
        patch_size=case.PATCH,
        embed_dim=case.WIDTH,
        depth=case.DEPTH,
        num_heads=case.HEADS,
        qkv_bias=True,
        return_all_tokens=True,
        masked_im_modeling=who == "student",
    )
    head = parts["head"].iBOTHead(
        case.WIDTH,
        case.VALUES,
        patch_out_dim=case.VALUES,
        hidden_dim=case.HIDDEN,
        bottleneck_dim=case.BOTTLENECK,
        norm_last_layer=who == "teacher",
        shared_head=True,
    )
    model = parts["utils"].MultiCropWrapper(backbone, head)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = case.weight(who, name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn))
    return model


def by_view(crops: np.ndarray) -> list[torch.Tensor]:
    """[B, V, h, w, C] -> V tensors [B, C, h, w]."""
    return [
        torch.from_numpy(crops[:, v].transpose(0, 3, 1, 2).copy()) for v in range(crops.shape[1])
    ]


def by_example(values: torch.Tensor) -> np.ndarray:
    """[V * B, ...] -> [B, V, ...]."""
    return np.stack([part.numpy() for part in values.chunk(case.VIEWS)], axis=1)


def main(folder: str) -> None:
    """Runs one step and stores what comes out."""
    parts = official(folder)
    student, teacher = network(parts, "student"), network(parts, "teacher")
    large, small = (by_view(each) for each in case.crops())
    with torch.no_grad():
        output, attention = teacher(large, return_attention=True)
    attention = attention[:, :, 0, 1:].mean(1)
    masks = parts["attmask"].attention_masking(attention, "attmask_high", case.RATIO)
    masks[torch.from_numpy(case.kept_whole().T.reshape(-1))] = False
    side = case.IMAGE // case.PATCH
    masks = [mask.reshape(-1, side, side) for mask in masks.chunk(case.VIEWS, 0)]
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
    parts["utils"].clip_gradients(student, case.CLIP)
    clipped = {name: p.grad.norm().item() for name, p in student.named_parameters()}
    np.savez_compressed(
        case.GOLDEN,
        attention=by_example(attention),
        hidden=by_example(torch.cat([mask.flatten(1) for mask in masks])),
        class_loss=np.float32(terms["cls"].item()),
        patch_loss=np.float32(terms["patch"].item()),
        centre_class=loss.center.numpy()[0],
        centre_tokens=loss.center2.numpy()[0, 0],
        gradients=np.concatenate([learnt[name].reshape(-1) for name in names]),
        clipped=np.array([clipped[name] for name in names], np.float32),
        decay=parts["utils"].cosine_scheduler(0.04, 0.4, 10, 7).astype(np.float32),
        momentum=parts["utils"].cosine_scheduler(0.996, 1, 10, 7).astype(np.float32),
    )
    print({name: float(terms[name]) for name in terms}, case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
