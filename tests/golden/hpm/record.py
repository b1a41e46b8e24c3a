"""Writes tests/golden/hpm/values.npz with HPM's own objective for the loss predictor.

  git clone https://github.com/Haochen-Wang409/HPM       # c15ae9077160b7940957f1423071d84044e41c8b
  python -m tests.golden.hpm.record HPM/models_mae_learn_loss.py

The function forward_learning_loss is taken out of the file and run on the CPU, with equal losses
within an example among its inputs, and one example whose losses are all equal. It runs in float64:
in float32 its 1 - sigmoid(x) loses digits where predictions are far apart.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).with_name("values.npz")
EXAMPLES, TOKENS = 5, 24


def official(path: str):
    """forward_learning_loss of the official file, without the rest of it."""
    tree = ast.parse(Path(path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    found = [node for node in functions if node.name == "forward_learning_loss"]
    scope = {"torch": torch}
    exec(compile(ast.Module(found, []), path, "exec"), scope)
    return scope["forward_learning_loss"]


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Predictions from small to saturating, and losses with ties."""
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(EXAMPLES, TOKENS)) * np.array([[0.1], [1], [3], [20], [1]])
    losses = rng.gamma(2.0, size=(EXAMPLES, TOKENS)).round(1)
    losses[-1] = losses[-1, 0]
    return predictions.astype(np.float32), losses.astype(np.float32)


def main(path: str) -> None:
    """Records both objectives and their gradients."""
    function = official(path)
    predictions, losses = inputs()
    stored = {"predictions": predictions, "losses": losses}
    for name, relative in (("relative", True), ("absolute", False)):
        given = torch.from_numpy(predictions).double().requires_grad_()
        true = torch.from_numpy(losses).double()
        value = function(None, given, None, true, relative=relative)
        value.backward()
        stored |= {name: value.detach().numpy(), f"{name}_gradient": given.grad.numpy()}
    np.savez_compressed(GOLDEN, **stored)
    print({name: float(stored[name]) for name in ("relative", "absolute")})


if __name__ == "__main__":
    main(sys.argv[1])
