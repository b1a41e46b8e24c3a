# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/generate.ipynb)
#
# # Generate pictures with MaskGIT
#
# A tokenizer turns a picture into a grid of codes. A transformer learns to predict hidden codes from visible ones.
# To generate, all codes begin hidden and are filled in over a few steps; to repaint, only some do.
#
# Everything here is trained in this notebook, in about two minutes on two CPU cores, on 2,936 photographs of 32 x 32
# pixels. That shows how the method works, and no more: the published models learn for weeks, from a million pictures
# of 256 x 256 ([configs/maskgit.py](https://github.com/maskmim/maskmim/blob/main/configs/maskgit.py)).

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
import contextlib
import io

import jax.numpy as jnp
import numpy as np
from IPython.display import display
from PIL import Image, ImageOps

from maskmim import train
from maskmim.config import bind
from maskmim.data.grocery import grocery
from maskmim.generate import orders, parallel, repaint
from maskmim.masks import curves
from maskmim.reporting.metrics_file import read_metrics
from maskmim.reporting.sheets import draw_sheet
from maskmim.reporting.streams import grey_hidden
from maskmim.teachers.picture_codes import picture_of_codes
from maskmim.types import Randomness, random_key


def sheet(columns, **options):
    """Return a picture of pictures in columns, of 256 colours, so that the notebook stays small."""
    return Image.fromarray(draw_sheet(columns, **options)).quantize()


# %% [markdown]
# ## 1. A tokenizer: pictures as codes and back
#
# `vqgan:small` with smaller pictures, without its discriminator, which needs longer trainings. A code stands for
# 4 x 4 pixels. `train.main` is the command `python -m maskmim.train`, whose progress we print with its other lines.

# %%
SHORT = "--config.input.size=32,32 --config.log.every_steps=100 --config.evals.monitors="
flags = f"""
--config vqgan:small,adversarial=False --config.model.levels=1,2,4 --config.model.width=16
--config.train.epochs=2 {SHORT} --workdir runs/codes
"""
with contextlib.redirect_stderr(sys.stdout):
    train.main(flags.split())

# %% [markdown]
# The loss is a sum, whose codebook terms grow with the length of the vectors. The error of the pictures falls:

# %%
for row in read_metrics("runs/codes/metrics.jsonl"):
    print(f"step {row['step']:>3}  squared error {row['loss/reconstruction']:.2f}", end="  ")
    print(f"codes in use {row['codes/used']:.0%}")

# %% [markdown]
# ## 2. A transformer that predicts hidden codes
#
# Each training example hides another share of its codes, cos(pi/2 r) with r uniform, so that the model knows every
# stage of the generation. `accuracy` counts hidden codes that are predicted exactly. Many codes look alike, so it stays
# low.

# %%
flags = f"""
--config maskgit:small,tokenizer=runs/codes --config.model.variant=3x96x3 --config.train.epochs=3
--config.train.batch_size=32 --config.evals.at_end= {SHORT} --workdir runs/generator
"""
with contextlib.redirect_stderr(sys.stdout):
    train.main(flags.split())

# %%
model = maskmim.load("runs/generator")
print(model)

# %% [markdown]
# The method is a tuple of pure functions: `codes` and `draw` are the tokenizer's. What it loses, no generation can
# have.

# %%
method, net = model.loaded.method, model.loaded.method.net
variables = jax.device_put(model.loaded.variables._replace(frozen=method.freeze()))
draw = jax.jit(method.apply["draw"])

records = grocery(split="test")
files = [records[index].encoded for index in (0, 420, 1100, 1350, 1700, 2300)]
photos = np.stack([ImageOps.fit(Image.open(io.BytesIO(file)), model.size) for file in files])
codes = jax.jit(method.apply["codes"])(variables, {"image": photos})
print("codes of the first picture:", codes[0].reshape(model.grid)[:2], "...", sep="\n")
sheet(
    {"photograph": photos, "from its codes": np.asarray(draw(variables, codes))},
    title="What the codes keep",
    groups=3,
)

# %% [markdown]
# ## 3. Generation, step by step
#
# In each step the model guesses all hidden codes at once, by sampling. The guesses that it is surest of stay, the
# others are hidden again, and fewer in each step, along a cosine. This is `maskmim.generate.parallel.decode`, taken
# apart. Grey is still hidden.

# %%
STEPS = 12
count, length = len(variables.frozen["codebook"]["vectors"]), net.grids["image"][0] ** 2
transformer = bind(model.config.model)(count, 0, length)


@jax.jit
def logits_of(tokens):
    """Return the logits of the codes of all tokens: i32[B, N] -> f32[B, N, codes]."""
    no_class = jnp.full(len(tokens), -1)
    encoded = transformer.encode(variables.params, tokens, no_class)
    return transformer.logits(variables.params, encoded)


randomness = Randomness.of(random_key(0), 4)
tokens = jnp.full((4, length), transformer.mask_id)
hidden_at_start = jnp.full(4, length)
rules = parallel.Rules(hidden_at_start, transformer.mask_id, 4.5, curves.cosine, orders.confident)
kept, guesses = {}, {}
for step in range(STEPS):
    logits = logits_of(tokens)
    noise = parallel.draw_noise(randomness, step, logits.shape)
    guess, tokens = parallel.decode_step(tokens, logits, noise, step, STEPS, rules)
    unknown = np.array(tokens == transformer.mask_id) & (step < STEPS - 1)
    pictures = np.asarray(draw(variables, guess))
    kept[f"step {step + 1}: {unknown[0].sum()} hidden"] = grey_hidden(pictures, unknown, model.grid)
    guesses[f"step {step + 1}"] = pictures

shown = [0, 2, 4, 6, 8, 9, 10, 11]
sheet(
    {name: picture for at, (name, picture) in enumerate(kept.items()) if at in shown},
    title="What is kept of each step's guesses: four samples",
)

# %% [markdown]
# All guesses of these steps, also those that are thrown away. The first are of single codes that know nothing of each
# other: this is why one step is not enough.

# %%
sheet(
    {name: picture for at, (name, picture) in enumerate(guesses.items()) if at in shown},
    title="All guesses of each step",
)

# %% [markdown]
# **Which guesses stay** decides how varied samples are. Without noise in the order (temperature 0) the likeliest codes
# come first, and samples tend to be alike; with much noise, as in a random order, they vary more and fit together
# less. `generation` is a section of the config: `--config.generation.temperature=2.0`, `.steps=8`.

# %%
decode = jax.jit(parallel.decode, static_argnames=("logits_of", "steps", "order"))
nothing = jnp.full((4, length), transformer.mask_id)
columns = {}
for name, temperature, order in [
    ("temperature 0", 0.0, orders.confident),
    ("temperature 1.5", 1.5, orders.confident),
    ("temperature 4.5", 4.5, orders.confident),
    ("random order", 0.0, orders.random),
]:
    options = {"steps": STEPS, "temperature": temperature, "order": order}
    last = decode(logits_of, nothing, transformer.mask_id, randomness, **options)[-1]
    columns[name] = np.asarray(draw(variables, last))
sheet(columns, title="The order of the same model")

# %% [markdown]
# ## 4. Repaint a half, or a box
#
# The codes of the part become unknown, the others stay as they are; the seam is blended. Codes beside a box also
# depend on its pixels, so that a margin of one code is guessed anew.


# %%
def repainted(box, margin, seed):
    """Repaint a box (top, left, height, width) of all photographs: u8[B, H, W, 3], bool[B, N]."""
    inside = repaint.tokens_in_box(box, size=model.size, grid=model.grid, margin=margin)
    known = jnp.where(inside, transformer.mask_id, codes)
    keys = Randomness.of(random_key(seed), len(codes))
    options = {"steps": STEPS, "temperature": 4.5, "order": orders.confident}
    filled = decode(logits_of, known, transformer.mask_id, keys, **options)[-1]
    unknown = np.broadcast_to(inside, codes.shape)
    painted = picture_of_codes(net, variables.frozen, filled)
    blended = repaint.blend_repainted(net.inputs({"image": photos}), painted, unknown, model.grid)
    return np.asarray(net.display(blended)), unknown


height, width = model.size
for title, box, margin in [
    ("The right half", (0, width // 2, height, width // 2), 0),
    ("A box of 12 x 12 pixels, and one code around it", (10, 10, 12, 12), 1),
]:
    columns = {"photograph": photos}
    for seed in range(3):
        pictures, unknown = repainted(box, margin, seed)
        columns["hidden"] = grey_hidden(photos, unknown, model.grid)
        columns[f"repainted, seed {seed}"] = pictures
    display(sheet(columns, title=title))

# %% [markdown]
# Colours and textures often continue across the seam; objects do not, after so short a training. Longer and larger:
#
# ```
# python -m maskmim.train --config vqgan:small --workdir runs/tokenizer_small
# python -m maskmim.train --config maskgit:small,tokenizer=runs/tokenizer_small --workdir runs/it
# ```
#
# Both draw samples while they train, `images/samples-<step>.png`. With classes (`condition.label`, as on ImageNet) the
# generation takes one: `method.apply["generate"](variables, tokens, label, randomness)`.
