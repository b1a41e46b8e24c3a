"""What drawing masks costs: microseconds and FLOPs per example, for every sampler there is.

  python -m benchmarks.masks [--only colour] [--grid 14 14] [--batch 256] [--turns 20] [--peer]

Without --grid every sampler is drawn on images of 14 x 14 tokens, or, where it serves clips or
sequences alone, on 8 x 14 x 14 or 512. Samplers take turns in random order, so that a noisy machine
is noisy for all; times are medians over turns. Informed samplers get hints made from a photograph:
what a teacher costs is not in the figures.

Two shares of one train step of MAE ViT-B/16 on a 224 px image (58.2 GFLOP, `mae_step_gflop`) are
given. That of FLOPs is XLA's count, which leaves out sorting and counts a loop's body once. That of
time needs no count: it divides by the time that the step's FLOPs would take at the speed of a large
matrix product, measured in the same run; a real step is slower than that, so the share is an upper
bound. --peer adds the official bank procedure in torch.
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
from maskmim.types import Array, Context, Randomness

RATIO = 0.75
GRIDS = {2: (14, 14), 3: (8, 14, 14), 1: (512,)}
REFERENCE = "uniform.random"
PEER = "official bank, torch"
Clock = Callable[[], float]


class Case(NamedTuple):
    """A sampler on a grid: seconds of one batch when called, and XLA's FLOPs of one example."""

    name: str
    grid: tuple[int, ...]
    informed: bool
    clock: Clock
    flops: float


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


@functools.cache
def hint(name: str, grid: tuple[int, ...]) -> Array:
    """A hint as the gallery makes it from its photograph."""
    return compute_hint(photograph_scene(grid), name)


def batch_hints(names: tuple[str, ...], grid: tuple[int, ...], batch: int) -> dict[str, Array]:
    """Hints for a batch of equal examples."""
    return repeat_hints({name: hint(name, grid) for name in names}, batch)


def case_of(sampler: Sampler, grid: tuple[int, ...], batch: int) -> Case:
    """A sampler compiled on a grid."""
    options = {"ratio": RATIO} if "ratio" in sampler.takes else {}

    def draw(key: Array, slots: Array, hints: dict[str, Array]):
        context = Context({}, {"tokens": grid}, hints, 0.5)
        return sampler.function(Randomness(key, slots), context, **options)

    hints = batch_hints(sampler.needs, grid, batch)
    arguments = jax.random.key(0), jnp.arange(batch, dtype=jnp.uint32), hints
    compiled = jax.jit(draw).lower(*arguments).compile()
    costs = compiled.cost_analysis()
    flops = (costs["flops"] + costs.get("transcendentals", 0.0)) / batch
    clock = functools.partial(timed, compiled, *arguments)
    return Case(sampler.name, grid, bool(sampler.needs), clock, flops)


def timed(compiled: Callable, *arguments) -> float:
    """Seconds of one call, waiting for its result."""
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - start


def product_clock(size: int = 2048) -> tuple[Clock, float]:
    """Seconds of one float32 product of square matrices, and its FLOPs."""
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return functools.partial(timed, product, matrix, matrix), 2.0 * size**3


def chosen(only: str, grid: tuple[int, ...] | None) -> list[tuple[Sampler, tuple[int, ...]]]:
    """Samplers whose names start with `only`, each with its grid; the reference on every grid."""
    found, grids = [], set()
    for sampler in samplers():
        axes = [len(grid)] if grid else [n for n in GRIDS if n in sampler.axes][:1]
        if not set(sampler.takes) <= {"ratio"} or axes[0] not in sampler.axes:
            continue
        place = grid or GRIDS[axes[0]]
        if sampler.name.startswith(only):
            found.append((sampler, place))
            grids.add(place)
    reference = next(each for each in samplers() if each.name == REFERENCE)
    others = [pair for pair in found if pair[0].name != REFERENCE]
    return [(reference, each) for each in sorted(grids)] + others


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="samplers whose names start so")
    parser.add_argument("--grid", type=int, nargs="+", help="tokens of each axis")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--peer", action="store_true", help="the official procedure too, in torch")
    options = parser.parse_args()
    grid = tuple(options.grid) if options.grid else None
    pairs = chosen(options.only, grid)
    cases = []
    for place, pair in enumerate(pairs, start=1):
        if sys.stderr.isatty():
            print(f"\rcompiling {place} of {len(pairs)} ", end="", file=sys.stderr, flush=True)
        cases.append(case_of(*pair, options.batch))
    print(file=sys.stderr)
    clocks = {(case.name, case.grid): case.clock for case in cases}
    clocks["product"], product_flops = product_clock()
    if options.peer:
        clocks[PEER] = official_clock(options.batch)
    for clock in clocks.values():
        clock()
    order = random.Random(0)
    turns = [one_turn(clocks, order) for _ in range(options.turns)]
    rate = product_flops / statistics.median(turn["product"] for turn in turns)
    report(cases, turns, rate, options.batch)
    if options.peer:
        compare(turns, options.batch)


def official_clock(batch: int) -> Clock:
    """The peer on the bank that our own sampler is given."""
    from benchmarks.official_bank import peer_clock

    grid = GRIDS[2]
    return peer_clock(grid, batch, hint("noise_bank", grid), RATIO)


def one_turn(clocks: dict, order: random.Random) -> dict:
    """Every clock once, in random order: what ran before may leave its threads spinning."""
    return {name: clocks[name]() for name in order.sample(list(clocks), len(clocks))}


def report(cases: list[Case], turns: list[dict], rate: float, batch: int) -> None:
    """Prints a line for each sampler."""
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
        own = case.name, case.grid
        taken = statistics.median(turn[own] for turn in turns) / batch
        ratio = statistics.median(turn[own] / turn[REFERENCE, case.grid] for turn in turns)
        print(
            f"{case.name + (' *' if case.informed else ''):32}"
            f"{'x'.join(map(str, case.grid)):>9}{taken * 1e6:12.1f}{ratio:10.1f}"
            f"{case.flops / 1e3:9.1f}{case.flops / step:11.4%}{taken * rate / step:10.3%}"
        )
    print("* informed: its hints are given, the teacher's cost is not counted")


def compare(turns: list[dict], batch: int) -> None:
    """Prints the peer's line."""
    taken = statistics.median(turn[PEER] for turn in turns) / batch * 1e6
    print(f"{PEER}: {taken:.1f} us/example")
    ours = "bank.cropped", GRIDS[2]
    if ours in turns[0]:
        times = statistics.median(turn[PEER] / turn[ours] for turn in turns)
        print(f"the official procedure takes {times:.1f} times as long as our bank sampler")


def device() -> str:
    """The accelerator, or the CPU, that was measured."""
    return jax.devices()[0].device_kind


if __name__ == "__main__":
    main()
