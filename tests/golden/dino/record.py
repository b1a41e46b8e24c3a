"""Writes tests/golden/dino/values.npz with the official DINO, run once on AttMask's tiny case.

  git clone https://github.com/facebookresearch/dino   # 7c446df5b9f45747937fb0d72314eb9f7b66930a
  python -m tests.golden.dino.record dino

One step of main_dino.py on a CPU in float32 with the weights, crops and centre of
tests/golden/attmask/case.py: the teacher on large crops, the student on large and small ones,
DINOLoss with its centre, and gradients, one after another in the order of the case's layout, which
here has no mask embedding. DINOLoss is taken out of its file, see tests/golden/attmask/official.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case
from tests.golden.attmask.official import (
    by_view,
    class_of,
    gradients,
    modules,
    with_case_weights,
)

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
    return with_case_weights(parts["utils"].MultiCropWrapper(backbone, head), who)


def main(folder: str) -> None:
    """Runs one step and stores what comes out."""
    sys.path.insert(0, folder)
    parts = modules(("utils", "vision_transformer"))
    loss_class = class_of(Path(folder) / "main_dino.py", "DINOLoss")
    student, teacher = network(parts, "student"), network(parts, "teacher")
    large, small = (by_view(each) for each in case.crops())
    with torch.no_grad():
        output = teacher(large)
    crops = case.VIEWS + case.LOCALS
    loss = loss_class(case.VALUES, crops, *case.CLASS_TEMPERATURE, case.WARM, case.EPOCHS)
    loss.center += torch.from_numpy(case.centres()["class"])
    value = loss(student([*large, *small]), output, case.EPOCH)
    value.backward()
    names = [e.name for e in case.layout() if not e.name.endswith("masked_embed")]
    np.savez_compressed(
        GOLDEN,
        class_loss=np.float32(value.item()),
        centre_class=loss.center.numpy()[0],
        gradients=gradients(student, names),
    )
    print(value.item(), GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
