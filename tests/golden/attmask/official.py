"""The official code of DINO's kin on AttMask's tiny case, for the scripts that record arrays.

AttMask and iBOT have the same networks, one loss of one name, and imports that a recording does
without: the loss is taken out of its script, and timm stands for nothing but a decorator. A single
process stands for the group.
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


def stand_in_for_timm() -> None:
    """Let `timm.models.registry` be imported, whose decorator changes nothing."""
    registry = types.ModuleType("timm.models.registry")
    registry.register_model = lambda function: function
    stands = {name: types.ModuleType(name) for name in ("timm", "timm.models")}
    sys.modules.update(stands | {"timm.models.registry": registry})


def modules(names: tuple[str, ...]) -> dict:
    """Import modules of the repository in sys.path, by the last part of their names."""
    return {name.split(".")[-1]: importlib.import_module(name) for name in names}


def class_of(path: Path, name: str) -> type:
    """Return a class of a script without running the script's imports."""
    body = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)]
    module = ast.Module([node for node in body if node.name == name], [])
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "dist": Alone}
    exec(compile(module, path.name, "exec"), scope)
    return scope[name]


def with_case_weights(model: torch.nn.Module, who: str) -> torch.nn.Module:
    """Give a student or a teacher the weights of the case."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = case.weight(who, name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn))
    return model


def network(parts: dict, who: str) -> torch.nn.Module:
    """Return student or teacher: backbone and head in the official wrapper."""
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
    return with_case_weights(parts["utils"].MultiCropWrapper(backbone, head), who)


def by_view(crops: np.ndarray) -> list[torch.Tensor]:
    """[B, V, h, w, C] -> V tensors [B, C, h, w]."""
    return [
        torch.from_numpy(crops[:, v].transpose(0, 3, 1, 2).copy()) for v in range(crops.shape[1])
    ]


def by_example(values: torch.Tensor) -> np.ndarray:
    """[V * B, ...] -> [B, V, ...]."""
    return np.stack([part.numpy() for part in values.chunk(case.VIEWS)], axis=1)


def masked_step(
    loss_class: type,
    student: torch.nn.Module,
    output: tuple[torch.Tensor, ...],
    masks: list[torch.Tensor],
) -> dict[str, np.ndarray]:
    """Take one step of the student and return what both recordings store of it.

    output: of the teacher on the large crops. masks: bool[B, rows, columns] of each large crop.
    Returns both losses and both centres, and all gradients in the order of the layout. Gradients of
    the parameters are left as they are.
    """
    large, small = (by_view(each) for each in case.crops())
    seen = student(large, mask=masks)
    student.backbone.masked_im_modeling = False
    local = student(small)[0]
    temperatures = *case.CLASS_TEMPERATURE, *case.PATCH_TEMPERATURE
    sizes = case.VALUES, case.VALUES, case.VIEWS, case.LOCALS
    loss = loss_class(*sizes, *temperatures, case.WARM, case.EPOCHS)
    old = case.centres()
    loss.center += torch.from_numpy(old["class"])
    loss.center2 += torch.from_numpy(old["tokens"])
    terms = loss(seen, output, local, masks, case.EPOCH)
    terms["loss"].backward()
    print({name: term.item() for name, term in terms.items()})
    return {
        "class_loss": np.float32(terms["cls"].item()),
        "patch_loss": np.float32(terms["patch"].item()),
        "centre_class": loss.center.numpy()[0],
        "centre_tokens": loss.center2.numpy()[0, 0],
        "gradients": gradients(student, [entry.name for entry in case.layout()]),
    }


def gradients(student: torch.nn.Module, names: list[str]) -> np.ndarray:
    """Return all gradients one after another, without that of the class token's position.

    names: official ones, in order; raises AssertionError unless they are the student's.
    """
    learnt = {name: p.grad.numpy().copy() for name, p in student.named_parameters()}
    learnt["backbone.pos_embed"] = learnt["backbone.pos_embed"][:, 1:]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    return np.concatenate([learnt[name].reshape(-1) for name in names])
