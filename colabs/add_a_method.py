# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/add_a_method.ipynb)
#
# # Add a method
#
# A method is a config over functions. Here are two functions of our own: a **sampler**, which hides stripes of random
# direction, and a **target**, what each hidden patch adds to the colour of all that is visible. We check both as the
# package checks its own, look at them, and train with them for a minute.
# [docs/add_a_method.md](https://github.com/maskmim/maskmim/blob/main/docs/add_a_method.md) has the other kinds.

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("maskmim") is None:
    from packaging.requirements import Requirement

    # pip keeps a jax that is new enough. Another one is replaced, by that of the accelerator here.
    found = importlib.metadata.version("jax") if importlib.util.find_spec("jax") else "0"
    extra = "[cuda]" if os.path.exists("/dev/nvidiactl") else ""
    extra = "[tpu]" if os.path.exists("/dev/accel0") or os.path.exists("/dev/vfio/0") else extra
    extra = "" if found in Requirement("jax>=0.10.2,<0.13").specifier else extra
    package = f"maskmim{extra} @ git+https://github.com/maskmim/maskmim"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)

import jax

import maskmim

print(f"maskmim {maskmim.__version__}, jax {jax.__version__}, Python {sys.version.split()[0]}")
print(f"devices: {', '.join(map(str, jax.devices()))}")

# %% [markdown]
# ## 1. Write the bricks
#
# A config names a function by its path, `my_bricks.stripes`, and stores that path with the run. So bricks live in a
# module; the next cell writes one beside the notebook. There is nothing to register.
#
# - A sampler draws a separate mask for each example from `randomness.each(name)`, never from the batch, so that a mask
#   does not depend on devices or micro-batches. Most draw a score for each token and end with `from_scores`, which
#   keeps exactly the strongest.
# - A target is made of a `View`: inputs, mask, network. `facts.target(pixels=...)` says how a prediction becomes pixels
#   again, for pictures and errors.
# - Ranges in annotations (`OpenFraction`, `Positive`) refuse wrong values of the config before anything is compiled.

# %%
# %%writefile my_bricks.py
"""Stripes as masks, and patches relative to what is visible as targets."""

import jax
import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import OpenFraction, Positive
from maskmim.masks.core import from_scores
from maskmim.targets.pixels import patches
from maskmim.types import Array, Context, Mask, Randomness, View


@facts.sampler(axes=(2,))
def stripes(
    randomness: Randomness, context: Context, *, ratio: OpenFraction, period: Positive = 4.0
) -> Mask:
    """Hide stripes of a random direction and place.

    ratio:  share of hidden tokens, exact after rounding.
    period: tokens from one stripe to the next.
    """
    rows, columns = jnp.mgrid[: context.grid[0], : context.grid[1]].reshape(2, -1)

    def wave(key: Array) -> Array:
        direction, place = jax.random.uniform(key, (2,)) * 2 * jnp.pi
        across = rows * jnp.sin(direction) + columns * jnp.cos(direction)
        return jnp.cos(2 * jnp.pi * across / period + place)

    return from_scores(jax.vmap(wave)(randomness.each("mask")), ratio=ratio)


def visible_mean(view: View) -> Array:
    """Return the mean over visible patches of each of a patch's values, f32[B, 1, V]."""
    everything = view.net.patchify(view.inputs).astype(jnp.float32)
    shown = jnp.take_along_axis(everything, view.mask.visible[..., None], axis=1)
    return shown.mean(axis=1, keepdims=True)


def add_visible_mean(view: View, prediction: Array) -> Array:
    """Return a prediction of `relative_patches` in units of the inputs."""
    return prediction.astype(jnp.float32) + visible_mean(view)


@facts.target(pixels=add_visible_mean)
def relative_patches(view: View) -> Array:
    """Return how predicted patches differ from the mean visible patch, f32[B, P, V]."""
    return patches(view) - visible_mean(view)


# %% [markdown]
# ## 2. Check the sampler
#
# What the package's own tests ask of every sampler: exact counts, each token in its role once, the same mask for an
# example whatever stands beside it, and every token visible equally often.

# %%
import contextlib

import jax
import jax.numpy as jnp
import my_bricks
import numpy as np
from IPython.display import Image as Picture
from PIL import Image

from maskmim import gallery, train
from maskmim.mask_tools.statistics import coverage_p_value, visible_map
from maskmim.masks.core import split_counts
from maskmim.types import Context, Encoded, Randomness, View, random_key

GRID, RATIO, COUNT = (8, 8), 0.75, 2048
context = Context({}, {"image": GRID}, {})
draw = jax.jit(lambda randomness: my_bricks.stripes(randomness, context, ratio=RATIO))
mask = draw(Randomness.of(random_key(0), COUNT))

visible, hidden = split_counts(64, RATIO)
assert mask.visible.shape == (COUNT, visible) and mask.predict.shape == (COUNT, hidden)
assert (np.asarray(mask.hidden).sum(1) == hidden).all()
both = np.concatenate([mask.visible, mask.predict], axis=1)
assert (np.sort(both, axis=1) == np.arange(64)).all(), "every token is visible or predicted, once"
some = Randomness(random_key(0), jnp.arange(COUNT, dtype=jnp.uint32)[5:9])
assert (draw(some).hidden == mask.hidden[5:9]).all(), "a mask depends on its example alone"
p_value = coverage_p_value(visible_map(np.asarray(mask.visible), GRID))
print(f"{visible} visible and {hidden} hidden of 64 tokens in each of {COUNT} masks")
print(f"coverage p = {p_value:.2g}")

# %% [markdown]
# `p` is the chance of such differences between tokens if all are equally likely: near 0 they are not. The gallery shows
# the rest: masks, plain and on a picture, how often each token is visible, and the spectrum, whose peak is at one
# stripe in `period` tokens.

# %%
# %%capture
gallery.main(["--only", "my_bricks.stripes", "--grid", "8x8", "--out", "sheets"])

# %%
Picture("sheets/my_bricks.png", width=900)

# %% [markdown]
# ## 3. Check the target
#
# By an independent computation in numpy, and by its inverse: target and prediction live in the same units.

# %%
from maskmim.config import ConfigError, load
from maskmim.training.build import build_method

config = load("quickstart", ["mask.brick=my_bricks.stripes"])
spec, method = build_method(config)
net = method.net
pixels = np.random.default_rng(0).integers(0, 256, (2, *spec.shape), dtype=np.uint8)
inputs, small = net.inputs({"image": pixels}), jax.tree.map(lambda part: part[:2], mask)
view = View(net, context, inputs, small, Encoded(None, None), {}, ())

everything = np.asarray(net.patchify(inputs))
for example in range(2):
    mean = everything[example][np.asarray(small.visible[example])].mean(0)
    expected = everything[example][np.asarray(small.predict[example])] - mean
    np.testing.assert_allclose(my_bricks.relative_patches(view)[example], expected, atol=1e-5)
back = my_bricks.add_visible_mean(view, my_bricks.relative_patches(view))
np.testing.assert_allclose(back, my_bricks.patches(view), atol=1e-5)
print("the target is what it says, and add_visible_mean is its inverse")

# %% [markdown]
# ## 4. A config
#
# It starts from another one and names the bricks. A method of the package has such a file in `configs/`, with paper,
# launch lines and published results in its docstring.

# %%
# %%writefile striped.py
"""The quickstart in small, with stripes as masks and relative patches as targets."""

import my_bricks
from ml_collections import ConfigDict

from maskmim.config import brick, load


def get_config() -> ConfigDict:
    """Return the config of a minute on two CPU cores."""
    smaller = ["input.size=48,48", "model.patch=6,6", "model.variant=4x128x4"]
    config = load("quickstart:epochs=6", [*smaller, "evals.monitors="])
    config.mask = brick(my_bricks.stripes, ratio=0.75)
    config.objectives.pixels.target = brick(my_bricks.relative_patches)
    config.evals.at_end = ("reconstruction",)
    return config


# %% [markdown]
# A wrong value is refused with a sentence, as the annotations say:

# %%
try:
    load("striped.py", ["mask.period=-1"])
except ConfigError as error:
    print(error)

# %% [markdown]
# ## 5. Train
#
# The same in a shell, in this folder: `python -m maskmim.train --config striped.py --workdir runs/striped`.

# %%
with contextlib.redirect_stderr(sys.stdout):
    train.main(["--config", "striped.py", "--workdir", "runs/striped"])

# %% [markdown]
# The table compares with the mean of the visible patches: after so short a training, predictions are hardly better, a
# colour and a vague round shape. Six epochs say little about a method: 30 and several
# `--config.seed` do, with the probes of `--config.evals.at_end=knn,linear_probe`, beside the same with
# `--config.mask.brick=maskmim.masks.uniform.random`.

# %%
from maskmim.data.grocery import grocery
from maskmim.reporting.sheets import draw_sheet

model = maskmim.load("runs/striped")
print(model)
records = grocery(split="test")
photos = [records[index].encoded for index in (0, 420, 1100, 1700)]
made = model.reconstruct(photos, seed=2)
Image.fromarray(
    draw_sheet(
        {"photograph": made.input, "masked": made.masked, "reconstruction": made.reconstruction},
        title="Stripes: predictions, with the visible mean added",
        groups=2,
    )
)

# %% [markdown]
# Another period is a flag, `--config.mask.period=3`; another brick too,
# `--config.mask.brick=maskmim.masks.colour.green`. What a sampler needs from a teacher (attention, features), what
# grids it serves and other declarations are in
# [maskmim/config/facts.py](https://github.com/maskmim/maskmim/blob/main/maskmim/config/facts.py); objectives, losses,
# networks and whole methods are functions in the same way.
