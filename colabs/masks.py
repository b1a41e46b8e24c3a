# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/masks.ipynb)
#
# # Masks
#
# The mask decides what a model learns. Here masks are drawn by filtering random noise: five colours, their sigmas,
# ratios and grids, their spectra, and what the encoder gets to see. Nothing is trained, so that this notebook takes
# seconds. [docs/masks.md](https://github.com/maskmim/maskmim/blob/main/docs/masks.md) says which mask serves what.

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

# %%
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.colors import ListedColormap

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.mask_tools.spectrum import spectrum
from maskmim.mask_tools.statistics import mean_component_size, mean_hidden_distance
from maskmim.masks import blocks, colour, power_law, spread_blue, uniform, units
from maskmim.types import Context, Randomness, random_key

plt.rcParams.update({"figure.dpi": 70, "figure.facecolor": "white", "image.cmap": "gray"})
INK = {
    "red": "#c8342f",
    "green": "#2e8b45",
    "white": "#767676",
    "purple": "#7b3fa0",
    "blue": "#2563c0",
}
SIDE = 96  # pixels of a picture

test = grocery(split="test")
chosen = [test[number].encoded for number in (30, 600, 1400, 2300)]
photographs = [decode(encoded, channels=3)[:SIDE, :SIDE] for encoded in chosen]


def inputs(grid, seed=0, count=4):
    """What every sampler is given: random numbers, and what it may know of the batch."""
    return Randomness.of(random_key(seed), count), Context({}, {"image": grid}, {})


def on_grid(tokens, grid):
    return np.asarray(tokens).reshape(-1, *grid)


def noise_and_masks(name, grid, ratio, sigmas=(), seed=0):
    """Draw a colour's noise, and what it hides of four pictures: bool[4, rows, columns]."""
    given = inputs(grid, seed)
    noise = colour.colour_scores(*given, colour=name, sigmas=sigmas)
    mask = colour.strongest(*given, blurs=colour.filter_of(name, sigmas), ratio=ratio)
    return on_grid(noise, grid), on_grid(mask.hidden, grid)


def greyed(photograph, hidden):
    patch = SIDE // len(hidden)
    return np.where(np.kron(hidden, np.ones((patch, patch)))[..., None] > 0, 205, photograph)


def bare(axes):
    for axis in np.ravel(axes):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)


# %% [markdown]
# ## Five colours of noise
#
# White noise is blurred by Gaussians, whose widths sigma count tokens. Low-pass noise is called *red*, high-pass *blue*,
# band-pass *green*, band-stop *purple*. Where the noise is strongest, tokens stay visible: here 25 % of them. So the
# colour sets how large visible groups are, and how far hidden patches lie from what the encoder knows.
#
# Each picture has a mask of its own, drawn on the device inside the train step.


# %%
def draw(name, grid=(16, 16), ratio=0.75, sigmas=(), seed=0, axes=None):
    """Draw noise, mask, and masked photographs in a row."""
    if axes is None:
        _, axes = plt.subplots(1, 6, figsize=(9, 1.7), layout="constrained")
    noise, hidden = noise_and_masks(name, grid, ratio, sigmas, seed)
    axes[0].imshow(noise[0])
    axes[1].imshow(hidden[0], cmap=ListedColormap([INK[name], "#e9e9e9"]))
    for axis, photograph, each in zip(axes[2:], photographs, hidden, strict=True):
        axis.imshow(greyed(photograph, each))
    axes[0].set_ylabel(name, color=INK[name], fontsize=13)
    bare(axes)


figure, rows = plt.subplots(len(INK), 6, figsize=(9, 7.6), layout="constrained")
for axes, name in zip(rows, INK, strict=True):
    draw(name, axes=axes)
for axis, title in zip(rows[0], ["noise", "mask", "on photographs"], strict=False):
    axis.set_title(title)

# %% [markdown]
# ## Turn the knobs
#
# `sigma` sets the size of groups, `ratio` how much is hidden. Red and blue have one sigma; green and purple have two,
# the second `width` times the first. Where no sliders appear (this page without a kernel, or no ipywidgets), the
# picture shows green noise for three sigmas and three ratios.

# %%
figure, rows = plt.subplots(3, 3, figsize=(5.4, 5.6), layout="constrained")
for axes, sigma in zip(rows, (0.5, 1.0, 2.0), strict=True):
    for axis, ratio in zip(axes, (0.5, 0.75, 0.9), strict=True):
        _, hidden = noise_and_masks("green", (16, 16), ratio, (sigma, 2 * sigma))
        axis.imshow(greyed(photographs[0], hidden[0]))
        axis.set_title(f"ratio {ratio:g}", fontsize=10)
    axes[0].set_ylabel(f"sigma {sigma:g}, {2 * sigma:g}")
bare(rows)

# %%
try:
    import ipywidgets as widgets
except ImportError:
    widgets = None
    print("no sliders: pip install ipywidgets, then run this cell again")


def turn(name, sigma, width, ratio, tokens, seed):
    sigmas = (sigma, width * sigma)[: colour.FILTERS[name][1]]
    draw(name, (tokens, tokens), ratio, sigmas, seed)
    plt.show()


if widgets:
    late = {"continuous_update": False}  # draw when a slider is let go
    knobs = {
        "name": widgets.Dropdown(options=list(INK), value="green", description="colour"),
        "sigma": widgets.FloatSlider(1.0, min=0.3, max=4, step=0.1, description="sigma", **late),
        "width": widgets.FloatSlider(2.0, min=1.1, max=4, step=0.1, description="width", **late),
        "ratio": widgets.FloatSlider(
            0.75, min=0.1, max=0.95, step=0.05, description="ratio", **late
        ),
        "tokens": widgets.SelectionSlider(options=[6, 8, 12, 16, 24], value=16, description="grid"),
        "seed": widgets.IntSlider(0, min=0, max=20, description="seed", **late),
    }
    pairs = [widgets.HBox(pair) for pair in zip(*[iter(knobs.values())] * 2, strict=True)]
    display(widgets.VBox([*pairs, widgets.interactive_output(turn, knobs)]))

# %% [markdown]
# ## Spectra
#
# How strong the noise is at each frequency. White noise has power 1 everywhere; 0.5 cycles per token is a chequerboard.
# Lines are computed from the filters, dots are measured on noise. With the sigmas here, red, green and blue noise
# add up to white noise.

# %%
figure, axis = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for name, ink in INK.items():
    power = spectrum(name, count=64)
    axis.plot(power.frequency, power.analytic, color=ink, linewidth=2, label=name)
    axis.plot(power.frequency, power.measured, ".", color=ink)
axis.set(xlim=(0, 0.5), ylim=(0, 1.4), xlabel="frequency, cycles per token", ylabel="power")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
plt.show()
# %% [markdown]
# ## What the encoder sees
#
# Hidden patches do not enter the encoder at all. What enters is a short list of patches, with their places. The same
# photograph under three colours, 8 x 8 tokens and 75 % hidden as in the quickstart: 16 of 64 patches.

# %%
figure, rows = plt.subplots(3, 2, figsize=(9, 5.2), layout="constrained", width_ratios=(1, 4))
for (left, right), name in zip(rows, ("red", "green", "blue"), strict=True):
    _, hidden = noise_and_masks(name, (8, 8), 0.75)
    patches = photographs[3].reshape(8, 12, 8, 12, 3).swapaxes(1, 2)[~hidden[3]]
    framed = np.pad(patches, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    left.imshow(greyed(photographs[3], hidden[3]))
    right.imshow(np.concatenate([np.hstack(framed[:8]), np.hstack(framed[8:])]))
    left.set_ylabel(name, color=INK[name], fontsize=13)
bare(rows)

# %% [markdown]
# ## Other samplers, in numbers
#
# Some seventy samplers hide exactly as much as they are told. The harder the task, the further hidden tokens lie from
# visible ones. Green noise has large groups at a small distance. `python -m maskmim.gallery --list` names all.

# %%
GRID, COUNT = (16, 16), 256
SAMPLERS = {
    "spread_blue": spread_blue.spread_blue,
    "random": uniform.random,
    "pink": power_law.pink,
    "green": colour.green,
    "units 2 x 2": lambda *given, ratio: units.random(*given, ratio=ratio, unit=2),
    "inverse block": blocks.inverse,
}
figure, axes = plt.subplots(1, len(SAMPLERS), figsize=(9, 2), layout="constrained")
print(f"{'sampler':14} group of visible tokens   distance of hidden tokens")
for axis, (name, sampler) in zip(axes, SAMPLERS.items(), strict=True):
    draw_masks = jax.jit(lambda seed, f=sampler: f(*inputs(GRID, seed, COUNT), ratio=0.75).hidden)
    hidden = on_grid(draw_masks(0), GRID)
    group, distance = mean_component_size(~hidden).mean(), mean_hidden_distance(~hidden).mean()
    print(f"{name:14} {group:23.2f}   {distance:25.2f}")
    axis.imshow(greyed(photographs[1], hidden[1]))
    axis.set_title(name, fontsize=11)
bare(axes)

# %% [markdown]
# ## Train with one
#
# ```
# python -m maskmim.train --config quickstart:mask=blue --workdir runs/blue
# python -m maskmim.train --config quickstart --config.mask.sigmas=0.7,1.4 --workdir runs/fine
# ```
#
# [train.ipynb](train.ipynb) does so in a notebook, [add_a_method.ipynb](add_a_method.ipynb) writes a sampler of its own.
