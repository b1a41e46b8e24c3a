"""Writes tests/golden/masks/block_*.npz with the official block and span generators on given noise.

  python -m tests.golden.masks.block_official CAE/furnace/masking_generator.py \
      SlowFast/slowfast/datasets/transform.py capi/data.py \
      SpanBERT/pretraining/fairseq/data/masking.py

of github.com/Atten4Vis/CAE (a7fd1628176358e3e76b0b042b0f6e9f3cd7c76c), facebookresearch/SlowFast
(287ec0076846560f44a9327e931a5a2360240533), facebookresearch/capi
(98b4fa17ee8eec8810c17022df9a27a44845368b) and facebookresearch/SpanBERT
(0670d8b6a38f6714b85ea7a033f16bd8cc162676). Only the classes named below are run, with their random
numbers replaced by the noise of the cases; the tests draw the same noise.
"""

from __future__ import annotations

import ast
import itertools
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CASES = 32
BEIT = [((14, 14), 78), ((14, 14), 98), ((14, 14), 147), ((7, 11), 31), ((16, 16), 102)]
CUBES = [((8, 7, 7), 157), ((8, 14, 14), 627), ((4, 6, 5), 48)]
CAPI = [((16, 16), 90), ((14, 14), 49), ((14, 14), 78), ((7, 11), 30), ((9, 6), 50)]
SPANS = [(512, 0.15), (128, 0.5), (77, 0.9), (9, 0.6)]
COVERAGE = 20000


def noise(seed: int, *shape: int) -> np.ndarray:
    """Uniform numbers in [0, 1) that float32 holds exactly."""
    return np.random.RandomState(seed).randint(0, 2**24, shape).astype(np.float32) / 2**24


def spans_noise(seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The order in which tokens have their turn, and a length from 1 to 10 for each."""
    random = np.random.RandomState(seed)
    weights = 0.8 ** np.arange(10)
    return random.permutation(length), random.choice(10, length, p=weights / weights.sum()) + 1


class Given:
    """Stands for the module `random`: numbers given in advance, by rows of one attempt each."""

    def __init__(self, rows: np.ndarray, first: int) -> None:
        """first: how many numbers of a row `uniform` takes before a new row begins."""
        self.rows, self.first, self.row, self.taken = iter(rows), first, None, 0

    def uniform(self, low: float, high: float) -> float:
        if self.taken % self.first == 0:
            self.row, self.taken = iter(next(self.rows)), 0
        self.taken += 1
        return low + (high - low) * float(next(self.row))

    def randint(self, low: int, high: int) -> int:
        return low + int(float(next(self.row)) * (high - low + 1))


def official(path: str, names: list[str], **others: Any) -> dict[str, Any]:
    """Classes of a file without its imports; annotations stay text, as in this file."""
    tree = ast.parse(Path(path).read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    space = {"math": math, "np": np, **others}
    exec(compile(tree, path, "exec"), space)
    return space


def until_noise_ends(generate) -> np.ndarray:
    """The mask of a generator, or as it stood when the noise ran out."""
    try:
        return generate()
    except StopIteration as stop:
        trace = stop.__traceback__
        while "mask" not in trace.tb_frame.f_locals:
            trace = trace.tb_next
        return trace.tb_frame.f_locals["mask"]


def beit_masks(path: str) -> dict[str, np.ndarray]:
    """CAE's loop, which is BEiT's without the end after ten failures."""
    space, found = official(path, ["MaskingGenerator"]), {}
    for place, (grid, count) in enumerate(BEIT):
        masks = []
        for rows in noise(place, CASES, 128, 4):
            space["random"] = Given(rows, 2)
            generator = space["MaskingGenerator"](grid, count, min_num_patches=16)
            masks.append(until_noise_ends(generator))
        found[f"masks{place}"] = np.packbits(np.array(masks, bool))
    return found


def beit_coverage(path: str) -> np.ndarray:
    """How often SlowFast's copy of BEiT's generator hides each token of 14 x 14 at 78."""
    import random

    random.seed(0)
    generator = official(path, ["MaskingGenerator"], random=random)["MaskingGenerator"](14, 78)
    return np.mean([generator() for _ in range(COVERAGE)], axis=0).astype(np.float32)


def cube_masks(path: str) -> dict[str, np.ndarray]:
    """MaskFeat's cubes; with 100 attempts the end after a hundred failures never comes earlier."""
    space, found = official(path, ["MaskingGenerator3D"]), {}
    for place, (grid, count) in enumerate(CUBES):
        masks, most = [], grid[1] * grid[2]
        for rows in noise(place, CASES, 100, 6):
            # The official order is area, aspect, length, top, left, front.
            space["random"] = Given(rows[:, [0, 1, 2, 4, 5, 3]], 2)
            masks.append(
                until_noise_ends(
                    space["MaskingGenerator3D"](
                        grid, count, max_num_patches=most, min_num_patches=most // 5
                    )
                )
            )
        found[f"masks{place}"] = np.packbits(np.array(masks, bool))
    return found


def capi_masks(path: str) -> dict[str, np.ndarray]:
    """CAPI's rectangles: of each row of noise the aspect, the place and the shift."""
    space, found = official(path, ["BlockMasking"]), {}
    for place, (grid, count) in enumerate(CAPI):
        masks = []
        for rows in noise(place, CASES, 1, 5):
            space["random"] = Given(rows, 1)
            masks.append(space["BlockMasking"](grid)(count))
        found[f"masks{place}"] = np.packbits(np.array(masks, bool))
    return found


def span_masks(path: str) -> dict[str, np.ndarray]:
    """SpanBERT's masks where every token is a word; each turn takes its own token's length."""
    found = {}
    settings = types.SimpleNamespace(
        mask_ratio=0.0, max_pair_targets=0, span_lower=1, span_upper=10, geometric_p=0.2,
        tagged_anchor_prob=0.0, replacement_method="", endpoints="", return_only_spans=True,
    )  # fmt: skip
    words = types.SimpleNamespace(is_start_word=lambda token: True)
    for place, (length, ratio) in enumerate(SPANS):
        settings.mask_ratio, masks = ratio, []
        for seed in range(CASES):
            turns, lengths = spans_noise(seed, length)
            given = itertools.chain.from_iterable((lengths[turn], turn) for turn in turns)
            stand_in = types.SimpleNamespace(
                random=types.SimpleNamespace(
                    choice=lambda *_, given=given, **__: next(given), rand=lambda: 0.0
                )
            )
            space = official(
                path, ["MaskingScheme", "PairWithSpanMaskingScheme", "ParagraphInfo"],
                np=stand_in, span_masking=lambda *given, **_: (given[6], None, None),
                print=lambda *_: None,
            )  # fmt: skip
            scheme = space["PairWithSpanMaskingScheme"](
                settings, [], 0, 0, space["ParagraphInfo"](words)
            )
            hidden = np.zeros(length, bool)
            hidden[list(scheme.mask(list(range(length)))[0])] = True
            masks.append(hidden)
        found[f"masks{place}"] = np.packbits(np.array(masks))
    return found


def recorded(name: str, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """Masks bool[CASES, *shape] of a case, as they were recorded."""
    with np.load(HERE / f"block_{name}.npz") as stored:
        bits = np.unpackbits(stored[f"masks{place}"])
    return bits[: CASES * math.prod(shape)].reshape(CASES, *shape).astype(bool)


def main() -> None:
    """Runs the four files named on the command line."""
    cae, slowfast, capi, spanbert = sys.argv[1:]
    np.savez_compressed(
        HERE / "block_beit.npz", coverage=beit_coverage(slowfast), **beit_masks(cae)
    )
    np.savez_compressed(HERE / "block_cubes.npz", **cube_masks(slowfast))
    np.savez_compressed(HERE / "block_capi.npz", **capi_masks(capi))
    np.savez_compressed(HERE / "block_spans.npz", **span_masks(spanbert))


if __name__ == "__main__":
    main()
