"""Writes tests/golden/masks/informed_official.npz with the official code of three repositories.

  git clone https://github.com/gkakogeorgiou/attmask      # 9f62061fb3afd42c09dd4b7cc6b8fa38013df018
  git clone https://github.com/Haochen-Wang409/HPM        # c15ae9077160b7940957f1423071d84044e41c8b
  git clone https://github.com/tydusky/remasker           # 69b410819c0d096fab111bb8b0e54c1edd4efcc2
  python tests/golden/masks/informed_record.py attmask/attmask.py HPM/models_mae_learn_loss.py \
      remasker/model_mae.py

The functions are taken out of their files and run on the CPU; their random numbers are replaced by
the recorded noise: torch.rand, torch.randn (the smallest stays visible there) and np.random.shuffle
(the first stays visible there).
"""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "informed_official.npz"
EPOCHS = 200


def functions(path: str) -> dict:
    """Every function of a file by name, methods too, without the rest of it."""
    tree = ast.parse(Path(path).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = [node for node in found if node.name != "__init__"]
    for node in found:
        node.decorator_list = []
    scope = {"torch": torch, "np": np, "eps": 1e-6}
    exec(compile(ast.Module(found, []), path, "exec"), scope)
    return scope


def attmask(official: dict, attention: np.ndarray) -> dict[str, np.ndarray]:
    """Hidden tokens of the modes high and low, and the number that hint hides in 50 draws."""
    torch.manual_seed(0)

    def run(mode: str) -> np.ndarray:
        given = torch.from_numpy(attention).clone()
        return official["AttMask"](given, 1.0, f"attmask_{mode}", 0.3, 0.1 * 0.3, 0.1).numpy()

    counts = np.concatenate([run("hint").sum(1) for _ in range(50)])
    return {"high": run("high"), "low": run("low"), "hint_counts": np.unique(counts)}


def hpm(official: dict, losses: np.ndarray, noise: np.ndarray, epoch: int) -> np.ndarray:
    """Hidden tokens of generate_mask at an epoch, the random order being that of falling noise."""
    rows = iter(noise)

    def shuffle(places: np.ndarray) -> None:
        places[:] = places[np.argsort(-next(rows)[places])]

    with (
        mock.patch("numpy.random.shuffle", shuffle),
        mock.patch("torch.randn", lambda *shape, **_: torch.from_numpy(-noise)),
    ):
        given = torch.from_numpy(losses)
        mask = official["generate_mask"](None, given, 0.75, epoch=epoch, total_epoch=EPOCHS)
    return mask.numpy().astype(bool)


def remasker(official: dict, missing: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Shown tokens, and hidden ones that the loss is taken on."""
    count, length = missing.shape
    observed = torch.from_numpy(~missing).float()
    with mock.patch("torch.rand", lambda *shape, **_: torch.from_numpy(1 - noise)):
        model, tokens = types.SimpleNamespace(training=True), torch.zeros(count, length, 1)
        _, mask, shown, _ = official["random_masking"](model, tokens, observed, 0.5)
    return {"shown": shown.numpy().astype(bool), "predicted": mask.numpy().astype(bool)}


def main(attmask_path: str, hpm_path: str, remasker_path: str) -> None:
    """Records a few rows of each."""
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.full(196, 0.5), 4).astype(np.float32)
    losses = random.standard_normal((4, 196)).astype(np.float32)
    noise = random.permuted(np.tile(np.arange(1, 197) / 200, (4, 1)), axis=1).astype(np.float32)
    missing = random.random((8, 14)) < 0.3
    columns = random.permuted(np.tile(np.arange(1, 15) / 20, (8, 1)), axis=1).astype(np.float32)
    stored = {"attention": attention, "losses": losses, "noise": noise}
    stored |= {"missing": missing, "columns": columns}
    stored |= attmask(functions(attmask_path), attention)
    official = functions(hpm_path)
    for epoch in (0, 1, 3, 66, 133, EPOCHS - 1):
        stored[f"hpm_{epoch}"] = hpm(official, losses, noise, epoch)
    stored |= remasker(functions(remasker_path), missing, columns)
    np.savez_compressed(GOLDEN, **stored)
    print(f"{GOLDEN.name}: {GOLDEN.stat().st_size / 1e3:.0f} kB; hint hides", stored["hint_counts"])
    print("most gaps in a row:", missing.sum(1).max(), "of 14")


if __name__ == "__main__":
    main(*sys.argv[1:])
