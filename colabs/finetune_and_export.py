# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/export.ipynb)
#
# # Continue and export
#
# Begin a training from the weights of another, then take the encoder out: as a folder for transformers, as one for timm,
# and as a program that needs jax alone. Features are compared after each way. The weights are those of the small run of
# [train.ipynb](train.ipynb), trained here in a minute where it does not exist.

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
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from safetensors.numpy import load_file

from maskmim import export, train
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.reporting.metrics_file import read_metrics

SOURCE = "runs/small"

if not Path(SOURCE, "results.json").exists():
    flags = "--config.evals.at_end=reconstruction --config.evals.monitors="
    train.main(f"--config quickstart:mask=green,epochs=4 {flags} --workdir {SOURCE}".split())

# %% [markdown]
# ## Begin from weights
#
# `begin.workdir` takes the weights of a run, of the same or another method, mask, size of pictures, or data.
# `begin.file` takes a safetensors file: `vit-mae-base` of transformers, a ViT of timm, the official MAE. Here the
# pretraining goes on for 20 steps with blue noise. What is taken, resized or drawn fresh is listed.

# %%
flags = "--config.optim.lr=5e-4 --config.log.every_steps=1 --config.evals.at_end="
code = train.main(
    f"--config quickstart:mask=blue,epochs=0.44 --config.begin.workdir={SOURCE} {flags} "
    "--config.evals.monitors= --workdir runs/continued".split()
)

# %%
figure, axis = plt.subplots(figsize=(6, 2.6), dpi=70, facecolor="white", layout="constrained")
for workdir, label in ((SOURCE, "from scratch, green"), ("runs/continued", "continued, blue")):
    rows = [row for row in read_metrics(Path(workdir, "metrics.jsonl")) if "loss" in row]
    axis.plot([row["step"] for row in rows], [row["loss"] for row in rows], label=label)
axis.set(xlabel="step", ylabel="loss", xlim=(0, 60))
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# The loss begins where the weights are, not at 1.4. Losses under different masks do not compare models: what can
# be told of a hidden patch depends on how far visible ones are.
#
# ## Export
#
# The same as `python -m maskmim.export --workdir runs/small --to hf --out exported/hf`. Nothing is uploaded; the folder
# appears as a whole, and an earlier one is replaced with `--force` alone.

# %%
for kind in ("hf", "timm", "jax"):
    options = ["--encoder-only"] if kind == "hf" else []
    export.main(
        ["--workdir", SOURCE, "--to", kind, "--out", f"exported/{kind}", "--force", *options]
    )

# %% [markdown]
# Every folder has a model card: how to load it, the input it expects, and, cut here, the recipe, results, and where
# weights come from.

# %%
print(Path("exported/hf/README.md").read_text().partition("## Training")[0])

# %% [markdown]
# ## Load it elsewhere
#
# Our own features, of four photographs. `images` are what a network is fed: pixels in [0, 1], normalised by the mean and
# deviation of the run.

# %%
model = maskmim.load(SOURCE, crop=False)
test = grocery(split="test")
pixels = np.stack([decode(test[i].encoded, channels=3)[:96, :96] for i in (30, 600, 1400, 2300)])
ours = model.encode(pixels, pooling=None)

mean, std = np.array(model.config.input.mean), np.array(model.config.input.std)
images = ((pixels / 255 - mean) / std).astype("float32")


def compare(name, tokens):
    difference = np.abs(np.asarray(tokens) - ours).max() / np.abs(ours).max()
    print(
        f"{name}: tokens {tokens.shape}, largest difference {difference:.0e} of the largest value"
    )


# %% [markdown]
# Without torch: `jax.export` reads the program, safetensors its parameters; neither asks for maskmim. The program
# normalises by itself, takes any number of pictures, runs on CPU, GPU and TPU, and has a gradient.

# %%
import jax.export

program = jax.export.deserialize(bytearray(Path("exported/jax/encode.jaxexport").read_bytes()))
params = load_file("exported/jax/model.safetensors")
compare("jax", program.call(params, (pixels / 255).astype("float32"))["tokens"])

# %%
try:
    import torch
    from transformers import ViTModel
except (ImportError, RuntimeError) as error:  # missing, or a torchvision not made for this torch
    print(f"left out: pip install transformers torch ({error})")
else:
    vit = ViTModel.from_pretrained("exported/hf", add_pooling_layer=False).eval()
    with torch.no_grad():
        states = vit(torch.from_numpy(images.transpose(0, 3, 1, 2))).last_hidden_state
    compare("transformers", states[:, 1:].numpy())  # without the class token

# %%
try:
    import timm
    import torch
except (ImportError, RuntimeError) as error:
    print(f"left out: pip install timm ({error})")
else:
    vit = timm.create_model("local-dir:exported/timm", pretrained=True).eval()
    with torch.no_grad():
        states = vit.forward_features(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    compare("timm", states[:, 1:].numpy())

# %% [markdown]
# And back: `maskmim.load` reads an exported folder, and `--config.begin.file=exported/hf` begins a training from it.

# %%
again = maskmim.load("exported/hf", crop=False)
print(again)
compare("maskmim", again.encode(pixels, pooling=None))

# %% [markdown]
# ## Further
#
# - `--to onnx` for onnxruntime, `--to safetensors` for every parameter by its path; without `--encoder-only`, `--to hf`
#   keeps MAE's decoder. What has a counterpart where:
#   [docs/export.md](https://github.com/maskmim/maskmim/blob/main/docs/export.md).
# - To publish: add a licence to the card, then `hf upload NAME/MODEL exported/hf`.
