"""ConvNeXt V2 on visible cells alone, in numpy: hidden cells do not exist.

The definition of submanifold sparse convolution: only existing cells have outputs, and an output
sums over existing neighbours.
"""

import numpy as np
from scipy.special import erf

EPSILON = 1e-6
REACH = 3  # of a 7 x 7 kernel


def encode(params, picture, seen, patch):
    """Return features [K, D] of one picture [H, W, C], visible where seen[rows, columns].

    params: of the encoder, arrays. patch: side in pixels of a cell of the first stage.
    """
    stages = sum(name.endswith("_blocks") for name in params)
    times = 2 ** (stages - 1)
    fine = seen.repeat(times, axis=0).repeat(times, axis=1)
    cells = {}
    for row, column in np.argwhere(fine):
        top, left = row * patch, column * patch
        pixels = {(i, j): picture[top + i, left + j] for i in range(patch) for j in range(patch)}
        cells[row, column] = joined(pixels, params["stem"])
    cells = each(cells, lambda x: norm(x, params["stem_norm"]["norm"]))
    for stage in range(stages):
        if stage:
            cells = each(cells, lambda x, at=f"down{stage}_norm": norm(x, params[at]["norm"]))
            cells = halved(cells, params[f"down{stage}"])
        stacked = params[f"stage{stage}_blocks"]
        for block in range(len(stacked["depthwise"]["bias"])):
            cells = through_block(cells, stacked, block)
    return np.stack([cells[place] for place in sorted(cells)])


def each(cells, function):
    return {place: function(value) for place, value in cells.items()}


def joined(values, layer):
    """Return a convolution's output for the values {(row, column): [D]} under its kernel."""
    return sum(x @ layer["kernel"][i, j] for (i, j), x in values.items()) + layer["bias"]


def halved(cells, layer):
    groups = {}
    for (row, column), x in cells.items():
        groups.setdefault((row // 2, column // 2), {})[row % 2, column % 2] = x
    return each(groups, lambda values: joined(values, layer))


def norm(x, layer):
    return (x - x.mean()) / np.sqrt(x.var() + EPSILON) * layer["scale"] + layer["bias"]


def through_block(cells, stacked, block):
    """Run one block of a stage on its cells; parameters are stacked by block."""
    depthwise, mlp = stacked["depthwise"], stacked["mlp"]
    kernel = depthwise["kernel"][block, :, :, 0]
    layer = {name: value[block] for name, value in stacked["norm"]["norm"].items()}
    hidden = {}
    for row, column in cells:
        y = depthwise["bias"][block].copy()
        for i in range(-REACH, REACH + 1):
            for j in range(-REACH, REACH + 1):
                if (row + i, column + j) in cells:
                    y += kernel[i + REACH, j + REACH] * cells[row + i, column + j]
        y = norm(y, layer) @ mlp["up"]["kernel"][block] + mlp["up"]["bias"][block]
        hidden[row, column] = y * 0.5 * (1 + erf(y / np.sqrt(2)))
    lengths = np.sqrt(np.sum(np.square(list(hidden.values())), axis=0))
    share = lengths / (lengths.mean() + EPSILON)
    gamma, beta = mlp["grn"]["gamma"][block], mlp["grn"]["beta"][block]
    down, offset = mlp["down"]["kernel"][block], mlp["down"]["bias"][block]
    return {
        place: x + (gamma * hidden[place] * share + beta + hidden[place]) @ down + offset
        for place, x in cells.items()
    }
