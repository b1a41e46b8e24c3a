"""What drawing masks costs: microseconds and FLOPs per image, and the official procedure in torch.

  python -m benchmarks.masks [--grid 14 14] [--batch 256] [--turns 30] [--peer]

Samplers, and with --peer the official bank procedure restated in torch (one crop and two flips of
all patterns, each divided by its maximum, a sort, a second sort to undo it, a gather), take turns,
so that a noisy machine is noisy for all; figures are medians over the turns. FLOPs are XLA's count,
which leaves sorting out. The share is of one train step of MAE ViT-B/16 on a 224 px image, by the
arithmetic of `mae_step_gflop`.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.masks import bank, colour, uniform
from maskmim.teachers.noise_bank import generated
from maskmim.types import Array, Context, Randomness

RATIO = 0.75
SAMPLERS = {
    "random": uniform.random,
    "red": colour.red,
    "green": colour.green,
    "blue": colour.blue,
    "purple": colour.purple,
    "white": colour.white,
    "bank": bank.cropped,
}
Clock = Callable[[], float]


def mae_step_gflop() -> float:
    """GFLOP of one train step of MAE ViT-B/16 per 224 px image: 58.2.

    A block of width D costs 24 D^2 a token for its matrices (2 FLOP a weight; queries, keys and
    values have 3 D^2 weights, the projection D^2, the MLP 8 D^2) and 4 n^2 D for its attention over
    n tokens. 49 of 196 patches are embedded and pass 12 blocks of 768 with a class token; all 196
    with a class token pass 8 blocks of 512. The backward pass costs twice the forward pass.
    """

    def blocks(depth: int, width: int, tokens: int) -> int:
        return depth * (24 * width**2 * tokens + 4 * tokens**2 * width)

    patch = 16 * 16 * 3
    embed, narrow, pixels = 49 * 2 * patch * 768, 50 * 2 * 768 * 512, 197 * 2 * 512 * patch
    forward = embed + blocks(12, 768, 50) + narrow + blocks(8, 512, 197) + pixels
    return 3 * forward / 1e9


def compiled_sampler(name: str, grid: tuple[int, ...], patterns: Array):
    """A sampler compiled for slots u32[B] and a bank: (key, slots, bank) -> Mask."""

    def sample(key: Array, slots: Array, patterns: Array):
        context = Context({}, {"image": grid}, {"noise_bank": patterns})
        return SAMPLERS[name](Randomness(key, slots), context, ratio=RATIO)

    return jax.jit(sample)


def our_clocks(
    grid: tuple[int, ...], batch: int, patterns: Array
) -> tuple[dict[str, Clock], dict[str, float]]:
    """A clock for each sampler (seconds of one batch), and its FLOPs per image."""
    slots = jnp.arange(batch, dtype=jnp.uint32)
    clocks, flops = {}, {}
    for name in SAMPLERS:
        if name == "bank" and len(grid) != 2:
            continue
        key = jax.random.key(0)
        compiled = compiled_sampler(name, grid, patterns).lower(key, slots, patterns).compile()
        costs = compiled.cost_analysis()
        flops[name] = (costs["flops"] + costs.get("transcendentals", 0.0)) / batch
        clocks[name] = functools.partial(timed, compiled, key, slots, patterns)
    return clocks, flops


def timed(compiled: Callable, *arguments: Array) -> float:
    """Seconds of one call, waiting for its result."""
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - start


def peer_clock(grid: tuple[int, int], batch: int, patterns: Array) -> Clock:
    """A clock of the official bank procedure, restated in torch, on torch's default device."""
    import numpy as np
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    noise = torch.from_numpy(np.array(patterns)).to(device)
    rows, columns = grid
    keep = int(rows * columns * (1 - RATIO))

    def windows() -> torch.Tensor:
        top = int(torch.randint(noise.shape[1] - rows + 1, ()))
        left = int(torch.randint(noise.shape[2] - columns + 1, ()))
        cut = noise[:, top : top + rows, left : left + columns]
        cut = cut.flip(-1) if torch.rand(()) < 0.5 else cut
        cut = cut.flip(-2) if torch.rand(()) < 0.5 else cut
        return cut / cut.amax((1, 2), keepdim=True)

    def run() -> float:
        start = time.perf_counter()
        parts = [windows() for _ in range(-(-batch // len(noise)))]
        scores = torch.cat(parts)[:batch].reshape(batch, -1)
        order = torch.argsort(scores, dim=1, descending=True)
        mask = torch.ones_like(scores)
        mask[:, :keep] = 0
        mask.gather(1, torch.argsort(order, dim=1))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=int, nargs="+", default=[14, 14], help="tokens of each axis")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--peer", action="store_true", help="the official procedure too, in torch")
    options = parser.parse_args()
    grid = tuple(options.grid)
    if options.peer and len(grid) != 2:
        parser.error(f"--peer takes a grid of two axes, got {grid}")
    _, frozen = jax.jit(lambda key: generated().init(key, None, {}))(jax.random.key(0))
    clocks, flops = our_clocks(grid, options.batch, frozen["bank"])
    if options.peer:
        clocks["official bank, torch"] = peer_clock(grid, options.batch, frozen["bank"])
    for clock in clocks.values():
        clock()
    order = random.Random(0)
    turns = [one_turn(clocks, order) for _ in range(options.turns)]
    report(turns, flops, options)


def one_turn(clocks: dict[str, Clock], order: random.Random) -> dict[str, float]:
    """Every clock once, in random order: what ran before may leave its threads spinning."""
    taken = {name: clocks[name]() for name in order.sample(list(clocks), len(clocks))}
    return {name: taken[name] for name in clocks}


def report(turns: list[dict[str, float]], flops: dict[str, float], options) -> None:
    """Prints a line for each sampler."""
    step = mae_step_gflop()
    size = "x".join(map(str, options.grid))
    device = jax.devices()[0].device_kind
    print(f"masks of {size} tokens, {RATIO:.0%} hidden, batch {options.batch}, {device}")
    print(f"train step of MAE ViT-B/16: {step:.1f} GFLOP per image; medians of {len(turns)} turns")
    print(f"{'sampler':22}{'us/image':>10}{'x random':>10}{'kFLOP/image':>14}{'share of step':>16}")
    for name in turns[0]:
        taken = statistics.median(turn[name] for turn in turns) / options.batch * 1e6
        ratio = statistics.median(turn[name] / turn["random"] for turn in turns)
        line = f"{name:22}{taken:10.2f}{ratio:10.2f}"
        if name in flops:
            line += f"{flops[name] / 1e3:14.1f}{flops[name] / (step * 1e9):16.5%}"
        print(line)
    if "official bank, torch" in turns[0] and "bank" in turns[0]:
        ratio = statistics.median(turn["official bank, torch"] / turn["bank"] for turn in turns)
        print(
            f"the official procedure in torch takes {ratio:.1f} times as long as our bank sampler"
        )


if __name__ == "__main__":
    main()
