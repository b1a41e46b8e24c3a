# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/finetune_and_export.ipynb)
#
# # Fine-tune and export
#
# Begin from the weights of a pretraining, train a classifier on labels, look at what it says of photographs, and take it
# out: for transformers, for timm, and as a program that needs jax alone. Features are compared after each way. The
# weights are those of the small run of [train.ipynb](train.ipynb), trained here in a minute where it does not exist.

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
from PIL import Image, ImageOps
from safetensors.numpy import load_file

from maskmim import export, train
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.reporting.metrics_file import read_metrics

plt.rcParams.update({"figure.dpi": 70, "figure.facecolor": "white"})
SOURCE, TUNED = "runs/small", "runs/finetuned"

if not Path(SOURCE, "results.json").exists():
    flags = "--config.evals.at_end=reconstruction --config.evals.monitors="
    train.main(f"--config quickstart:mask=green,epochs=8 {flags} --workdir {SOURCE}".split())

# %% [markdown]
# ## Fine-tune, and train a twin from scratch
#
# `finetune:begin=RUN` takes the network, the images and the newest weights of a run, and puts a classifier behind them,
# here for the 43 coarse classes. Behind it a twin trains from scratch: the same network, the same images, as many steps.
# To save time there are four epochs instead of ten, and every fourth test photograph is classified. `pooling=class` lets the classifier read the class token, as that of transformers does.

# %%
flags = "log.every_steps=1 evals.measures.label_accuracy.images=621"
code = train.main(
    [
        *("--config", f"finetune:begin={SOURCE},labels=coarse,pooling=class,epochs=4"),
        *(f"--config.{flag}" for flag in flags.split()),
        *("--workdir", TUNED),
    ]
)

# %% [markdown]
# The table, here of 621 test images, is in `runs/finetuned/results.json` too. The curves are the losses of the batches,
# smoothed over five steps.

# %%
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for workdir, label, colour in (
    (TUNED, "fine-tuned", "#2e8b45"),
    (f"{TUNED}/from_scratch", "from scratch", "#767676"),
):
    rows = [row for row in read_metrics(Path(workdir, "metrics.jsonl")) if "loss" in row]
    steps, losses = (np.array([row[name] for row in rows]) for name in ("step", "loss"))
    axis.plot(steps, losses, color=colour, alpha=0.25)
    axis.plot(steps[2:-2], np.convolve(losses, np.ones(5) / 5, "valid"), color=colour, label=label)
axis.axhline(np.log(43), color="#767676", linestyle=":", label="43 classes, equally likely")
axis.set(xlabel="step", ylabel="loss")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# In the stored run the twin is behind, 43.0 to 48.8 % right, where chance alone moves each number by 2.0 points (standard
# error, 621 photographs). Each row is one run; another `--config.seed` changes it too. docs/finetuning.md has the full
# lengths, with three seeds.
#
# ## Predictions
#
# Test photographs were taken in other stores than those of the training. Above each stands what the fine-tuned
# run says: green where that is right, red where it is wrong, with the true class below. These are whole photographs;
# the table is of their centres, so that its numbers differ a little.

# %%
model = maskmim.load(TUNED, crop=False)
source = grocery(split="test")
names = source.labels["coarse"]
examples = [source[number] for number in range(0, len(source), 4)]
pictures = [
    ImageOps.fit(Image.fromarray(decode(example.encoded, channels=3)), model.size)
    for example in examples
]
truth = np.array([example.labels["coarse"] for example in examples])


def classify(features):
    """Return the logits of the fine-tuned run's classifier, f32[N, 43]."""
    classifier = jax.tree.map(np.asarray, model.params["classify"])
    return features @ classifier["kernel"] + classifier["bias"]


logits = classify(model.encode(pictures, pooling="class"))
said = logits.argmax(1)

figure, axes = plt.subplots(3, 7, figsize=(10, 5.4), layout="constrained")
for axis, number in zip(axes.flat, np.linspace(0, len(pictures) - 1, 21).astype(int), strict=True):
    right = said[number] == truth[number]
    axis.imshow(pictures[number])
    axis.set(xticks=[], yticks=[])
    axis.set_title(names[said[number]], fontsize=9, color="#2e8b45" if right else "#b3261e")
    axis.set_xlabel("" if right else names[truth[number]], fontsize=9)
    axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# And by class, the ten that have most test photographs:

# %%
counts = np.bincount(truth, minlength=len(names))
for index in np.argsort(-counts)[:10]:
    share = np.mean(said[truth == index] == index)
    print(f"{names[index]:16} {share:4.0%} of {counts[index]}")
print(f"{'all':16} {np.mean(said == truth):4.0%} of {len(truth)}")

# %% [markdown]
# ## Export
#
# The same as `python -m maskmim.export --workdir runs/finetuned --to hf --out exported/hf`. Nothing is uploaded; the
# folder appears as a whole, and an earlier one is replaced with `--force` alone. `hf` and `timm` take the classifier
# with the names of its classes along, `jax` the encoder alone; `safetensors` has every parameter.

# %%
for kind in ("hf", "timm", "jax", "safetensors"):
    export.main(["--workdir", TUNED, "--to", kind, "--out", f"exported/{kind}", "--force"])

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
few = pictures[::160]
pixels = np.stack([np.asarray(picture) for picture in few])
ours = model.encode(pixels, pooling=None)

mean, std = np.array(model.config.input.mean), np.array(model.config.input.std)
images = ((pixels / 255 - mean) / std).astype("float32").transpose(0, 3, 1, 2)


def compare(name, theirs, ours):
    difference = np.abs(np.asarray(theirs) - ours).max() / np.abs(ours).max()
    print(f"{name}: {theirs.shape}, largest difference {difference:.0e} of the largest value")


# %% [markdown]
# transformers has a ViT with a classifier on the class token, which is what `exported/hf` holds; it needs nothing of
# maskmim.

# %%
try:
    import torch
    from transformers import ViTForImageClassification
    from transformers.utils import logging
except (ImportError, RuntimeError) as error:  # missing, or a torchvision not made for this torch
    print(f"left out: pip install transformers torch ({error})")
else:
    logging.disable_progress_bar()
    vit = ViTForImageClassification.from_pretrained("exported/hf").eval()
    with torch.no_grad():
        states = vit.vit(torch.from_numpy(images)).last_hidden_state
        theirs = vit(torch.from_numpy(images)).logits.numpy()
    compare("transformers, patch tokens", states[:, 1:].numpy(), ours)
    compare("transformers, logits", theirs, logits[::160])
    print("says", ", ".join(vit.config.id2label[int(index)] for index in theirs.argmax(1)))

# %%
try:
    import timm
    import torch
except (ImportError, RuntimeError) as error:
    print(f"left out: pip install timm ({error})")
else:
    vit = timm.create_model("local-dir:exported/timm", pretrained=True).eval()
    with torch.no_grad():
        states = vit.forward_features(torch.from_numpy(images))
        theirs = vit(torch.from_numpy(images)).numpy()
    compare("timm, patch tokens", states[:, 1:].numpy(), ours)
    compare("timm, logits", theirs, logits[::160])

# %% [markdown]
# Without torch: `jax.export` reads the program, safetensors its parameters; neither asks for maskmim. The program
# normalises by itself, takes any number of pictures, runs on CPU, GPU and TPU, and has a gradient.

# %%
import jax.export

program = jax.export.deserialize(bytearray(Path("exported/jax/encode.jaxexport").read_bytes()))
params = load_file("exported/jax/model.safetensors")
tokens = program.call(params, (pixels / 255).astype("float32"))["tokens"]
compare("jax, patch tokens", tokens, ours)

# %% [markdown]
# And back: `maskmim.load` reads an exported folder, and `--config.begin.file=exported/hf` begins a training from it.

# %%
again = maskmim.load("exported/hf", crop=False)
print(again)
compare("maskmim, patch tokens", again.encode(pixels, pooling=None), ours)

# %% [markdown]
# ## Further
#
# - `finetune:begin=FILE,variant=B/16` begins from weights of a file: `vit-mae-base` of transformers, a ViT of timm, the
#   official MAE. What can be chosen, and MAE's published recipe:
#   [docs/finetuning.md](https://github.com/maskmim/maskmim/blob/main/docs/finetuning.md).
# - `--config.begin.workdir=RUN` begins any training from a run, another pretraining too.
# - `--to onnx` is for onnxruntime. What has a counterpart where:
#   [docs/export.md](https://github.com/maskmim/maskmim/blob/main/docs/export.md).
# - To publish: add a licence to the card, then `hf upload NAME/MODEL exported/hf`.
