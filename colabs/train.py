# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/train.ipynb)
#
# # Train
#
# Change a config, train a small ViT on 2,936 photographs that come with the package, watch its loss, and see what it
# makes of hidden patches. A minute on two quick CPU cores, seconds on an accelerator. The other notebooks load the run
# that this one leaves in `runs/small`.

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
import threading
from pathlib import Path

from IPython.display import display
from PIL import Image

from maskmim import train
from maskmim.config import ConfigError, load
from maskmim.config.serialize import leaves
from maskmim.reporting.loss_curve import draw_loss_curve
from maskmim.reporting.metrics_file import read_metrics

# %% [markdown]
# ## Change a config
#
# `quickstart` is a file of `configs/`; after the colon stand its own choices. Every key can be changed by a flag.

# %%
FLAGS = [
    "mask.ratio=0.75",
    "optim.lr=1.5e-3",
    "evals.at_end=reconstruction",  # no probes, which take as long as this training
    "evals.monitors=",
]
config = load("quickstart:mask=green,epochs=8", FLAGS)
for key, value in leaves(config):
    if key.startswith(("mask.", "model.patch", "model.variant", "optim.", "train.")):
        print(f"{key:24} {value}")

# %% [markdown]
# A key that does not exist, or a value that does not fit, is an error before anything is compiled. All keys with their
# types and defaults: `python -m maskmim.train --config quickstart --print-config`.

# %%
for flag in ("mask.ratoi=0.6", "mask.ratio=1.5", "optim.lr=fast"):
    try:
        load("quickstart", [flag])
    except ConfigError as error:
        print(f"{flag}: {error}\n")

# %% [markdown]
# ## Train, and watch
#
# `train.main` is the command `python -m maskmim.train`. It runs here, in the notebook's process, so that an accelerator
# has one user. Meanwhile a thread reads `metrics.jsonl` of the work directory and draws the curve anew. Interrupting
# the cell saves a checkpoint after the running step; running it again continues. A finished run shows its results.

# %%
WORKDIR = Path("runs/small")


def curve():
    return Image.fromarray(draw_loss_curve(read_metrics(WORKDIR / "metrics.jsonl")))


def watch(picture, finished):
    while not finished.wait(3):
        picture.update(curve())
    picture.update(curve())


finished = threading.Event()
watcher = threading.Thread(target=watch, args=(display(curve(), display_id=True), finished))
watcher.start()
try:
    train.main(
        [
            *("--config", "quickstart:mask=green,epochs=8", "--workdir", str(WORKDIR)),
            *(f"--config.{flag}" for flag in FLAGS),
        ]
    )
finally:
    finished.set()
    watcher.join()

# %% [markdown]
# The loss is the squared error of hidden patches, each normalised to mean 0 and variance 1: a model that knows nothing
# but the mean has 1.
#
# ## What it hides, and what it makes of it
#
# The run keeps pictures: of its masks at the start, and of its predictions at the end, for test photographs. A few
# passes over a small data set teach it colours and coarse shapes.

# %%
Image.open(WORKDIR / "images" / "masks.png")

# %%
Image.open(max(WORKDIR.glob("images/reconstruction-*.png")))

# %% [markdown]
# ## Use it
#
# `maskmim.load` reads a work directory. [explore.ipynb](explore.ipynb) looks further into it.

# %%
model = maskmim.load(WORKDIR)
print(model)

# %% [markdown]
# ## Further
#
# - `mask=red`, `blue`, `purple`, `white`, `random` after the colon: see [masks.ipynb](masks.ipynb). Give each run a work
#   directory of its own; `python -m maskmim.runs --compare all.png runs/*` draws them together.
# - `epochs=30` and no flags is the quickstart, with kNN and linear probes at the end, in about five minutes on two cores.
# - Your photographs: `--config folder:/data/photos,size=224,variant=S`.
# - The published recipes are in `configs/`: `--config mae:variant=B/16`, `colormae`, `videomae`, ...
