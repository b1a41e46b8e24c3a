# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/video_and_sound.ipynb)
#
# # Video and sound
#
# A clip is a grid of tokens with three axes, a spectrogram one with two: time and frequency. Masks, objectives and the
# train step are those of images. Here VideoMAE and Audio-MAE learn for half a minute each on two CPU cores, on data
# that needs no file: a camera that moves over the embedded photographs, and synthetic tones. On such data results say
# that everything works; they do not carry over to real videos and recordings.

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
from functools import partial

import numpy as np
from IPython.display import Audio
from PIL import Image

from maskmim import modalities, train
from maskmim.data.pans import pans
from maskmim.data.tones import tones
from maskmim.masks import audio, structured, uniform, video
from maskmim.reporting.sheets import draw_sheet
from maskmim.reporting.streams import grey_hidden, hidden_values
from maskmim.types import Context, Randomness, random_key


def sheet(columns, **options):
    """Return a picture of pictures in columns, of 64 colours, so that the notebook stays small."""
    return Image.fromarray(draw_sheet(columns, **options)).quantize(64)


def draw_mask(sampler, grid, seed=0):
    """Draw one mask of a sampler: bool[1, N], True is hidden."""
    randomness = Randomness.of(random_key(seed), 1)
    return np.asarray(sampler(randomness, Context({}, {"tokens": grid}, {})).hidden)


# %% [markdown]
# ## 1. Clips, and what hides of them
#
# A token is a cube: here 2 frames of 8 x 8 pixels, in a grid of (time, rows, columns). A patch that hardly moves can be
# copied from the next frame, so video needs masks that know of time.

# %%
FRAMES, SIDE, GRID = 8, 48, (4, 6, 6)
clips = np.stack([pans(split="val", frames=FRAMES, side=SIDE)[index].encoded for index in (0, 90)])

samplers = {
    "uniform.random: any cube": partial(uniform.random, ratio=0.9),
    "video.tube: the same places at all times (VideoMAE)": partial(video.tube, ratio=0.9),
    "video.frame: whole time steps": partial(video.frame, ratio=0.75),
    "video.future_tokens: what comes after the first step": partial(video.future_tokens, ratio=0.9),
    "structured.green3d: groups that drift": partial(structured.green3d, ratio=0.9),
}
strips = {"clip": clips[1:]}
for name, sampler in samplers.items():
    hidden = draw_mask(sampler, GRID)
    strips[f"{name}, {hidden.mean():.0%} hidden"] = grey_hidden(clips[1:], hidden, GRID)
sheet(strips, title="Masks of one clip")

# %% [markdown]
# ## 2. VideoMAE
#
# `videomae:tiny` is a few steps for tests; these flags make it larger and longer. The mask is the tube's, 0.9 of all
# places.

# %%
SHORT = "--config.optim.lr=1e-3 --config.optim.lr_per=0 --config.log.every_steps=50 "
SHORT += "--config.evals.at_end= --config.evals.monitors="
flags = f"""
--config videomae:tiny --config.input.size=8,48,48 --config.model.variant=4x96x3
--config.model.decoder=2x64x2 --config.data.train.split=train --config.data.train.frames=8
--config.data.train.side=48 --config.train.epochs=2 {SHORT} --workdir runs/clips
"""
with contextlib.redirect_stderr(sys.stdout):
    train.main(flags.split())

# %%
model = maskmim.load("runs/clips")
print(model)

# %% [markdown]
# `maskmim.load` gives the same functions as for images: clips `[T, H, W, C]`, files of videos or a folder. After so
# short a training the cubes are nearly flat; their colours are those of the true means, which are put back.

# %%
made = model.reconstruct(clips, seed=1)
sheet(
    {"clip": made.input, "masked": made.masked, "reconstruction": made.reconstruction},
    title="Tubes, 0.9 hidden: mean and contrast of each true cube restored",
)

# %% [markdown]
# A mask of your own: hide the second half of the time. The model has only seen tubes, so this is a harder question than
# any it was trained on.

# %%
future = np.zeros(model.grid, bool)
future[model.grid[0] // 2 :] = True
made = model.reconstruct(clips[1:], mask=future)
sheet(
    {"clip": made.input, "masked": made.masked, "reconstruction": made.reconstruction},
    title="What comes next? (Mean and contrast of each true cube restored)",
)

# %% [markdown]
# ## 3. Features of clips
#
# Each clip is a photograph under one of six movements of the camera. Do features know the movement? The nearest
# neighbour of each clip, by cosine, among the others; chance is about 17 %.


# %%
def neighbour_accuracy(features, labels):
    """Return the share of examples whose nearest neighbour has their label."""
    rows = features.reshape(len(features), -1) - features.reshape(len(features), -1).mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    return float((labels[likeness.argmax(1)] == labels).mean())


moves = pans(split="val", frames=FRAMES, side=SIDE)
examples = [moves[index] for index in range(len(moves))]
labels = np.array([example.labels["motion"] for example in examples])
raw = np.stack([example.encoded[:, ::6, ::6] for example in examples]) / 255.0
print(f"raw pixels              {neighbour_accuracy(raw, labels):.0%}")
print(f"pixels of last - first  {neighbour_accuracy(raw[:, -1] - raw[:, 0], labels):.0%}")
print(f"VideoMAE, mean          {neighbour_accuracy(model.encode(moves), labels):.0%}")
by_time = model.features_map([example.encoded for example in examples]).mean((2, 3))
print(f"VideoMAE, last - first  {neighbour_accuracy(by_time[:, -1] - by_time[:, 0], labels):.0%}")

# %% [markdown]
# After half a minute the mean of the tokens does not know the movement; what changes from the first tokens to the last
# tells some of it, and raw pixels still more. Such a comparison belongs beside every result.

# %% [markdown]
# ## 4. Sounds as spectrograms
#
# A recording becomes a log-mel spectrogram, 100 frames a second, drawn with time to the right and frequency upwards.

# %%
sounds = tones(count=200, seconds=1.0, seed=1)
print({sounds.name(index): sounds[index].encoded.samples.shape for index in range(4)})
Audio(sounds[0].encoded.samples[:4000], rate=sounds[0].encoded.rate)

# %%
flags = f"""
--config audio_mae:tiny --config.input.size=96,64 --config.model.variant=4x96x3
--config.model.decoder_width=64 --config.data.train.count=1024 --config.data.train.seconds=1.0
--config.train.epochs=5 {SHORT} --workdir runs/sounds
"""
with contextlib.redirect_stderr(sys.stdout):
    train.main(flags.split())

# %%
listener = maskmim.load("runs/sounds")
print(listener)

# %%
spectrogram = modalities.spectrogram()
one_of_each = [sounds[index].encoded for index in range(4)]
made = listener.reconstruct(one_of_each, seed=1)
values = hidden_values(made.hidden.reshape(4, -1), listener.grid, made.input.shape[:-1])
sheet(
    {
        "rising, falling, harmonics, bursts": spectrogram.draw(made.input),
        "masked": spectrogram.draw(made.input, values),
        "reconstruction": spectrogram.draw(made.reconstruction),
    },
    title="Audio-MAE, 0.8 of all patches hidden",
)

# %% [markdown]
# **Structured masks** hide whole stretches of time and whole bands, as a listener misses them. The config takes
# `audio_mae:mask=time`; a trained model takes any mask.

# %%
two = one_of_each[::3]
columns = {"spectrogram": spectrogram.draw(made.input[::3])}
for name, sampler in {
    "audio.time": audio.time,
    "audio.frequency": audio.frequency,
    "audio.time_frequency": audio.time_frequency,
    "audio.chunks": audio.chunks,
}.items():
    hidden = draw_mask(partial(sampler, ratio=0.6), listener.grid)
    heard = listener.reconstruct(two, mask=hidden.reshape(listener.grid))
    values = hidden_values(np.repeat(hidden, 2, 0), listener.grid, heard.input.shape[:-1])
    columns[f"{name}, {hidden.mean():.0%} hidden"] = spectrogram.draw(heard.input, values)
    columns[f"{name}, reconstructed"] = spectrogram.draw(heard.reconstruction)
sheet(columns, title="Other masks than the trained one")

# %% [markdown]
# ## 5. Features of sounds
#
# Four kinds of sounds; chance is 25 %.

# %%
kinds = np.array([sounds[index].labels["kind"] for index in range(len(sounds))])
energies = listener.reconstruct(sounds).input.astype(float)
print(f"each band's mean over time  {neighbour_accuracy(energies.mean(1), kinds):.0%}")
print(f"raw spectrogram             {neighbour_accuracy(energies, kinds):.0%}")
print(f"Audio-MAE                   {neighbour_accuracy(listener.encode(sounds), kinds):.0%}")

# %% [markdown]
# These tones are so simple that raw spectrograms suffice: what recordings look like, where they do not, only recordings
# can tell. Your own videos and recordings:
#
# ```
# python -m maskmim.train --config videomae:path=/data/videos,variant=S --workdir runs/videomae
# python -m maskmim.train --config audio_mae:path=/data/sounds --workdir runs/audio
# ```
