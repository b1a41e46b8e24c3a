"""Writes tests/golden/dtm/values.npz with DTM's official loss, run once on small arrays.

  git clone https://github.com/naver-ai/dtm
  python -m tests.golden.dtm.record dtm

Runs train_one_epoch of engines/engine_for_dtm.py, with bm/merge.py, on the predictions and targets
of tests/golden/dtm/case.py, on a CPU in float32: the network is a parameter, CLIP gives the
targets, and Python's random gives the schedules of the case. Logging, whose packages are not here,
and CUDA do nothing. Stores of each case the group of every token for both schedules, the loss and
its gradient by the predictions.
Recorded from commit 322df2e6ee94a774bd443ad4fdf6b5b1134ba4d5.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch

from tests.golden.dtm import case


class Network(torch.nn.Module):
    """A parameter in place of what a network predicts."""

    def __init__(self, predictions: np.ndarray) -> None:
        super().__init__()
        self.predictions = torch.nn.Parameter(torch.from_numpy(predictions))

    def forward(self, samples, **options):
        return self.predictions


def engine() -> ModuleType:
    """The official module without its logging; cgitb left Python in 3.13."""
    logging = MagicMock()
    logging.MetricLogger.return_value.log_every = lambda loader, *others: loader
    package = ModuleType("utils")
    package.utils = logging
    sys.modules.update({"utils": package, "utils.utils": logging, "cgitb": MagicMock()})
    torch.cuda.synchronize = lambda: None
    return importlib.import_module("engines.engine_for_dtm")


def run(official: ModuleType, number: int) -> dict[str, np.ndarray]:
    """The groups, the loss and the gradient of a case."""
    length, schedules = case.CASES[number]
    network, target = Network(case.tokens(number, 0)), torch.from_numpy(case.tokens(number, 1))
    clip = SimpleNamespace(
        encode_image=lambda samples, **options: target,
        visual=SimpleNamespace(proj=torch.eye(case.VALUES)),
    )
    drawn = iter([removed for removed, _ in schedules] + [rounds for _, rounds in schedules])
    official.random = SimpleNamespace(randint=lambda low, high: next(drawn))
    sources, final, merge_source = [], [], official.merge_source

    def tracked(merge, x, source=None):
        if source is None:
            sources.append(None)
        sources[-1] = merge_source(merge, x, source)
        return sources[-1]

    official.merge_source = tracked
    scaler = MagicMock(side_effect=lambda loss, *others, **options: loss.backward())
    mask = torch.zeros(case.EXAMPLES, length, dtype=torch.bool)
    arguments = SimpleNamespace(
        n1=length, n2=length, k1=case.ROUNDS, k2=case.ROUNDS, L=2, accum_iter=1, w_dtm=1.0,
        use_clip=True, no_clip_proj=False, normalize_target=False, loss_mim=False,
        loss_type="smoothl1",
    )  # fmt: skip
    losses = official.utils.MetricLogger.return_value.update
    losses.reset_mock()
    official.train_one_epoch(
        network, clip, [((target, target, mask), None)], SimpleNamespace(
            param_groups=[{"lr": 0.0, "weight_decay": 0.0}], zero_grad=lambda: None
        ), torch.device("cpu"), 0, scaler, start_steps=0, args=arguments,
    )  # fmt: skip
    official.merge_source = merge_source
    found = iter(sources)
    for removed, _ in schedules:
        eye = torch.eye(length).expand(case.EXAMPLES, length, length)
        final.append((next(found) if removed else eye).argmax(dim=1).numpy())
    loss = next(call.kwargs["loss"] for call in losses.call_args_list if "loss" in call.kwargs)
    return {
        f"groups_{number}": np.stack(final).astype(np.int8),
        f"loss_{number}": np.float32(loss),
        f"gradient_{number}": network.predictions.grad.numpy(),
    }


def main(folder: str) -> None:
    """Runs every case and stores what comes out."""
    sys.path.insert(0, folder)
    official, found = engine(), {}
    for number in range(len(case.CASES)):
        found |= run(official, number)
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
