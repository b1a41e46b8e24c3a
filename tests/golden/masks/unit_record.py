"""Writes tests/golden/masks/unit_*.npz with the official masking functions of six repositories.

  git clone https://github.com/microsoft/SimMIM          # d3e29bcac950b83edc34ca33fe4404f38309052c
  git clone https://github.com/facebookresearch/pixio    # b83555d6581f4906f6f1fc1ae0abb04f622db32f
  git clone https://github.com/implus/UM-MAE             # cb7776b075491824626cd93b64d7de62f0cf28c6
  git clone https://github.com/naver-ai/lut              # 4420a27119987081ba42ce2f6a047ad6940da469
  git clone https://github.com/mx-mark/DMJD              # 881b21d220a44c8068b9042b46f981aa5254a67a
  git clone https://github.com/EPFL-VILAB/MultiMAE       # 66910f5b5ba236f5e731883db85fe4f24ee01106
  python tests/golden/masks/unit_record.py .             # the folder with the six of them

Functions are taken out of their files unchanged, since their modules import much that masks do not
use; random numbers that they draw are noted on the way. Masks are packed bits, 1 hidden.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Union
from unittest import mock

import numpy as np
import torch
from einops import rearrange
from torch.distributions import Dirichlet

HERE = Path(__file__).parent


def take(path: Path, *names: str) -> list:
    """Functions or classes of a file, by name."""
    scope = {"np": np, "torch": torch, "rearrange": rearrange, "Dirichlet": Dirichlet}
    scope |= {"Dict": dict, "List": list, "Union": Union}  # Names in official annotations.
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
            exec(compile(ast.Module([node], []), str(path), "exec"), scope)
    return [scope[name] for name in names]


def packed(masks) -> np.ndarray:
    """Masks [B, ...] of 0 and 1 as bits u8[B, ceil(N / 8)]."""
    return np.packbits(np.asarray(masks).astype(bool).reshape(len(masks), -1), axis=1)


def noted(owner: object, name: str):
    """A patch of a function that keeps what it returned, and the list where it keeps it."""
    real, kept = getattr(owner, name), []

    def keep(*args, **keywords):
        kept.append(real(*args, **keywords))
        return kept[-1]

    return mock.patch.object(owner, name, keep), kept


def simmim(root: Path) -> dict[str, np.ndarray]:
    """Orders of units and masks for 32-pixel units: (image size, patch, ratio)."""
    (generator,) = take(root / "SimMIM/data/data_simmim.py", "MaskGenerator")
    found = {}
    for size, patch, ratio in ((224, 16, 0.6), (192, 4, 0.6), (192, 16, 0.75)):
        patched, orders = noted(np.random, "permutation")
        np.random.seed(0)
        with patched:
            masks = [generator(size, 32, patch, ratio)() for _ in range(8)]
        found[f"order_{size}_{patch}_{ratio}"] = np.array(orders, np.uint8)
        found[f"hidden_{size}_{patch}_{ratio}"] = packed(masks)
    return found


def pixio(root: Path) -> dict[str, np.ndarray]:
    """Noise of units and masks, 16 x 16 patches in units of 4 x 4."""
    (masking,) = take(root / "pixio/pretraining/models_pixio.py", "random_masking")
    patched, noise = noted(torch, "rand")
    torch.manual_seed(0)
    with patched:
        _, mask, _ = masking(None, torch.zeros(8, 256, 1), 0.75, 4)
    return {"noise": noise[0].numpy(), "hidden": packed(mask)}


def um_mae(root: Path) -> dict[str, np.ndarray]:
    """The visible place in each 2 x 2 cell of 16 x 16 patches, and masks."""
    (generator,) = take(root / "UM-MAE/mask_transform.py", "RandomMaskingGenerator")
    draw, pools, real = generator(16, 0.75, True), [], np.random.shuffle

    def shuffle(pool: np.ndarray) -> None:
        real(pool)
        pools.append(pool[:64].copy())

    np.random.seed(0)
    with mock.patch.object(np.random, "shuffle", shuffle):
        masks = [draw() for _ in range(16)]
    return {"places": np.argmin(pools, axis=-1).astype(np.uint8), "hidden": packed(masks)}


def lut(root: Path) -> dict[str, np.ndarray]:
    """Noise and the masks of both views, 196 patches at 0.75."""
    (masking,) = take(root / "lut/models/models_lut.py", "random_masking")
    patched, noise = noted(torch, "rand")
    torch.manual_seed(0)
    with patched:
        _, _, first, second, _ = masking(None, *[torch.zeros(8, 196, 1)] * 2, 0.75)
    return {"noise": noise[0].numpy(), "first": packed(first), "second": packed(second)}


def dmjd(root: Path) -> dict[str, np.ndarray]:
    """The masks of both views, 14 x 14 patches in units of 2 x 2."""
    masking, _ = take(root / "DMJD/models_dmjd.py", "block_masking", "expand_patches_indice")
    model = SimpleNamespace(patch_embed3=SimpleNamespace(num_patches=196))
    torch.manual_seed(0)
    found = {}
    for ratio in (0.6, 0.75):
        _, mask, _ = masking(model, torch.zeros(64, 1), ratio)
        found |= {f"first_{ratio}": packed(mask[:64]), f"second_{ratio}": packed(mask[64:])}
    return found


def multimae(root: Path) -> dict[str, np.ndarray]:
    """Shares, each stream's permutation, the last noise and masks: the paper's case, a scarce one.

    In the scarce case streams are often asked for more tokens than they have.
    """
    (masking,) = take(root / "MultiMAE/multimae/multimae.py", "generate_random_masks")
    cases = {"paper": ((196, 196, 196), 98, 6), "scarce": ((16, 49, 25), 70, 12)}
    found = {}
    for name, (lengths, count, batch) in cases.items():
        (one, shares), (two, orders) = noted(Dirichlet, "sample"), noted(torch, "rand")
        three, noise = noted(torch, "rand_like")
        tokens = {f"{at}": torch.zeros(batch, size, 1) for at, size in enumerate(lengths)}
        torch.manual_seed(1)
        with one, two, three:
            masks, _, _ = masking(None, tokens, count, 1.0)
        places = torch.cat([torch.argsort(each, dim=1) for each in orders], dim=1)
        found[f"{name}_shares"] = shares[0].numpy()
        found[f"{name}_places"] = places.numpy().astype(np.uint8)
        found[f"{name}_noise"] = noise[0].numpy()
        found[f"{name}_hidden"] = packed(torch.cat(list(masks.values()), dim=1))
    return found


if __name__ == "__main__":
    for record in (simmim, pixio, um_mae, lut, dmjd, multimae):
        name = record.__name__.replace("_", "")
        np.savez_compressed(HERE / f"unit_{name}.npz", **record(Path(sys.argv[1])))
