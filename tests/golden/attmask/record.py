"""Writes tests/golden/attmask/values.npz with the official AttMask, run once on a tiny case.

  git clone https://github.com/gkakogeorgiou/attmask   # 9f62061fb3afd42c09dd4b7cc6b8fa38013df018
  python -m tests.golden.attmask.record attmask

One step of main_attmask.py on a CPU in float32: the teacher on whole crops, masks from
its attention by attmask.py, the student on masked large and whole small crops, iBOTLoss with its
centres, and gradients, one after another in the order of the case's layout; then the norms of
clip_gradients and values of cosine_scheduler (utils.py). The script's own imports are left out, see
official.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case
from tests.golden.attmask.official import (
    by_example,
    by_view,
    class_of,
    masked_step,
    modules,
    network,
    stand_in_for_timm,
)


def main(folder: str) -> None:
    """Runs one step and stores what comes out."""
    stand_in_for_timm()
    sys.path.insert(0, folder)
    parts = modules(("attmask", "utils", "models.vision_transformer", "models.head"))
    student, teacher = network(parts, "student"), network(parts, "teacher")
    with torch.no_grad():
        output, attention = teacher(by_view(case.crops()[0]), return_attention=True)
    attention = attention[:, :, 0, 1:].mean(1)
    masks = parts["attmask"].attention_masking(attention, "attmask_high", case.RATIO)
    masks[torch.from_numpy(case.kept_whole().T.reshape(-1))] = False
    side = case.IMAGE // case.PATCH
    masks = [mask.reshape(-1, side, side) for mask in masks.chunk(case.VIEWS, 0)]
    loss_class = class_of(Path(folder) / "main_attmask.py", "iBOTLoss")
    found = masked_step(loss_class, student, output, masks)
    parts["utils"].clip_gradients(student, case.CLIP)
    clipped = {name: p.grad.norm().item() for name, p in student.named_parameters()}
    np.savez_compressed(
        case.GOLDEN,
        attention=by_example(attention),
        hidden=by_example(torch.cat([mask.flatten(1) for mask in masks])),
        **found,
        clipped=np.array([clipped[entry.name] for entry in case.layout()], np.float32),
        decay=parts["utils"].cosine_scheduler(0.04, 0.4, 10, 7).astype(np.float32),
        momentum=parts["utils"].cosine_scheduler(0.996, 1, 10, 7).astype(np.float32),
    )
    print(case.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
