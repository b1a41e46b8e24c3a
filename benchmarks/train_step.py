"""Time of our MAE train step and of transformers' ViTMAE in torch, in one run.

  python -m benchmarks.train_step --variant S --batch 16 --cores 1
  python -m benchmarks.train_step --variant 4x128x4 --decoder 1x96x3 --size 96 --patch 12 --batch 64
  python -m benchmarks.train_step --variant B --batch 256 --dtype bfloat16      (on a GPU)

Both do the same work: mask 75 %, encode, decode, norm-pix loss, gradient, AdamW update, on uint8
images in memory. Each runs in a process of its own, since memory that one frees in pieces costs the
other page faults. They take turns, so that load on the machine affects both; figures are medians
over the turns. CPU seconds are those of the process, all threads. FLOPs are XLA's count of our loss
and gradient. --no-compile leaves torch.compile out, which takes minutes to warm up on a CPU.
--operations prints where the time of our step goes. Freed memory is kept, for both, as in training;
a MALLOC_ variable in the environment prevents it.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.operations import time_by_kind
from benchmarks.turns import Turn, take_turns
from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.vit import variant
from maskmim.planning import cost
from maskmim.runtime.allocator import keep_freed_memory
from maskmim.training.build import assemble, init_sharded, jitted_step

OURS = "maskmim (XLA)"
EAGER, COMPILED = "transformers, eager", "transformers, torch.compile"


def maskmim_step(
    options: argparse.Namespace, images: np.ndarray
) -> tuple[Callable[[], None], float]:
    """Return a function that runs one step and waits for it, and the GFLOP per image."""
    config = base()
    depth, width, heads = map(int, options.decoder.split("x"))
    config.input.size = (options.size, options.size)
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant=options.variant,
        patch=(options.patch, options.patch),
        decoder_depth=depth,
        decoder_width=width,
        decoder_heads=heads,
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
    depth, width, heads = map(int, options.decoder.split("x"))
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=size.width,
            num_hidden_layers=size.depth,
            num_attention_heads=size.heads,
            intermediate_size=size.hidden,
            decoder_hidden_size=width,
            decoder_num_hidden_layers=depth,
            decoder_num_attention_heads=heads,
            decoder_intermediate_size=4 * width,
            image_size=options.size,
            patch_size=options.patch,
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


def images_of(options: argparse.Namespace) -> np.ndarray:
    """Return the images of a batch, u8[B, H, W, 3]."""
    shape = options.batch, options.size, options.size, 3
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make_step(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """Return a function that runs one step of a contestant; called in its own process."""
    images = images_of(options)
    if name == OURS:
        return maskmim_step(options, images)[0]
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return transformers_step(options, images, compiled=name == COMPILED)


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    others = [EAGER] if options.no_compile else [EAGER, COMPILED]
    names = [OURS, *([] if options.alone else others)]
    makers = {name: functools.partial(make_step, name, options) for name in names}
    taken = take_turns(makers, options.turns, options.steps)
    run, gflop = maskmim_step(options, images_of(options))
    print_table(options, taken, gflop)
    if options.operations:
        keep_freed_memory()
        run()
        print_operations(run, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="S")
    parser.add_argument("--decoder", default="8x512x16", help="depth x width x heads")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--cores", type=int, default=0, help="use the first N only")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--alone", action="store_true", help="leave torch out")
    parser.add_argument("--operations", action="store_true", help="show where our time goes")
    return parser.parse_args()


def print_table(options: argparse.Namespace, taken: dict[str, list[Turn]], gflop: float) -> None:
    """Print medians, what others take of ours, turn by turn, and the page faults of a step."""
    ours = next(iter(taken.values()))
    print(
        f"ViT {options.variant}, patch {options.patch}, decoder {options.decoder}, "
        f"{options.size} px, batch {options.batch}, {options.dtype}, "
        f"{jax.devices()[0].device_kind}, cores {len(os.sched_getaffinity(0))}, "
        f"medians of {options.turns} turns"
    )
    print(f"{gflop:.3g} GFLOP per image (loss and gradient, XLA's count)\n")
    print(
        f"{'':<29}{'img/s':>8}{'GFLOP/s':>9}{'CPU ms/img':>12}"
        f"{'time, theirs / ours':>23}{'CPU, theirs / ours':>23}{'faults':>9}"
    )
    for name, turns in taken.items():
        rate = options.batch / statistics.median(turn.wall for turn in turns)
        cpu = 1e3 * statistics.median(turn.cpu for turn in turns) / options.batch
        pairs = list(zip(turns, ours, strict=True))
        wall_ratio = _median_and_range([theirs.wall / own.wall for theirs, own in pairs])
        cpu_ratio = _median_and_range([theirs.cpu / own.cpu for theirs, own in pairs])
        faults = statistics.median(turn.faults for turn in turns)
        print(
            f"{name:<29}{rate:>8.1f}{rate * gflop:>9.0f}{cpu:>12.2f}"
            f"{wall_ratio:>23}{cpu_ratio:>23}{faults:>9,.0f}"
        )


def _median_and_range(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_operations(run: Callable[[], None], options: argparse.Namespace) -> None:
    """Print the share of each kind of operation in our step, and its time per image."""
    seconds = time_by_kind(run, options.steps)
    whole = sum(seconds.values())
    print(f"\n{'kind of operation':<29}{'ms/img':>8}{'share':>8}")
    for kind, value in sorted(seconds.items(), key=lambda item: -item[1]):
        per_image = 1e3 * value / options.steps / options.batch
        print(f"{kind:<29}{per_image:>8.3f}{value / whole:>8.1%}")


if __name__ == "__main__":
    main()
