"""Images/s of our MAE train step and of transformers' ViTMAE in torch, in one run.

  python -m benchmarks.train_step --variant S --batch 16
  python -m benchmarks.train_step --variant B --batch 256 --dtype bfloat16      (on a GPU)

Both do the same work: mask 75 %, encode, decode, norm-pix loss, gradient, AdamW update, at 224 px,
patch 16, on uint8 images in memory. They take turns, so that load on the machine affects both;
figures are medians over the turns. FLOPs are XLA's count of our loss and gradient. --no-compile
leaves torch.compile out, which takes minutes to warm up on a CPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.vit import variant
from maskmim.planning import cost
from maskmim.training.build import assemble, init_sharded, jitted_step


def maskmim_step(
    options: argparse.Namespace, images: np.ndarray
) -> tuple[Callable[[], None], float]:
    """Return a function that runs one step and waits for it, and the GFLOP per image."""
    config = base()
    config.input.size = (224, 224)
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant=options.variant,
        compute=brick("maskmim.models.layers.compute.compute", dtype=options.dtype),
    )
    config.train.batch_size = options.batch
    parts = assemble(config, TRAIN_IMAGES)
    step = jitted_step(config, parts)
    state, frozen = init_sharded(parts, 0)
    batch = {"image": jax.device_put(images)}

    def run() -> None:
        nonlocal state
        state, metrics = step(state, frozen, batch)
        float(metrics["loss"])

    return run, cost.train_flops_per_example(config, parts) / 1e9


def transformers_step(
    options: argparse.Namespace, images: np.ndarray, *, compiled: bool
) -> Callable[[], None]:
    """Return a function that runs one step of transformers' ViTMAEForPreTraining."""
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    size = variant(options.variant)
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=size.width,
            num_hidden_layers=size.depth,
            num_attention_heads=size.heads,
            intermediate_size=size.hidden,
            layer_norm_eps=1e-6,
            norm_pix_loss=True,
        )
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), 2.4e-3, (0.9, 0.95), weight_decay=0.05)
    forward = torch.compile(model) if compiled else model
    pixels = torch.from_numpy(images).to(device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(1, 3, 1, 1)
    half = options.dtype == "bfloat16"

    def run() -> None:
        inputs = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = forward(inputs).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()

    return run


def take_turns(contestants: dict[str, Callable[[], None]], turns: int, steps: int) -> dict:
    """Return {name: seconds per step of each turn}, after two steps of warm-up each."""
    for run in contestants.values():
        run()
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, run in contestants.items():
            began = time.perf_counter()
            for _ in range(steps):
                run()
            seconds[name].append((time.perf_counter() - began) / steps)
    return seconds


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="S")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (options.batch, 224, 224, 3), np.uint8)
    run, gflop = maskmim_step(options, images)
    contestants = {
        "maskmim (XLA)": run,
        "transformers, eager": transformers_step(options, images, compiled=False),
    }
    if not options.no_compile:
        compiled = transformers_step(options, images, compiled=True)
        contestants["transformers, torch.compile"] = compiled
    seconds = take_turns(contestants, options.turns, options.steps)
    print_table(options, seconds, gflop)


def print_table(options: argparse.Namespace, seconds: dict[str, list[float]], gflop: float) -> None:
    """Print medians, and ratios to ours turn by turn."""
    ours = next(iter(seconds.values()))
    print(
        f"ViT-{options.variant}/16, 224 px, batch {options.batch}, {options.dtype}, "
        f"{jax.devices()[0].device_kind}, medians of {options.turns} turns"
    )
    print(f"{gflop:.1f} GFLOP per image (loss and gradient, XLA's count)\n")
    print(f"{'':<30}{'img/s':>8}{'GFLOP/s':>10}{'speed, ours / theirs':>24}")
    for name, times in seconds.items():
        rate = options.batch / statistics.median(times)
        ratios = [other / own for other, own in zip(times, ours, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:<30}{rate:>8.1f}{rate * gflop:>10.0f}{ratio:>24}")


if __name__ == "__main__":
    main()
