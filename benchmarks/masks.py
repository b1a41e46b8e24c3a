"""The cost of sampling masks: microseconds and FLOPs per example, for every sampler.

  python -m benchmarks.masks [--only colour] [--grid 14 14] [--batch 256] [--turns 20] [--peer]

Without --grid a sampler runs on images of 14 x 14 tokens, or, where it serves only clips or
sequences, on 8 x 14 x 14 or 512. Samplers take turns in random order, so that load on the machine
affects all of them; times are medians over turns. Informed samplers get hints made from a
photograph: the cost of a teacher is excluded.

The table has two shares of one train step of MAE ViT-B/16 on a 224 px image (58.2 GFLOP,
`mae_step_gflop`). The share of FLOPs is by XLA's count, which excludes sorting and counts a loop's
body once. The share of time is relative to the step's FLOPs at the speed of a large matrix product,
measured in the same run; a real step is slower, so that share is an upper bound. --peer adds the
official bank procedure in torch.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.mask_tools.gallery.hints import compute_hint, repeat_hints
from maskmim.mask_tools.gallery.scene import photograph_scene
from maskmim.types import Array, Context, Randomness, random_key

RATIO = 0.75
GRIDS = {2: (14, 14), 3: (8, 14, 14), 1: (512,)}
REFERENCE = "uniform.random"
PEER = "official bank, torch"
Clock = Callable[[], float]


class Case(NamedTuple):
    """A sampler compiled on a grid; clock: () -> seconds of one batch; flops: of one example."""

    name: str
    grid: tuple[int, ...]
    informed: bool
    clock: Clock
    flops: float


def mae_step_gflop() -> float:
    """Return the GFLOP of one train step of MAE ViT-B/16 per 224 px image: 58.2.

    A block of width D costs 24 D^2 per token for its matrices (2 FLOP per weight; queries, keys and
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


@functools.cache
def hint(name: str, grid: tuple[int, ...]) -> Array:
    """Return a hint as the gallery makes it from its photograph."""
    return compute_hint(photograph_scene(grid), name)


def batch_hints(names: tuple[str, ...], grid: tuple[int, ...], batch: int) -> dict[str, Array]:
    """Return hints for a batch of equal examples."""
    return repeat_hints({name: hint(name, grid) for name in names}, batch)


def compile_case(sampler: Sampler, grid: tuple[int, ...], batch: int) -> Case:
    """Compile a sampler on a grid."""
    options = {"ratio": RATIO} if "ratio" in sampler.takes else {}

    def draw(key: Array, slots: Array, hints: dict[str, Array]):
        context = Context({}, {"tokens": grid}, hints, 0.5)
        return sampler.function(Randomness(key, slots), context, **options)

    hints = batch_hints(sampler.needs, grid, batch)
    arguments = random_key(0), jnp.arange(batch, dtype=jnp.uint32), hints
    compiled = jax.jit(draw).lower(*arguments).compile()
    costs = compiled.cost_analysis()
    flops = (costs["flops"] + costs.get("transcendentals", 0.0)) / batch
    clock = functools.partial(time_call, compiled, *arguments)
    return Case(sampler.name, grid, bool(sampler.needs), clock, flops)


def time_call(compiled: Callable, *arguments) -> float:
    """Return the seconds of one call, with the wait for its result."""
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - start


def product_clock(size: int = 2048) -> tuple[Clock, float]:
    """Return a clock of one float32 product of square matrices, and its FLOPs."""
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return functools.partial(time_call, product, matrix, matrix), 2.0 * size**3


def choose_samplers(
    only: str, grid: tuple[int, ...] | None
) -> list[tuple[Sampler, tuple[int, ...]]]:
    """Return samplers whose names start with `only` and their grids, the reference on each grid."""
    pairs, grids = [], set()
    for sampler in samplers():
        axes = [len(grid)] if grid else [n for n in GRIDS if n in sampler.axes][:1]
        if not set(sampler.takes) <= {"ratio"} or axes[0] not in sampler.axes:
            continue
        sampler_grid = grid or GRIDS[axes[0]]
        if sampler.name.startswith(only):
            pairs.append((sampler, sampler_grid))
            grids.add(sampler_grid)
    reference = next(each for each in samplers() if each.name == REFERENCE)
    others = [pair for pair in pairs if pair[0].name != REFERENCE]
    return [(reference, each) for each in sorted(grids)] + others


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="samplers whose names start with this")
    parser.add_argument("--grid", type=int, nargs="+", help="tokens along each axis")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument(
        "--peer", action="store_true", help="also time the official procedure in torch"
    )
    options = parser.parse_args()
    grid = tuple(options.grid) if options.grid else None
    pairs = choose_samplers(options.only, grid)
    cases = []
    for number, pair in enumerate(pairs, start=1):
        if sys.stderr.isatty():
            print(f"\rcompiling {number} of {len(pairs)} ", end="", file=sys.stderr, flush=True)
        cases.append(compile_case(*pair, options.batch))
    print(file=sys.stderr)
    clocks = {(case.name, case.grid): case.clock for case in cases}
    clocks["product"], product_flops = product_clock()
    if options.peer:
        clocks[PEER] = official_clock(options.batch)
    for clock in clocks.values():
        clock()
    order = random.Random(0)
    turns = [run_turn(clocks, order) for _ in range(options.turns)]
    rate = product_flops / statistics.median(turn["product"] for turn in turns)
    print_table(cases, turns, rate, options.batch)
    if options.peer:
        print_peer(turns, options.batch)


def official_clock(batch: int) -> Clock:
    """Return the peer's clock, on the bank that our sampler gets."""
    from benchmarks.official_bank import peer_clock

    grid = GRIDS[2]
    return peer_clock(grid, batch, hint("noise_bank", grid), RATIO)


def run_turn(clocks: dict, order: random.Random) -> dict:
    """Read every clock once, in random order, since the one before may leave threads spinning."""
    return {name: clocks[name]() for name in order.sample(list(clocks), len(clocks))}


def print_table(cases: list[Case], turns: list[dict], rate: float, batch: int) -> None:
    """Print a line for each sampler."""
    step = mae_step_gflop() * 1e9
    print(f"{RATIO:.0%} hidden, batch {batch}, medians of {len(turns)} turns, {device()}")
    print(
        f"train step of MAE ViT-B/16: {step / 1e9:.1f} GFLOP per image; matrix product "
        f"{rate / 1e9:.0f} GFLOP/s, so at least {step / rate * 1e3:.0f} ms"
    )
    print(
        f"{'sampler':32}{'grid':>9}{'us/example':>12}{'x random':>10}{'kFLOP':>9}"
        f"{'of FLOPs':>11}{'of time':>10}"
    )
    for case in cases:
        key = case.name, case.grid
        seconds = statistics.median(turn[key] for turn in turns) / batch
        ratio = statistics.median(turn[key] / turn[REFERENCE, case.grid] for turn in turns)
        print(
            f"{case.name + (' *' if case.informed else ''):32}"
            f"{'x'.join(map(str, case.grid)):>9}{seconds * 1e6:12.1f}{ratio:10.1f}"
            f"{case.flops / 1e3:9.1f}{case.flops / step:11.4%}{seconds * rate / step:10.3%}"
        )
    print("* informed: gets its hints, the cost of the teacher is excluded")


def print_peer(turns: list[dict], batch: int) -> None:
    """Print the peer's line."""
    microseconds = statistics.median(turn[PEER] for turn in turns) / batch * 1e6
    print(f"{PEER}: {microseconds:.1f} us/example")
    ours = "bank.cropped", GRIDS[2]
    if ours in turns[0]:
        times = statistics.median(turn[PEER] / turn[ours] for turn in turns)
        print(f"the official procedure takes {times:.1f} times as long as our bank sampler")


def device() -> str:
    """Return the kind of device that was measured."""
    return jax.devices()[0].device_kind


if __name__ == "__main__":
    main()
