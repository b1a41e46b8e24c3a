"""Writes tests/golden/msn/values.npz with the official MSN, run once on a tiny case.

  git clone https://github.com/facebookresearch/msn
  python -m tests.golden.msn.record msn

Runs VisionTransformer of src/deit.py, with a projector made as in init_model of src/msn_train.py,
and the loss of src/losses.py (me-max, Sinkhorn) as the training loop does, on a CPU in float32,
with the weights, crops and permutation of tests/golden/msn/case.py: the target network on the first
large crop, the encoder on two large ones with dropped patches and on three small ones. Stores
projections, targets, both terms of the loss, and the gradients of their sum to all parameters and
the prototypes, one after another in the order of the case's layout. Recorded from commit
4388dc1eadbe3042b85d3296d41b9b207656e043.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from torch import nn

from tests.golden.msn import case


def network(deit, who: str) -> nn.Module:
    """Encoder and projector with the case's sizes and weights, in training mode."""
    model = deit.VisionTransformer(
        img_size=[case.IMAGE],
        patch_size=case.PATCH,
        embed_dim=case.WIDTH,
        depth=case.DEPTH,
        num_heads=case.HEADS,
        mlp_ratio=4,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    widths = (case.WIDTH, case.HIDDEN, case.HIDDEN, case.VALUES)
    layers = OrderedDict()
    for number in range(1, 4):
        layers[f"fc{number}"] = nn.Linear(widths[number - 1], widths[number])
        if number < 3:
            layers[f"bn{number}"] = nn.BatchNorm1d(widths[number])
            layers[f"gelu{number}"] = nn.GELU()
    model.fc = nn.Sequential(layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            given = case.weight(who, name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(given))
    return model.train()


def by_view(crops: np.ndarray) -> list[torch.Tensor]:
    """[B, V, h, w, C] -> V tensors [B, C, h, w]."""
    return [torch.from_numpy(view.copy()) for view in crops.transpose(1, 0, 4, 2, 3)]


def main(folder: str) -> None:
    """Runs one step and stores what comes out."""
    sys.path.insert(0, folder)
    deit, losses = (importlib.import_module(f"src.{name}") for name in ("deit", "losses"))
    encoder, target = network(deit, "student"), network(deit, "average")
    shape = case.CLUSTERS, case.VALUES
    prototypes = torch.from_numpy(case.weight("student", "prototypes", shape)).requires_grad_()
    large, small = (by_view(each) for each in case.crops())
    torch.randperm = lambda count: torch.from_numpy(case.permutation())
    _, anchors = encoder([*large[1:], *small], return_before_head=True, patch_drop=case.DROP)
    with torch.no_grad():
        targets, _ = target(large[0], return_before_head=True)
    loss = losses.init_msn_loss(
        num_views=case.LARGE + case.SMALL, tau=case.TEMPERATURE, me_max=True, return_preds=True
    )
    assignment, me_max, _, logs, assigned = loss(
        T=case.SHARPENING,
        use_sinkhorn=True,
        use_entropy=True,
        anchor_views=anchors,
        target_views=targets,
        proto_labels=torch.eye(case.CLUSTERS),
        prototypes=prototypes,
    )
    (assignment + me_max).backward()

    learnt = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    learnt |= {"pos_embed": learnt["pos_embed"][:, 1:], "prototypes": prototypes.grad}
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    found = {
        "anchors": torch.stack(anchors.chunk(case.LARGE + case.SMALL), dim=1),
        "target": targets,
        "assigned": assigned[: case.EXAMPLES],
        "assignment": assignment,
        "me_max": me_max,
        "prototypes": torch.tensor(logs["np"]),
        "gradients": torch.cat([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **{name: x.detach().numpy() for name, x in found.items()})
    print(assignment.item(), me_max.item(), logs, case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
