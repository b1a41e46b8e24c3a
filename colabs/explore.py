# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/maskmim/maskmim/blob/main/colabs/explore.ipynb)
#
# # Explore a checkpoint
#
# Look into trained weights: reconstructions, colours of patch features, attention, nearest neighbours, and what each
# layer knows. Set `SOURCE` to any run, one of its checkpoints, an exported folder, or a safetensors file of transformers,
# timm or the official MAE. As it stands, it is the small run of [train.ipynb](train.ipynb), trained here in a minute
# where it does not exist: a few passes over 2,936 photographs, so that what you see is a beginning.

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

from maskmim import train
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.errors import UserError
from maskmim.inference.colours import pca_colours

plt.rcParams.update({"figure.dpi": 70, "figure.facecolor": "white"})


def show(rows, titles=(), side=1.4):
    """Draw rows of pictures, {label of a row: pictures}."""
    shape = len(rows), max(map(len, rows.values()))
    size = side * shape[1] + 0.3, side * shape[0] + 0.2
    _, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=10)
    plt.show()


# %%
SOURCE = "runs/small"

if SOURCE == "runs/small" and not Path(SOURCE, "results.json").exists():
    flags = "--config.evals.at_end=reconstruction --config.evals.monitors="
    train.main(f"--config quickstart:mask=green,epochs=8 {flags} --workdir {SOURCE}".split())

# %%
model = maskmim.load(SOURCE, crop=False)  # photographs are squares already, see below
print(model)

# %% [markdown]
# ## Photographs
#
# Test photographs of the package, taken in other stores than those of the training. Give your own instead: a list of
# paths, `sorted(Path("photos").glob("*.jpg"))`, and no labels.


# %%
def some(split, every):
    """Return every n-th photograph of a split, its middle square, and the number of its class."""
    source = grocery(split=split)
    examples = [source[number] for number in range(0, len(source), every)]
    pictures = [Image.fromarray(decode(example.encoded, channels=3)) for example in examples]
    return [ImageOps.fit(picture, (96, 96)) for picture in pictures], np.array(
        [example.labels["coarse"] for example in examples]
    )


bank, bank_labels = some("train+val", every=3)
test, test_labels = some("test", every=8)
names = grocery(split="test").labels["coarse"]
photographs = test[10::45]
print(f"{len(bank)} photographs to learn from, {len(test)} to test, {len(names)} classes")

# %% [markdown]
# ## Reconstructions
#
# The model gets a quarter of the patches and predicts the rest. It was trained on patches that are normalised each by
# itself, so that `reconstruction` puts the true mean and contrast back; `raw` is what the network says.

# %%
try:
    made = model.reconstruct(photographs, seed=1)
    rows = {"input": made.input, "masked": made.masked}
    show({**rows, "reconstruction": made.reconstruction, "raw": made.raw})
except UserError as error:  # weights without a decoder, or of a method that predicts no pixels
    print(error)

# %% [markdown]
# ## Colours of features
#
# The three largest principal components of all patches as red, green and blue: equal colours, similar features. A
# larger input gives more patches; what happens to the positions is said.

# %%
size = 2 * max(model.size)
show({"input": photographs, "features": pca_colours(model.features_map(photographs, size=size))})

# %% [markdown]
# ## Attention
#
# How much the class token of the last block attends to each patch, by head (brighter is more); below, over all blocks
# together (rollout).

# %%
try:
    heads = model.attention(photographs[2:4], size=size)
    titles = ["input", *(f"head {number}" for number in range(heads.shape[1]))]
    show({"": [photographs[2], *heads[0]], " ": [photographs[3], *heads[1]]}, titles)
    flow = model.attention(photographs, rollout=True, size=size)
    most = np.percentile(flow, 97, axis=(1, 2), keepdims=True)  # single patches draw much of it
    show({"input": photographs, "rollout": np.minimum(flow, most)})
except UserError as error:  # a network that is no plain ViT
    print(error)

# %% [markdown]
# ## Nearest neighbours
#
# Left a test photograph, then the five of the training whose features have the largest cosine. Labels were never shown
# to the model.


# %%
def unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


bank_features, test_features = model.encode(bank), model.encode(test)
cosines = unit(test_features) @ unit(bank_features).T
nearest = np.argsort(-cosines, axis=1)[:, :5]

queries = range(10, len(test), 90)
rows = {
    names[test_labels[query]]: [test[query], *(bank[index] for index in nearest[query])]
    for query in queries
}
show(rows, ["query", *"12345"])
same = bank_labels[nearest[:, 0]] == test_labels
print(f"the nearest photograph is of the same class for {same.mean():.0%} of {len(test)}")

# %% [markdown]
# ## A probe for each layer
#
# A linear classifier by least squares on the mean of the patch tokens of each block. After long trainings middle blocks
# often know more than the last ones, which serve the decoder. This is quick and rough: `python -m maskmim.evaluate
# --workdir RUN --evals knn,linear_probe` has the protocols of the papers, on all photographs.


# %%
def probe(train_features, test_features, ridge=1e-2):
    """Return the top-1 accuracy of ridge regression to the classes."""
    mean, scale = train_features.mean(0), train_features.std(0) + 1e-6
    x, y = (train_features - mean) / scale, np.eye(len(names))[bank_labels]
    weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    return (((test_features - mean) / scale @ weights + y.mean(0)).argmax(1) == test_labels).mean()


blocks = model.params["encoder"].get("stack", {}).get("blocks")  # of a ViT
layers = range(len(jax.tree.leaves(blocks)[0])) if blocks else (-1,)  # stacked
of_bank, of_test = (model.encode(each, layers=layers, pooling="mean") for each in (bank, test))
accuracy = [100 * probe(of_bank[:, layer], of_test[:, layer]) for layer in layers]
pixels = [
    np.array([np.asarray(picture.resize((12, 12))) for picture in each]) for each in (bank, test)
]
raw = 100 * probe(*(each.reshape(len(each), -1) / 255 for each in pixels))

figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
axis.bar([str(layer) for layer in layers], accuracy, color="#2e8b45", width=0.6)
axis.axhline(raw, color="#767676", linestyle="--", label="pixels, 12 x 12")
axis.set(
    xlabel="block", ylabel="accuracy (%)", title=f"{len(names)} classes, {len(test)} photographs"
)
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
