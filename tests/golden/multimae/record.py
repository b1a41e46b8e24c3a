"""Writes tests/golden/multimae/values.npz with the official MultiMAE, run once on a tiny case.

  git clone https://github.com/EPFL-VILAB/MultiMAE       # 66910f5b5ba236f5e731883db85fe4f24ee01106
  python -m tests.golden.multimae.record MultiMAE

Runs MultiMAE, its adapters and its losses (norm_rgb too) with the weights, inputs and masks of
tests/golden/multimae/case.py on a CPU in float32; needs einops. Depth is standardised by the lines
of train_one_epoch in run_pretraining_multimae.py. Stores that, predictions by head, losses, and
the gradients of their sum, one after another in the order of the case's layout; the gradients are
those of the same losses on the examples that have a hidden token, because nanmean's 0 / 0 makes all
official gradients nan (at 98 of 3 x 196 tokens there is no such example). The model's own
forward takes masks too, but then shows every example as many tokens as all examples together, so
the masks stand in for generate_random_masks.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from tests.golden.multimae import case


def official(folder: str) -> types.ModuleType:
    """Return the official package, without the rest of its repository."""
    stands = {name: types.ModuleType(name) for name in ("utils", "utils.registry")}
    stands["utils.registry"].register_model = lambda function: function
    sys.modules.update(stands)
    sys.path.insert(0, folder)
    return importlib.import_module("multimae")


def build(package: types.ModuleType) -> torch.nn.Module:
    """Return the official model with the case's sizes and weights."""
    sizes = {"patch_size_full": case.PATCH, "image_size": case.IMAGE}
    patched = partial(package.PatchedInputAdapter, stride_level=1, **sizes)
    semantic = package.SemSegInputAdapter(
        case.CLASSES, stride_level=case.STRIDE, dim_class_emb=case.CLASS_WIDTH, **sizes
    )
    depth, width, heads = case.DECODER
    spatial = partial(
        package.SpatialOutputAdapter,
        dim_tokens=width,
        depth=depth,
        num_heads=heads,
        context_tasks=list(case.STREAMS),
        **sizes,
    )
    shapes = {"rgb": (3, 1), "depth": (1, 1), "semseg": (case.CLASSES, case.STRIDE)}
    depth, width, heads = case.ENCODER
    model = package.MultiMAE(
        {"rgb": patched(3), "depth": patched(1), "semseg": semantic},
        {head: spatial(*shapes[task], task=task) for head, task in case.HEADS.items()},
        dim_tokens=width,
        depth=depth,
        num_heads=heads,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def standardised(folder: str, depth: torch.Tensor) -> torch.Tensor:
    """Return depth as the official training loop standardises it."""
    path = Path(folder) / "run_pretraining_multimae.py"
    functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    (loop,) = (function for function in functions if function.name == "train_one_epoch")
    conditions = (node for node in ast.walk(loop) if isinstance(node, ast.If))
    (lines,) = (node for node in conditions if "standardize_depth" in ast.unparse(node.test))
    scope = {"torch": torch, "rearrange": rearrange, "tasks_dict": {"depth": depth}}
    exec(compile(ast.Module(lines.body, []), str(path), "exec"), scope)
    return scope["tasks_dict"]["depth"]


def given_masks() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return what generate_random_masks does, with the case's masks."""
    hidden = case.hidden()
    order = np.argsort(np.concatenate(list(hidden.values()), axis=1), axis=1, kind="stable")
    masks = {name: torch.from_numpy(mask.astype(np.int64)) for name, mask in hidden.items()}
    shuffle = torch.from_numpy(order)
    return masks, shuffle[:, : case.SEEN], torch.argsort(shuffle, dim=1)


def main(folder: str) -> None:
    """Run the model with the case's masks, and store what comes out."""
    package = official(folder)
    model = build(package)
    model.generate_random_masks = lambda *arguments, **options: given_masks()
    batch = {name: torch.from_numpy(array) for name, array in case.inputs().items()}
    depth = standardised(folder, batch["depth"].permute(0, 3, 1, 2))
    inputs = {
        "rgb": batch["image"].permute(0, 3, 1, 2),
        "depth": depth,
        "semseg": batch["semseg"][..., 0].long(),
    }
    predictions, masks = model(inputs, num_encoded_tokens=case.SEEN)
    losses = {
        "rgb": package.MaskedMSELoss(case.PATCH, 1),
        "norm_rgb": package.MaskedMSELoss(case.PATCH, 1, norm_pix=True),
        "depth": package.MaskedL1Loss(case.PATCH, 1),
        "semseg": package.MaskedCrossEntropyLoss(case.PATCH, case.STRIDE),
    }
    found = {"depth": depth.numpy().transpose(0, 2, 3, 1)}
    total = torch.zeros(())
    for head, task in case.HEADS.items():
        loss = losses[head](predictions[head], inputs[task], mask=masks[task])
        found[f"loss_{head}"] = np.float32(loss.item())
        found[f"prediction_{head}"] = predictions[head].detach().numpy().transpose(0, 2, 3, 1)
        some = masks[task].any(dim=1)
        part = losses[head](predictions[head][some], inputs[task][some], mask=masks[task][some])
        assert torch.isclose(part, loss), (head, part, loss)
        total = total + part
    total.backward()
    learnt = {n: p.grad.numpy() for n, p in model.named_parameters() if p.requires_grad}
    learnt = case.halves(learnt)
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found["gradients"] = np.concatenate([learnt[name].reshape(-1) for name in names])
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")
    print({name: float(value) for name, value in found.items() if name.startswith("loss")})


if __name__ == "__main__":
    main(sys.argv[1])
